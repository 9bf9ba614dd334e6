//! The log at rest.

use std::collections::BTreeMap;

use contracts::{
    CancelReason, OrderCancelled, OrderCreated, OrderId, OrderShipped, OrderStatus, OrderValidated,
};
use customers::domain::ReservationState;
use shared::{
    envelope::OutboxEvent,
    event_log::Position,
    events::Event,
    parking::{ParkedState, Verb},
};
use uuid::Uuid;

use super::{AtRest, Invariant, Violation, all};
use crate::seen::{Given, Seen, event_id, header};

/// Every announced event is in the log; duplicates are the same to the byte, and as announced. An
/// event that the log refuses for good stays in its outbox. Where the log has lost its tail, every
/// event was in it once.
pub fn i7(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.announced, |(id, record)| {
        let waits = rest.refused.contains(id) && rest.waiting.contains(id);
        if rest.seen.published.contains(id) || waits {
            return Ok(());
        }
        let name = header(record, "ce_type").unwrap_or_default();
        Err(Violation::new(
            Invariant::AnnouncedIsInLog,
            format!("{name} {id} is in the log"),
            "it is not",
        ))
    })?;
    all(&rest.seen.log, |(position, record)| {
        let announced = event_id(record).and_then(|id| rest.seen.announced.get(&id));
        match announced {
            Some(announced) if announced != record => Err(Violation::new(
                Invariant::AnnouncedIsInLog,
                format!("the record at {position} as it was announced, {announced:?}"),
                format!("{record:?}"),
            )),
            _ => Ok(()),
        }
    })
}

/// First occurrences of an order's events were appended to one partition, causes before effects; to
/// several where partitions were added. A cause that the log has refused comes when it is taken. Whatever
/// an event is about: what it names as its cause stands before it.
pub fn i8(rest: &AtRest) -> Result<(), Violation> {
    let moved = rest.seen.partitions_added;
    let mut by_id = BTreeMap::<String, &Position>::new();
    let mut first = BTreeMap::<OrderId, BTreeMap<String, (usize, &Position, bool)>>::new();
    for (at, (position, record)) in rest.seen.log.iter().enumerate() {
        let Some(name) = header(record, "ce_type") else {
            continue;
        };
        let subject = header(record, "ce_subject").and_then(|id| Uuid::try_parse(&id).ok());
        let id = event_id(record).unwrap_or_default();
        let cause = header(record, "ce_causationid");
        if let Some(cause) = cause.filter(|cause| rest.seen.announced.contains_key(cause)) {
            let before = by_id.get(&cause);
            if before.is_none_or(|before| !moved && before.partition != position.partition) {
                let expected = format!("{name} {id} at {position} stands after its cause {cause}");
                let found = before.map_or("it does not".to_owned(), ToString::to_string);
                return Err(Violation::new(Invariant::CauseBeforeEffect, expected, found));
            }
        }
        let refused = rest.seen.refused.contains(&id);
        by_id.entry(id).or_insert(position);
        if let Some(id) = subject
            .map(OrderId)
            .filter(|id| rest.seen.orders.contains_key(id))
        {
            first
                .entry(id)
                .or_default()
                .entry(name)
                .or_insert((at, position, refused));
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
                let Some((then, at, _)) = events.get(effect) else {
                    return Ok(());
                };
                let before = events.get(cause);
                let is_right = before.is_some_and(|(first, before, refused)| {
                    *refused || first < then && (moved || before.partition == at.partition)
                });
                if is_right {
                    return Ok(());
                }
                let expected = format!("{cause} of {id} stands before its {effect} at {at}");
                let found = before.map_or("nowhere".to_owned(), |(_, before, _)| before.to_string());
                Err(Violation::new(Invariant::CauseBeforeEffect, expected, found))
            },
        )
    })
}

