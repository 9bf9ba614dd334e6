//! Gives back what is held for a cancelled order.

use contracts::{CustomerId, OrderId};
use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::Context,
    environment::Timestamp,
    logging::Step,
};

use crate::{
    documents::CustomersWorkspace,
    domain::{self, Customer, Release, Reservation},
};

/// Gives back what is held for a cancelled order.
#[derive(Debug, Clone)]
pub struct ReleaseCredit {
    /// The order.
    pub order_id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// The event that says so.
    pub context: Context,
}

impl Command for ReleaseCredit {
    type Workspace = CustomersWorkspace;
    type Reply = Release;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![
            key::<Customer>(self.customer_id),
            key::<Reservation>(self.order_id),
        ]
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Release {
        let customer = documents.customers.get(self.customer_id);
        let known = documents.reservations.get(self.order_id);
        let order = (self.order_id, self.customer_id);
        let release = domain::release(customer, known, order, &self.context, now);
        match &release {
            Release::Released(customer, reservation) => {
                documents.customers.put(customer.clone(), []);
                documents.reservations.put(reservation.clone(), []);
            }
            Release::Voided(reservation) => documents.reservations.put(reservation.clone(), []),
            Release::Nothing => {}
        }
        release
    }

    fn committed(&self, release: &Release) {
        let what = match release {
            Release::Released(..) => "credit released",
            Release::Voided(_) => "order cancelled before it was seen: it will not be reserved",
            Release::Nothing => "nothing held, nothing released",
        };
        Step::about("order_id", &self.order_id)
            .with("customer_id", &self.customer_id)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, "RepositoryActor", format_args!("{what}"));
    }
}
