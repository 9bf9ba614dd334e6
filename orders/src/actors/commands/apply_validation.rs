//! Ships or cancels an order as Customers has decided, and announces that.

use contracts::OrderValidated;
use shared::{
    actors::repository::Command,
    document_store::{DocumentKey, key},
    envelope::Context,
    environment::Timestamp,
};

use super::log_change;
use crate::{
    documents::{OrdersWorkspace, ending, put},
    domain::{self, Change, Order},
};

/// Applies what Customers has decided about an order.
#[derive(Debug, Clone)]
pub struct ApplyValidation {
    /// What was decided.
    pub validation: OrderValidated,
    /// The event that says so.
    pub context: Context,
}

impl Command for ApplyValidation {
    type Workspace = OrdersWorkspace;
    type Reply = Change;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.validation.order_id)]
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Change {
        let order = documents.get(self.validation.order_id);
        let change = domain::apply_validation(order, &self.validation, now);
        put(documents, &change, &self.context, now);
        if let Change::AlreadyFinal(_) = change {
            heal(documents, &self.validation, now);
        }
        change
    }

    fn committed(&self, change: &Change) {
        log_change(self.validation.order_id, change, &self.context);
    }
}

/// Announces the end of a cancelled order again where Customers seems not to have heard of it. The
/// time and the context of its end are stored, so it is the same event to the byte.
fn heal(documents: &mut OrdersWorkspace, validation: &OrderValidated, now: Timestamp) {
    let Some(order) = documents.get(validation.order_id) else {
        return;
    };
    if let Some(event) = domain::cancelled_again(order, validation, now) {
        let context = order.end_context.as_ref().unwrap_or(&order.context);
        let event = ending(order, &event, order.updated_at, context);
        documents.put(order.clone(), [event]);
    }
}