/// No outbox left, no lag, nothing parked left open; dead letters are exactly the poison that was put
/// in, which was parked and given up, while whatever else was parked is handled.
///
/// Excused: dead letters that are missing where the log takes none, or where an operator gave the record
/// up before it had failed for good; and, where a partition has lost
/// its tail, what was at the places that it has lost, since another record stands there now or none.
pub fn i9(rest: &AtRest) -> Result<(), Violation> {
    if let Some(key) = rest.outboxes.first() {
        let found = format!(
            "{} {} and {} more",
            key.collection,
            key.id,
            rest.outboxes.len() - 1
        );
        return Err(Violation::new(Invariant::NothingLeft, "no outbox left", found));
    }
    if rest.parked > 0 {
        let found = rest.parked.to_string();
        return Err(Violation::new(
            Invariant::NothingLeft,
            "nothing parked is left open",
            found,
        ));
    }
    if let Some((group, lag)) = rest.lag.iter().find(|(_, lag)| *lag != 0) {
        return Err(Violation::new(
            Invariant::NothingLeft,
            format!("no lag of {group}"),
            lag.to_string(),
        ));
    }
    let gone = |(_, partition, offset): &Given| {
        let from = rest.seen.lost_from.get(partition);
        from.is_some_and(|from| offset >= from)
    };
    let (poison, letters) = (&rest.seen.poison, &rest.seen.dead_letters);
    // Given up, or mended, before it had failed for good.
    let early = |given: &Given| {
        let mended = rest.seen.mended.contains(given) && !rest.seen.failed_for_good.contains(given);
        mended || rest.seen.given_up_early.contains(given)
    };
    let expected = poison
        .iter()
        .filter(|(given, _)| !gone(given) && !early(given) && !rest.no_letters);
    all(expected, |(given, reason)| match letters.get(given) {
        Some(found) if found == reason => Ok(()),
        found => Err(Violation::new(
            Invariant::NothingLeft,
            format!("a dead letter of {given:?}, because of {reason}"),
            format!("{found:?}"),
        )),
    })?;
    all(
        letters.iter().filter(|(given, _)| !gone(given)),
        |(given, reason)| {
            if poison.contains_key(given) {
                return Ok(());
            }
            let expected = "no dead letter but of the poison";
            Err(Violation::new(
                Invariant::NothingLeft,
                expected,
                format!("{given:?}, because of {reason}"),
            ))
        },
    )?;
    let parked = &rest.seen.parked;
    let all_parked = poison.keys().chain(parked.keys()).filter(|given| !gone(given));
    all(all_parked, |given| {
        let state = parked.get(given).map(|parked| parked.state);
        let asked = parked.get(given).and_then(|parked| parked.asked);
        let right = match asked {
            Some(Verb::DiscardRequested) => ParkedState::Discarded,
            // An operator has put something better in its place.
            _ if rest.seen.mended.contains(given) => return Ok(()),
            _ if poison.contains_key(given) => ParkedState::Discarded,
            _ => ParkedState::Done,
        };
        if state == Some(right) {
            return Ok(());
        }
        let expected = format!("{given:?} was parked and is {}", right.as_str());
        Err(Violation::new(
            Invariant::NothingLeft,
            expected,
            format!("{state:?}"),
        ))
    })
}

/// Of events whose partitions have a leader, none stays in an outbox because another partition has none.
/// What the log has refused is tried again later and later, so that is excused.
pub fn i9_led(seen: &Seen, left: &[OutboxEvent]) -> Result<(), Violation> {
    let refused = |event: &&OutboxEvent| seen.refused.contains(&event.id.to_string());
    let Some(event) = left.iter().find(|event| !refused(event)) else {
        return Ok(());
    };
    let expected = format!(
        "{} {} leaves its outbox, though another partition has no leader",
        event.name, event.id
    );
    let found = match seen.published.contains(&event.id.to_string()) {
        true => "it is in the log and stands there",
        false => "it stands there",
    };
    Err(Violation::new(Invariant::NothingLeft, expected, found))
}

/// With several instances and no fault, no event is published twice.
pub fn i17(rest: &AtRest) -> Result<(), Violation> {
    match rest.seen.repeated.first_key_value() {
        Some((id, times)) if rest.calm => {
            let name = rest
                .seen
                .announced
                .get(id)
                .and_then(|record| header(record, "ce_type"));
            let expected = format!("{} {id} stands in the log once", name.unwrap_or_default());
            let found = format!("{times} times, and {} more events", rest.seen.repeated.len() - 1);
            Err(Violation::new(Invariant::PublishedOnce, expected, found))
        }
        _ => Ok(()),
    }
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
        let right = match OrderStatus::of_event(&name) {
            Some(said) if said.is_final() => status == Some(said),
            Some(_) => status.is_some(),
            None if name == OrderValidated::NAME => {
                state.is_some_and(|state| state != ReservationState::Void)
            }
            None => true,
        };
        if right {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::EffectHasCause,
            format!("{name} of {id} at {position} is so"),
            format!("the order is {status:?}, its reservation {state:?}"),
        ))
    })
}
