//! The log at rest.

use std::collections::BTreeMap;

use customers::domain::ReservationState;
use shared::{
    contracts::{
        CancelReason, Event, OrderCancelled, OrderCreated, OrderId, OrderShipped, OrderStatus, OrderValidated,
    },
    event_log::Position,
};
use uuid::Uuid;

use super::{AtRest, Invariant, Violation, all};
use crate::seen::{event_id, header};

/// Every announced event is in the log; duplicates are the same to the byte, and as announced.
pub fn i7(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.announced, |(id, record)| {
        if rest.seen.published.contains(id) {
            return Ok(());
        }
        let name = header(record, "ce_type").unwrap_or_default();
        Err(Violation::new(
            Invariant::I7,
            format!("{name} {id} is in the log"),
            "it is not",
        ))
    })?;
    all(&rest.seen.log, |(position, record)| {
        let announced = event_id(record).and_then(|id| rest.seen.announced.get(&id));
        match announced {
            Some(announced) if announced != record => Err(Violation::new(
                Invariant::I7,
                format!("the record at {position} as it was announced, {announced:?}"),
                format!("{record:?}"),
            )),
            _ => Ok(()),
        }
    })
}

/// First occurrences of an order's events stand in one partition, causes before effects.
pub fn i8(rest: &AtRest) -> Result<(), Violation> {
    let mut first = BTreeMap::<OrderId, BTreeMap<String, &Position>>::new();
    for (position, record) in &rest.seen.log {
        let Some(name) = header(record, "ce_type") else {
            continue;
        };
        let subject = header(record, "ce_subject").and_then(|id| Uuid::try_parse(&id).ok());
        if let Some(id) = subject
            .map(OrderId)
            .filter(|id| rest.seen.orders.contains_key(id))
        {
            first.entry(id).or_default().entry(name).or_insert(position);
        }
    }
    all(&first, |(id, events)| {
        let reason = rest.seen.orders.get(id).and_then(|order| order.reason);
        let by_customer = reason == Some(CancelReason::CancelledByCustomer);
        let causes = [
            (OrderCreated::NAME, OrderValidated::NAME, true),
            (OrderCreated::NAME, OrderCancelled::NAME, true),
            (OrderValidated::NAME, OrderShipped::NAME, true),
            (OrderValidated::NAME, OrderCancelled::NAME, !by_customer),
        ];
        all(
            causes.into_iter().filter(|(_, _, applies)| *applies),
            |(cause, effect, _)| {
                let Some(at) = events.get(effect) else {
                    return Ok(());
                };
                let before = events.get(cause);
                if before.is_some_and(|before| before.partition == at.partition && before.offset < at.offset)
                {
                    return Ok(());
                }
                let expected = format!("{cause} of {id} stands before its {effect} at {at}");
                let found = before.map_or("nowhere".to_owned(), |before| before.to_string());
                Err(Violation::new(Invariant::I8, expected, found))
            },
        )
    })
}

/// No outbox left, no lag, dead letters are exactly the poison that was put in.
pub fn i9(rest: &AtRest) -> Result<(), Violation> {
    if let Some(key) = rest.outboxes.first() {
        let found = format!(
            "{} {} and {} more",
            key.collection,
            key.id,
            rest.outboxes.len() - 1
        );
        return Err(Violation::new(Invariant::I9, "no outbox left", found));
    }
    if rest.parked > 0 {
        let found = rest.parked.to_string();
        return Err(Violation::new(
            Invariant::I9,
            "nothing parked is left open",
            found,
        ));
    }
    if let Some((group, lag)) = rest.lag.iter().find(|(_, lag)| *lag != 0) {
        return Err(Violation::new(
            Invariant::I9,
            format!("no lag of {group}"),
            lag.to_string(),
        ));
    }
    let (poison, letters) = (&rest.seen.poison, &rest.seen.dead_letters);
    all(poison, |(given, reason)| match letters.get(given) {
        Some(found) if found == reason => Ok(()),
        found => Err(Violation::new(
            Invariant::I9,
            format!("a dead letter of {given:?}, because of {reason}"),
            format!("{found:?}"),
        )),
    })?;
    all(letters, |(given, reason)| {
        if poison.contains_key(given) {
            return Ok(());
        }
        let expected = "no dead letter but of the poison";
        Err(Violation::new(
            Invariant::I9,
            expected,
            format!("{given:?}, because of {reason}"),
        ))
    })
}

/// What the log says is what the databases say: no event of a thing that did not come to be.
pub fn i10(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.log, |(position, record)| {
        let (Some(name), Some(id)) = (header(record, "ce_type"), header(record, "ce_subject")) else {
            return Ok(());
        };
        let id = OrderId(Uuid::try_parse(&id).unwrap_or_default());
        let status = rest.seen.orders.get(&id).map(|order| order.status);
        let state = rest
            .seen
            .reservations
            .get(&id)
            .map(|reservation| reservation.state);
        let right = match name.as_str() {
            OrderCreated::NAME => status.is_some(),
            OrderShipped::NAME => status == Some(OrderStatus::Shipped),
            OrderCancelled::NAME => status == Some(OrderStatus::Cancelled),
            OrderValidated::NAME => state.is_some_and(|state| state != ReservationState::Void),
            _ => true,
        };
        if right {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::I10,
            format!("{name} of {id} at {position} is so"),
            format!("the order is {status:?}, its reservation {state:?}"),
        ))
    })
}
