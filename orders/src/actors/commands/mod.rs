//! What the RepositoryActor of Orders is asked to do: a file for each command, with its decision and
//! the log line of its effect.

mod apply_validation;
mod cancel_order;
mod create_order;

pub use apply_validation::ApplyValidation;
pub use cancel_order::CancelOrder;
pub use create_order::CreateOrder;

use contracts::{OrderId, OrderStatus};
use shared::{envelope::Context, logging::Step};

use crate::domain::Change;

/// The log line of a change.
fn log_change(order_id: OrderId, change: &Change, context: &Context) {
    let (what, reason) = match change {
        Change::Finished(order, _) if order.status == OrderStatus::Shipped => ("order shipped", None),
        Change::Finished(order, _) => ("order cancelled", order.reason),
        Change::AlreadyFinal(_) => ("order is final already, unchanged", None),
        Change::Unknown => ("there is no such order", None),
    };
    Step::about("order_id", &order_id)
        .with_some("reason", &reason)
        .with("correlation_id", &context.correlation_id)
        .log(log::Level::Info, "RepositoryActor", format_args!("{what}"));
}
