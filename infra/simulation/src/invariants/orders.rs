//! Orders at rest.

use std::time::Duration;

use customers::domain::ReservationState;
use shared::contracts::OrderStatus;

use super::{AtRest, Invariant, Violation, all};

/// How long after the last fault an order may be open.
pub const FINAL_WITHIN: Duration = Duration::from_secs(30);

/// Every order answered 2xx exists; every stored order was sent, and once: as it was sent.
pub fn i4(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.asked.acknowledged, |id| {
        if rest.seen.orders.contains_key(id) {
            return Ok(());
        }
        let expected = format!("the order {id}, which was acknowledged");
        Err(Violation::new(Invariant::I4, expected, "no such order"))
    })?;
    all(rest.seen.orders.values(), |order| {
        let sent = rest.seen.asked.orders.get(&order.id);
        if sent == Some(&(order.customer_id, order.amount)) {
            return Ok(());
        }
        let expected = format!("the order {} as it was sent, {sent:?}", order.id);
        let found = (order.customer_id, order.amount);
        Err(Violation::new(Invariant::I4, expected, format!("{found:?}")))
    })
}

/// Every order is final within 30 s after the last fault.
pub fn i5(rest: &AtRest) -> Result<(), Violation> {
    let open = rest.seen.orders.values().find(|order| !order.status.is_final());
    if let Some(open) = open {
        let expected = format!("the order {} is final within {FINAL_WITHIN:?}", open.id);
        return Err(Violation::new(Invariant::I5, expected, open.status.as_str()));
    }
    let took = rest.seen.last_final.saturating_sub(rest.healed);
    if took > FINAL_WITHIN {
        let expected = format!("all orders final within {FINAL_WITHIN:?}");
        return Err(Violation::new(Invariant::I5, expected, format!("{took:?}")));
    }
    Ok(())
}

/// Shipped only with a held reservation, cancelled only with a reason. That final never changes is
/// judged at each commit.
pub fn i6(rest: &AtRest) -> Result<(), Violation> {
    all(rest.seen.orders.values(), |order| {
        let state = rest.seen.reservations.get(&order.id).map(|held| held.state);
        let right = match order.status {
            OrderStatus::Created => order.reason.is_none(),
            OrderStatus::Shipped => order.reason.is_none() && state == Some(ReservationState::Held),
            OrderStatus::Cancelled => order.reason.is_some() && state != Some(ReservationState::Held),
        };
        if right {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::I6,
            format!(
                "{} is shipped and holds credit, or cancelled with a reason and holds none",
                order.id
            ),
            format!(
                "{} {:?}, its reservation is {state:?}",
                order.status.as_str(),
                order.reason
            ),
        ))
    })
}
