//! How customers and their reservations are stored, and the documents of a round.
//!
//! A round is one transaction: a customer's sum and its reservations change together or not at all.

use shared::{
    actors::repository::{Copies, CopiesOf, Parking, Workspace},
    document_store::{CollectionSettings, Document, Index},
};
use uuid::Uuid;

use crate::domain::{Customer, Reservation};

/// The actor that owns the database.
pub type RepositoryActor = shared::actors::repository::RepositoryActor<CustomersWorkspace>;

/// The documents of a round.
#[derive(Default)]
pub struct CustomersWorkspace {
    /// Customers.
    pub customers: CopiesOf<Customer>,
    /// Reservations.
    pub reservations: CopiesOf<Reservation>,
    parked: Parking,
}

impl Workspace for CustomersWorkspace {
    const ATOMIC: bool = true;
    const COLLECTIONS: &'static [CollectionSettings] = &[Customer::COLLECTION, Reservation::COLLECTION];
    fn collections(&mut self) -> Vec<&mut dyn Copies> {
        let mut collections: Vec<&mut dyn Copies> = vec![&mut self.customers, &mut self.reservations];
        collections.extend(self.parked.collections());
        collections
    }
    fn parked(&mut self) -> &mut Parking {
        &mut self.parked
    }
}

impl Document for Customer {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "customers",
        indexes: &[],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Document for Reservation {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "reservations",
        indexes: &[Index {
            fields: &["customerId"],
        }],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}
