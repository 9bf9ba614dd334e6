//! The record for the dead-letter topic: as it came, with why beside it.

use crate::{
    contracts::dead_letter_topic,
    envelope::text_header,
    environment::Timestamp,
    event_log::{ConsumedRecord, Record},
};

/// Why a record is given up, and by whom.
pub struct Verdict<'a> {
    /// The consumer group.
    pub group: &'a str,
    /// A stable word.
    pub reason: &'a str,
    /// What is wrong.
    pub error: &'a str,
    /// How often it was tried.
    pub attempts: i32,
    /// When.
    pub time: Timestamp,
}

/// Key, value and headers as they came, and the `dl-` headers.
pub fn dead_letter(record: &ConsumedRecord, verdict: &Verdict<'_>) -> Record {
    let mut headers = record.headers.clone();
    headers.extend([
        text_header("dl-topic", &*record.position.topic),
        text_header("dl-partition", record.position.partition.to_string()),
        text_header("dl-offset", record.position.offset.to_string()),
        text_header("dl-group", verdict.group),
        text_header("dl-reason", verdict.reason),
        text_header("dl-error", verdict.error),
        text_header("dl-attempts", verdict.attempts.to_string()),
        text_header("dl-time", verdict.time.to_string()),
    ]);
    Record {
        topic: dead_letter_topic(&record.position.topic),
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}
