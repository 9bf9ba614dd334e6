//! Changes a customer's credit limit, and announces `CreditLimitChanged`.

use contracts::CustomerId;
use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    logging::Step,
    money::Money,
};

use crate::{
    documents::CustomersWorkspace,
    domain::{self, Customer},
};

/// Changes a customer's credit limit; answers the customer, if there is one.
#[derive(Debug, Clone)]
pub struct ChangeCreditLimit {
    /// Whose.
    pub customer_id: CustomerId,
    /// From now on.
    pub credit_limit: Money,
    /// The request.
    pub context: Context,
}

impl Command for ChangeCreditLimit {
    type Workspace = CustomersWorkspace;
    type Reply = Option<Customer>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Customer>(self.customer_id)]
    }

    fn decide(&self, documents: &mut CustomersWorkspace, now: Timestamp) -> Option<Customer> {
        let id = self.customer_id;
        let customer = documents.customers.get(id)?.clone();
        let Some((changed, event)) = domain::change_credit_limit(&customer, self.credit_limit, now) else {
            return Some(customer);
        };
        let event = OutboxEvent::new(&event, id, changed.limit_changes, crate::NAME, now, &self.context);
        documents.customers.put(changed.clone(), [event]);
        Some(changed)
    }

    fn committed(&self, reply: &Option<Customer>) {
        let what = if reply.is_some() {
            "credit limit is set"
        } else {
            "credit limit refused: unknown customer"
        };
        Step::about("customer_id", &self.customer_id)
            .with("credit_limit", &self.credit_limit)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, "RepositoryActor", format_args!("{what}"));
    }
}
