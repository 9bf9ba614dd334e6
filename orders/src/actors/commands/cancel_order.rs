//! Cancels an order on behalf of its customer, and announces `OrderCancelled`.

use contracts::OrderId;
use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::Context,
    environment::Timestamp,
};

use super::log_change;
use crate::{
    documents::{OrdersWorkspace, put},
    domain::{self, Change, Order},
};

/// Cancels an order on behalf of its customer.
#[derive(Debug, Clone)]
pub struct CancelOrder {
    /// Which.
    pub order_id: OrderId,
    /// The request.
    pub context: Context,
}

impl Command for CancelOrder {
    type Workspace = OrdersWorkspace;
    type Reply = Change;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.order_id)]
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Change {
        let change = domain::cancel(documents.get(self.order_id), now);
        put(documents, &change, &self.context, now);
        change
    }

    fn committed(&self, change: &Change) {
        log_change(self.order_id, change, &self.context);
    }
}
