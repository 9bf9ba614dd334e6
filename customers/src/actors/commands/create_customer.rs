//! Creates a customer, and announces `CustomerCreated`.

use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    logging::Step,
};

use crate::{
    documents::CustomersWorkspace,
    domain::{self, Creation, Customer, NewCustomer},
};

/// Creates a customer.
#[derive(Debug, Clone)]
pub struct CreateCustomer {
    /// As asked for.
    pub new: NewCustomer,
    /// The request.
    pub context: Context,
}

impl Command for CreateCustomer {
    type Workspace = CustomersWorkspace;
    type Reply = Creation;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Customer>(self.new.id)]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Customer>(self.new.id))
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Creation {
        let creation = domain::create(documents.customers.get(self.new.id), &self.new, now);
        if let Creation::Created(customer, event) = &creation {
            let id = customer.id;
            let event = OutboxEvent::new(event, id, 1, crate::NAME, now, &self.context);
            documents.customers.put(customer.clone(), [event]);
        }
        creation
    }

    fn committed(&self, creation: &Creation) {
        let step =
            Step::about("customer_id", &self.new.id).with("correlation_id", &self.context.correlation_id);
        let what = match creation {
            Creation::Created(..) => "customer created",
            Creation::Repeated(_) => "customer known already, answered again",
            Creation::Contradicts(_) => "customer refused: another one has this id",
        };
        step.with("credit_limit", &self.new.credit_limit).log(
            log::Level::Info,
            "RepositoryActor",
            format_args!("{what}"),
        );
    }
}
