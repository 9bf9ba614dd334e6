//! What clients read.

use contracts::OrderId;
use orders::domain::Order;

use super::{Invariant, Violation};

/// What was read after a 2xx never goes backwards: it stays there, and final stays final.
pub fn i12(id: OrderId, before: &Order, now: Option<&Order>) -> Result<(), Violation> {
    let backwards = match now {
        None => true,
        Some(now) => before.status.is_final() && (now.status, now.reason) != (before.status, before.reason),
    };
    if !backwards {
        return Ok(());
    }
    let of = |order: &Order| format!("{} {:?}", order.status.as_str(), order.reason);
    Err(Violation::new(
        Invariant::ReadsGoForward,
        format!("{id} as it was read before, {}, or further", of(before)),
        now.map_or("no such order".to_owned(), of),
    ))
}
