//! Prepares the shipment of an order, and announces `ShipmentPrepared`.

use contracts::OrderShipped;
use shared::{
    actors::repository::{Command, WorkspaceOf},
    document_store::{CollectionSettings, Document, DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    logging::Step,
};
use uuid::Uuid;

use crate::domain::{Shipment, prepare};

impl Document for Shipment {
    const COLLECTION: CollectionSettings = CollectionSettings::new("shipments", &[]);
    fn id(&self) -> Uuid {
        self.id.0
    }
}

pub struct PrepareShipment {
    pub order: OrderShipped,
    pub prefix: String,
    pub context: Context,
}

impl Command for PrepareShipment {
    type Workspace = WorkspaceOf<Shipment>;
    /// Whether it is new.
    type Reply = bool;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Shipment>(self.order.id)]
    }

    fn decide(&self, documents: &mut WorkspaceOf<Shipment>, now: Timestamp) -> bool {
        let is_new = documents.get(self.order.id).is_none();
        if is_new {
            let shipment = prepare(&self.order, &self.prefix, now);
            let event = &shipment.prepared();
            let event = OutboxEvent::new(event, shipment.id, 1, crate::NAME, now, &self.context);
            documents.put(shipment, [event]);
        }
        is_new
    }

    fn committed(&self, is_new: &bool) {
        let said = if *is_new { "prepared" } else { "prepared before" };
        let step = Step::about("order_id", &self.order.id);
        let step = step.with("correlation_id", &self.context.correlation_id);
        step.log(log::Level::Info, "RepositoryActor", format_args!("{said}"));
    }
}
