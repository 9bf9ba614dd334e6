//! What is judged at each commit and each append, before anybody else can see it.

use std::time::Duration;

use contracts::{CancelReason, OrderStatus, TOPIC};
use customers::domain::{Reservation, ReservationState};
use orders::domain::Order;
use shared::{
    event_log::Position,
    money::Money,
    parking::{ParkedId, ParkedState, Verb},
};

use super::{Invariant, Violation};
use crate::seen::{Decided, Failed, Given, Parked, Place, Seen};

/// Where the event stands that this reservation was made by, and under which key.
fn cause_of<'a>(seen: &'a Seen, now: &Reservation) -> &'a [Place] {
    let id = now.context.causation_id.as_ref();
    id.and_then(|id| seen.places.get(id)).map_or(&[], Vec::as_slice)
}

/// I8 of a reservation that was just made: the event behind it has overtaken no earlier record of the
/// same order that has failed. Where the log has lost records, offsets say nothing about earlier;
/// nothing waits behind a parked record that nobody can read; and a record in whose place an operator
/// has put an event of another order stands in no order with those of that one.
pub fn in_turn(seen: &Seen, now: &Reservation, group: &str) -> Result<(), Violation> {
    let places = cause_of(seen, now);
    let overtaken = |(at, _): &Place| {
        if seen.mended.contains(&(group.to_owned(), at.partition, at.offset)) {
            return None;
        }
        let mut failed = seen.failed.iter();
        let earlier = |((of, partition, offset), failed): &(&Given, &Failed)| {
            let id = ParkedId::of(TOPIC, *partition, *offset);
            let readable = !seen.spoilt.contains(&id.0);
            readable
                && of == group
                && *partition == at.partition
                && *offset < at.offset
                && failed.subject == Some(now.id)
        };
        failed.find(earlier).map(|(given, _)| given.clone())
    };
    // An event that was announced again stands in several places; any of them may have been it.
    let overtaken: Vec<_> = places.iter().filter_map(overtaken).collect();
    if overtaken.is_empty() || overtaken.len() < places.len() || !seen.lost_from.is_empty() {
        return Ok(());
    }
    let expected = format!("the order {} waits behind a failed record of its own", now.id);
    let found = format!("{overtaken:?} have failed");
    Err(Violation::new(Invariant::CauseBeforeEffect, expected, found))
}

/// I9 of a parked record: an operator who was told that it will be given up was told the truth.
pub fn parked(given: &Given, now: Parked) -> Result<(), Violation> {
    if (now.state, now.asked) != (ParkedState::Done, Some(Verb::DiscardRequested)) {
        return Ok(());
    }
    let expected = format!("{given:?} is given up, as an operator asked last");
    Err(Violation::new(
        Invariant::NothingLeft,
        expected,
        now.state.as_str(),
    ))
}

/// How late a parked record may be tried: the clocks of two processes differ by as much.
const TRIED_WITHIN: Duration = Duration::from_secs(6);

/// I5 of a parked record that was waiting for its next try, and is waited for no longer.
pub fn in_time(given: &Given, due: Duration, now: Duration) -> Result<(), Violation> {
    let late = now.saturating_sub(due);
    if late <= TRIED_WITHIN {
        return Ok(());
    }
    let expected = format!("{given:?} is tried within {TRIED_WITHIN:?} of when it is due");
    Err(Violation::new(
        Invariant::FinalInTime,
        expected,
        format!("it was tried {late:?} later"),
    ))
}

/// I9 of a reservation that was just made: not by a record that is given up, or will be.
pub fn not_discarded(seen: &Seen, now: &Reservation, group: &str) -> Result<(), Violation> {
    let places = cause_of(seen, now);
    let discarded = |(at, _): &&Place| {
        let given = (group.to_owned(), at.partition, at.offset);
        let parked = seen.parked.get(&given);
        parked.is_some_and(|parked| parked.asked == Some(Verb::DiscardRequested))
    };
    let count = places.iter().filter(discarded).count();
    if count == 0 || count < places.len() || !seen.lost_from.is_empty() {
        return Ok(());
    }
    let expected = format!("the order {} is not decided by a record that is given up", now.id);
    Err(Violation::new(
        Invariant::NothingLeft,
        expected,
        format!("it was, by {places:?}"),
    ))
}

