//! What records and parked documents say, read without the help of the services.

use std::time::Duration;

use contracts::{self, OrderCancelled, OrderCreated, OrderId, OrderValidated};
use shared::{
    envelope::Received,
    event_log::{ConsumedRecord, Position, Record},
    events::{self, Event, EventType},
    parking::{ParkedRecord, ParkedState, Verb},
};

use super::{Given, Seen};

/// What an operator asked for last.
pub(super) fn asked(parked: &ParkedRecord) -> Option<Verb> {
    let by_operator = |verb: &Verb| {
        matches!(
            verb,
            Verb::ReplayRequested | Verb::Edited | Verb::DiscardRequested
        )
    };
    let verbs = parked.history.iter().rev().map(|entry| entry.what);
    verbs.into_iter().find(|verb| by_operator(verb))
}

/// How long after its last change a record is to be tried; none while it is, or where nobody tries it.
pub(super) fn pause(parked: &ParkedRecord) -> Option<Duration> {
    if parked.attempt_since.is_some() {
        return None;
    }
    match parked.state {
        ParkedState::Retrying => Some(parked.next_try_at?.since(parked.updated_at)),
        ParkedState::Requested => Some(Duration::ZERO),
        _ => None,
    }
}

/// The subject of this record, as the contracts read it; none where it cannot be read.
pub(super) fn subject(record: &ConsumedRecord) -> Option<OrderId> {
    let received = Received::read(record).ok()?;
    let known = EventType::named(contracts::EVENTS, &received.name)?;
    known.about(&received.data).ok()?.subject().map(OrderId)
}

/// What a record says first of an order.
pub(super) fn note(seen: &mut Seen, position: &Position, record: &Record, now: Duration) {
    let consumed = ConsumedRecord {
        position: position.clone(),
        generation: 0,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Vec::new(),
    };
    let Ok(received) = Received::read(&consumed) else {
        return;
    };
    match received.name.as_str() {
        OrderCreated::NAME => {
            if let Ok(event) = events::read::<OrderCreated>(&received.data) {
                seen.created_at.entry(event.id).or_insert(now);
                let first = seen.created.entry(event.id);
                let (first, event) = first.or_insert((position.clone(), event));
                if first.partition != position.partition {
                    seen.scattered.insert(event.id);
                }
            }
        }
        OrderCancelled::NAME => {
            if let Ok(event) = events::read::<OrderCancelled>(&received.data)
                && event.customer_id.is_some()
            {
                seen.cancelled.entry(event.id).or_insert(position.clone());
            }
        }
        OrderValidated::NAME => {
            if let Ok(event) = events::read::<OrderValidated>(&received.data) {
                seen.validated.entry(event.order_id).or_insert(event);
            }
        }
        _ => {}
    }
}

/// The id of an event that a service has written.
pub fn event_id(record: &Record) -> Option<String> {
    header(record, "ce_id")
}

/// A header as text.
pub fn header(record: &Record, name: &str) -> Option<String> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    String::from_utf8(header.value.clone()?).ok()
}

pub(super) fn given_up(record: &Record) -> (Given, String) {
    let text = |name| header(record, name).unwrap_or_default();
    let given = (
        text("dl-group"),
        text("dl-partition").parse().unwrap_or(-1),
        text("dl-offset").parse().unwrap_or(-1),
    );
    (given, text("dl-reason"))
}
