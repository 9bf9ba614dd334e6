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

pub struct Preparation {
    pub shipment: Shipment,
    pub is_new: bool,
}

impl Command for PrepareShipment {
    type Workspace = WorkspaceOf<Shipment>;
    type Reply = Preparation;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Shipment>(self.order.id)]
    }

    fn decide(&self, documents: &mut WorkspaceOf<Shipment>, now: Timestamp) -> Preparation {
        let known = documents.get(self.order.id).cloned();
        let is_new = known.is_none();
        let new = || prepare(&self.order, &self.prefix, &self.context, now);
        let shipment = known.unwrap_or_else(new);
        // A known one is announced again: whoever sends the order again has perhaps not heard of it.
        let (id, time, context) = (shipment.id, shipment.prepared_at, &shipment.context);
        let event = OutboxEvent::new(&shipment.prepared(), id, 1, crate::NAME, time, context);
        documents.put(shipment.clone(), [event]);
        Preparation { shipment, is_new }
    }

    fn committed(&self, Preparation { shipment, is_new }: &Preparation) {
        let again = if *is_new { "" } else { " already, announced again" };
        Step::about("order_id", &shipment.id)
            .with("tracking_number", &shipment.tracking_number)
            .with("correlation_id", &self.context.correlation_id)
            .log(
                log::Level::Info,
                "RepositoryActor",
                format_args!("shipment prepared{again}"),
            );
    }
}
