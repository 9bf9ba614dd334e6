//! Credit at rest.

use contracts::OrderStatus;
use customers::domain::ReservationState;
use shared::money::Money;

use super::{AtRest, Invariant, Violation, all};

/// What a customer has reserved is the sum of its held reservations.
pub fn i2(rest: &AtRest) -> Result<(), Violation> {
    all(rest.seen.customers.values(), |customer| {
        let held = rest.seen.reservations.values().filter(|reservation| {
            reservation.customer_id == customer.id && reservation.state == ReservationState::Held
        });
        let sum = held.fold(Money::ZERO, |sum, held| {
            sum.checked_add(held.amount).unwrap_or(sum)
        });
        if sum == customer.reserved {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::ReservedIsSumOfHeld,
            format!(
                "{} has reserved {sum}, the sum of its held reservations",
                customer.id
            ),
            customer.reserved.to_string(),
        ))
    })
}

/// Held reservations and shipped orders, one to one, of equal amounts.
pub fn i3(rest: &AtRest) -> Result<(), Violation> {
    let held = rest
        .seen
        .reservations
        .values()
        .filter(|reservation| reservation.state == ReservationState::Held);
    all(held, |held| {
        let order = rest.seen.orders.get(&held.id);
        if order.is_some_and(|order| order.status == OrderStatus::Shipped && order.amount == held.amount) {
            return Ok(());
        }
        let expected = format!("{} held for {} are of a shipped order", held.amount, held.id);
        let found = order.map(|order| (order.status, order.reason, order.amount));
        Err(Violation::new(
            Invariant::HeldIsShipped,
            expected,
            format!("{found:?}"),
        ))
    })?;
    let shipped = rest
        .seen
        .orders
        .values()
        .filter(|order| order.status == OrderStatus::Shipped);
    all(shipped, |order| {
        let held = rest.seen.reservations.get(&order.id);
        if held.is_some_and(|held| held.state == ReservationState::Held && held.amount == order.amount) {
            return Ok(());
        }
        let expected = format!("the shipped order {} holds {}", order.id, order.amount);
        let found = held.map(|held| (held.state, held.amount));
        Err(Violation::new(
            Invariant::HeldIsShipped,
            expected,
            format!("{found:?}"),
        ))
    })
}
