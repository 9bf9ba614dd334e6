//! Orders at rest.

use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use customers::domain::ReservationState;
use orders::domain::Order;
use shared::parking::LONGEST_PAUSE;

use super::{AtRest, Invariant, Violation, all};
use crate::seen::Seen;

/// How long after the last fault an order may be open.
pub const FINAL_WITHIN: Duration = Duration::from_secs(30);

/// Every order answered 2xx exists; every stored order was sent, and once: as it was sent.
pub fn i4(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.asked.acknowledged, |id| {
        if rest.seen.orders.contains_key(id) {
            return Ok(());
        }
        let expected = format!("the order {id}, which was acknowledged");
        Err(Violation::new(Invariant::StoredIsSent, expected, "no such order"))
    })?;
    all(rest.seen.orders.values(), |order| {
        let sent = rest.seen.asked.orders.get(&order.id);
        if sent == Some(&(order.customer_id, order.amount)) {
            return Ok(());
        }
        let expected = format!("the order {} as it was sent, {sent:?}", order.id);
        let found = (order.customer_id, order.amount);
        Err(Violation::new(
            Invariant::StoredIsSent,
            expected,
            format!("{found:?}"),
        ))
    })
}

/// How much longer it may be open when an event of its own has failed: the longest pause before another
/// try, with its jitter.
const LAST_PAUSE: Duration = LONGEST_PAUSE.saturating_mul(2);

/// Every order is final in time, once operators clear up.
pub fn i5(rest: &AtRest) -> Result<(), Violation> {
    let open = rest.seen.orders.values().find(|order| !order.status.is_final());
    if let Some(open) = open {
        let expected = format!("the order {} is final within {FINAL_WITHIN:?}", open.id);
        return Err(Violation::new(
            Invariant::FinalInTime,
            expected,
            open.status.as_str(),
        ));
    }
    let took = rest.seen.last_final.saturating_sub(rest.healed);
    let of_failed = rest.seen.last_final_of_failed.saturating_sub(rest.healed);
    for (took, within) in [(took, FINAL_WITHIN), (of_failed, FINAL_WITHIN + LAST_PAUSE)] {
        if took > within {
            let expected = format!("all orders final within {within:?}");
            return Err(Violation::new(
                Invariant::FinalInTime,
                expected,
                format!("{took:?}"),
            ));
        }
    }
    Ok(())
}

/// Shipped only with a held reservation, cancelled only with a reason. That final never changes is
/// judged at each commit.
pub fn i6(rest: &AtRest) -> Result<(), Violation> {
    all(rest.seen.orders.values(), |order| {
        let state = rest.seen.reservations.get(&order.id).map(|held| held.state);
        let right = match order.status {
            OrderStatus::Shipped => order.reason.is_none() && state == Some(ReservationState::Held),
            OrderStatus::Cancelled => order.reason.is_some() && state != Some(ReservationState::Held),
            _ => order.reason.is_none(),
        };
        if right {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::FinalStays,
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

/// Every order is final in time unless its own events have failed: none waits for another's failure.
/// Judged while whatever was parked still is, and a partition may still have no leader.
///
/// `excused`: what of this order stands where nobody can read or write.
pub fn i15(seen: &Seen, excused: impl Fn(&Order) -> bool) -> Result<(), Violation> {
    let waits = |order: &&Order| {
        !order.status.is_final() && !seen.own_failures.contains(&order.id) && !excused(order)
    };
    let Some(order) = seen.orders.values().find(waits) else {
        return Ok(());
    };
    let expected = format!(
        "the order {} is final, since nothing of its own has failed",
        order.id
    );
    let found = format!(
        "{}; {} records of others have failed",
        order.status.as_str(),
        seen.failed.len()
    );
    Err(Violation::new(Invariant::NoneWaitsForOthers, expected, found))
}

/// An order that was answered 2xx is stored, at that moment.
pub fn i16_stored(seen: &Seen, id: OrderId) -> Result<(), Violation> {
    if seen.orders.contains_key(&id) {
        return Ok(());
    }
    let expected = format!("{id} is stored: it was answered so");
    Err(Violation::new(Invariant::AnswersAreTrue, expected, "it is not"))
}

/// An order of which every answer said that nothing was stored is not stored.
pub fn i16_not_stored(seen: &Seen, id: OrderId) -> Result<(), Violation> {
    match seen.orders.get(&id) {
        None => Ok(()),
        Some(order) => {
            let expected = format!("{id} is not stored: every answer said so");
            Err(Violation::new(
                Invariant::AnswersAreTrue,
                expected,
                order.status.as_str(),
            ))
        }
    }
}

/// Nor is it later.
pub fn i16(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.asked.refused, |id| i16_not_stored(&rest.seen, *id))
}
