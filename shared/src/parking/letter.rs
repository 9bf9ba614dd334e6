//! The record for the dead-letter topic: as it came, and why it was given up.

use super::{Change, Failure, Fate, NewParked, ParkedRecord, ParkedState};
use crate::{
    envelope::{Letter, OutboxEvent, text_header},
    environment::Timestamp,
    event_log::Record,
    events::{EventId, dead_letter_topic},
};

/// The dead letter that a change of a record announces: each time it fails for good. None for a
/// record so large that its document has no room for the letter beside it; that is told.
pub fn letter(parked: &ParkedRecord, change: &Change, now: Timestamp) -> Option<OutboxEvent> {
    let failure = match change {
        Change::Park(new) => {
            let NewParked { failure, .. } = &**new;
            failure.as_ref()?
        }
        Change::Fail { failure, .. } => failure,
        _ => return None,
    };
    if failure.fate != Fate::Final || parked.state != ParkedState::Parked {
        return None;
    }
    let record = dead_letter(parked, failure);
    if record
        .value
        .as_ref()
        .is_some_and(|value| value.len() > Letter::LARGEST)
    {
        log::error!(target: "RepositoryActor", parked:% = parked.id, topic = parked.topic.as_str(),
            partition = parked.partition, offset = parked.offset;
            "no dead letter: the record is larger than {} bytes; it is parked all the same", Letter::LARGEST);
        return None;
    }
    let id = EventId::of(parked.id, Letter::NAME, parked.attempts.into());
    Some(OutboxEvent::letter(id, &record, now))
}

/// Key, value and headers as they came, and the `dl-` headers.
fn dead_letter(parked: &ParkedRecord, failure: &Failure) -> Record {
    let came = parked.as_it_came();
    let mut headers = came.headers;
    headers.extend([
        text_header("dl-topic", &*parked.topic),
        text_header("dl-partition", parked.partition.to_string()),
        text_header("dl-offset", parked.offset.to_string()),
        text_header("dl-group", &*failure.group),
        text_header("dl-reason", &*failure.reason),
        text_header("dl-error", &*failure.error),
        text_header("dl-attempts", parked.attempts.to_string()),
        text_header("dl-time", parked.updated_at.to_string()),
    ]);
    Record {
        topic: dead_letter_topic(&parked.topic),
        key: came.key,
        value: came.value,
        headers,
    }
}
