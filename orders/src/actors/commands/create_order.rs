//! Creates an order, and announces `OrderCreated`.

use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::Context,
    environment::Timestamp,
    logging::Step,
    saga::Saga,
};

use crate::{
    documents::OrdersWorkspace,
    domain::{self, Creation, NewOrder, Order},
};

/// Creates an order.
#[derive(Debug, Clone)]
pub struct CreateOrder {
    /// As asked for.
    pub new: NewOrder,
    /// The request.
    pub context: Context,
}

impl Command for CreateOrder {
    type Workspace = OrdersWorkspace;
    type Reply = Creation;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.new.id)]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Order>(self.new.id))
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Creation {
        let creation = domain::create(documents.get(self.new.id), &self.new, &self.context, now);
        if let Creation::Created(order) = &creation {
            documents.put(order.clone(), [order.announcement()]);
        }
        creation
    }

    fn committed(&self, creation: &Creation) {
        let what = match creation {
            Creation::Created(_) => "order created",
            Creation::Repeated(_) => "order known already, answered again",
            Creation::Contradicts(_) => "order refused: another one has this id",
        };
        Step::about("order_id", &self.new.id)
            .with("customer_id", &self.new.customer_id)
            .with("amount", &self.new.amount)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, "RepositoryActor", format_args!("{what}"));
    }
}