/// I4, I6, I10 of an order that was just written.
pub fn order(seen: &Seen, before: Option<&Order>, now: &Order) -> Result<(), Violation> {
    let id = now.id;
    let kept = |order: &Order| (order.status, order.reason, order.amount, order.customer_id);
    if let Some(before) = before.filter(|before| before.status.is_final())
        && kept(before) != kept(now)
    {
        return Err(Violation::new(
            Invariant::FinalStays,
            format!("the order {id} stays as it is: {:?}", kept(before)),
            format!("{:?}", kept(now)),
        ));
    }
    if !seen.asked.orders.contains_key(&id) {
        return Err(Violation::new(
            Invariant::StoredIsSent,
            "only orders that were sent",
            format!("{id}"),
        ));
    }
    if before.is_some_and(|before| before.status.is_final()) {
        return Ok(());
    }
    let said = seen.validated.get(&id);
    match (now.status, now.reason) {
        (OrderStatus::Shipped, _) if !said.is_some_and(|said| said.is_valid) => {
            Err(cause(id, "a validation that it is valid", said))
        }
        (OrderStatus::Shipped, _) => {
            let state = seen.reservations.get(&id).map(|reservation| reservation.state);
            if state == Some(ReservationState::Held) {
                return Ok(());
            }
            let expected = format!("{id} is shipped only with a held reservation");
            Err(Violation::new(
                Invariant::FinalStays,
                expected,
                format!("{state:?}"),
            ))
        }
        (OrderStatus::Cancelled, None) => {
            let expected = format!("{id} is cancelled with a reason");
            Err(Violation::new(Invariant::FinalStays, expected, "none"))
        }
        (OrderStatus::Cancelled, Some(CancelReason::CancelledByCustomer)) => {
            if seen.asked.cancels.contains(&id) {
                return Ok(());
            }
            Err(cause(id, "somebody who cancels it", None::<()>))
        }
        (OrderStatus::Cancelled, Some(_)) if said.is_none_or(|said| said.is_valid) => {
            Err(cause(id, "a validation that it is not valid", said))
        }
        _ => Ok(()),
    }
}

fn cause(id: impl std::fmt::Display, expected: &str, found: impl std::fmt::Debug) -> Violation {
    let expected = format!("before {id} becomes final, {expected}");
    Violation::new(Invariant::EffectHasCause, expected, format!("{found:?}"))
}

/// I1, I10 of a commit of Customers.
pub fn decided(seen: &Seen, decided: &Decided) -> Result<(), Violation> {
    if let Some(customer) = &decided.customer.1
        && customer.reserved.is_negative()
    {
        let expected = format!("{} has reserved nothing or more", customer.id);
        return Err(Violation::new(
            Invariant::WithinCredit,
            expected,
            customer.reserved.to_string(),
        ));
    }
    within_credit(decided)?;
    for (before, now) in &decided.reservations {
        let created = seen.created.contains_key(&now.id);
        let cancelled = seen.cancelled.contains_key(&now.id);
        let was = before.as_ref().map(|before| before.state);
        let caused = match (was, now.state) {
            (was, now) if was == Some(now) => true,
            (None, ReservationState::Held | ReservationState::Refused) => created,
            (None, ReservationState::Released) => created && cancelled,
            (None, ReservationState::Void) => cancelled,
            (Some(ReservationState::Held), ReservationState::Released) => cancelled,
            _ => false,
        };
        if !caused {
            return Err(Violation::new(
                Invariant::EffectHasCause,
                format!("the reservation {} has its cause in the log", now.id),
                format!(
                    "{was:?} became {:?}; created: {created}, cancelled: {cancelled}",
                    now.state
                ),
            ));
        }
    }
    Ok(())
}

/// In what order things were decided within a commit is not known: there has to be one in which
/// every reservation found credit enough. That is so where it is when all releases came first and
/// the limit stood at its highest.
fn within_credit(decided: &Decided) -> Result<(), Violation> {
    let sum = |amounts: Vec<Money>| {
        amounts
            .into_iter()
            .fold(Money::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(sum))
    };
    let state = |was: Option<ReservationState>, now: ReservationState| {
        decided
            .reservations
            .iter()
            .filter(|(before, after)| before.as_ref().map(|before| before.state) == was && after.state == now)
            .map(|(_, after)| after.amount)
            .collect::<Vec<_>>()
    };
    let made = sum(state(None, ReservationState::Held));
    let released = sum(state(Some(ReservationState::Held), ReservationState::Released));
    if !made.is_positive() {
        return Ok(());
    }
    let (Some(before), Some(after)) = (&decided.customer.0, &decided.customer.1) else {
        // The customer is new too: there is only its limit to go by.
        return Ok(());
    };
    let highest = decided
        .limits
        .iter()
        .copied()
        .fold(before.credit_limit, Money::max);
    let reserved = before
        .reserved
        .checked_sub(released)
        .and_then(|rest| rest.checked_add(made));
    if reserved.is_some_and(|reserved| reserved <= highest) {
        return Ok(());
    }
    Err(Violation::new(
        Invariant::WithinCredit,
        format!("{} reserves within its limit of {highest}", before.id),
        format!(
            "{made} on top of {} less {released}, so {}",
            before.reserved, after.reserved
        ),
    ))
}

/// I10 of an event in the log that no durable document has announced.
pub fn published(id: &str, position: &Position) -> Violation {
    Violation::new(
        Invariant::EffectHasCause,
        format!("the event {id} at {position} was announced by a durable document"),
        "none that did",
    )
}
