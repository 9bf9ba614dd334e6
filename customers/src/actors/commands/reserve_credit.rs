//! Decides whether there is credit for an order, and announces `OrderValidated`.

use contracts::OrderCreated;
use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    logging::Step,
};

use crate::{
    documents::CustomersWorkspace,
    domain::{self, Customer, Decision, Reservation},
};

/// Decides whether there is credit for an order.
#[derive(Debug, Clone)]
pub struct ReserveCredit {
    /// The order.
    pub order: OrderCreated,
    /// The event that asks.
    pub context: Context,
}

impl Command for ReserveCredit {
    type Workspace = CustomersWorkspace;
    type Reply = Decision;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![
            key::<Customer>(self.order.customer_id),
            key::<Reservation>(self.order.id),
        ]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Reservation>(self.order.id))
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Decision {
        let OrderCreated { id, customer_id, .. } = self.order;
        let customer = documents.customers.get(customer_id);
        let known = documents.reservations.get(id);
        let decision = domain::reserve(customer, known, &self.order, &self.context, now);
        let reservation = match &decision {
            Decision::Reserved(customer, reservation) => {
                documents.customers.put(customer.clone(), []);
                reservation
            }
            Decision::Refused(reservation) | Decision::Known(reservation) => reservation,
        };
        if let Some(said) = reservation.validation() {
            let (time, context) = (reservation.decided_at, &reservation.context);
            let event = OutboxEvent::new(&said, id, 1, crate::NAME, time, context);
            documents.reservations.put(reservation.clone(), [event]);
        }
        decision
    }

    fn committed(&self, decision: &Decision) {
        let (what, reservation) = match decision {
            Decision::Reserved(_, reservation) => ("credit reserved", reservation),
            Decision::Refused(reservation) => ("credit refused", reservation),
            Decision::Known(reservation) => ("reservation known already, answered again", reservation),
        };
        Step::about("order_id", &self.order.id)
            .with("customer_id", &self.order.customer_id)
            .with("amount", &self.order.amount)
            .with_some("reason", &reservation.reason)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, "RepositoryActor", format_args!("{what}"));
    }
}
