//! The record for the dead-letter topic: as it came, and why it was given up.

use super::{Failure, ParkedRecord};
use crate::{contracts::dead_letter_topic, envelope::text_header, event_log::Record};

/// Key, value and headers as they came, and the `dl-` headers.
pub fn dead_letter(parked: &ParkedRecord, failure: &Failure) -> Record {
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
