//! What every adapter of the log has to promise, one function a promise.
//!
//! An adapter's test file implements [`LogUnderTest`] and names it once:
//!
//! ```text
//! mod conformance { shared::event_log_conformance!(super::run, super::Subject::new()); }
//! ```
//!
//! `run` drives a future to its end; the second expression is evaluated for each test, inside it.

use std::sync::Arc;

use futures_util::future::{LocalBoxFuture, join_all};
use uuid::Uuid;

use super::{DEADLINE, eventually};
use shared::event_log::{ConsumedRecord, EventLog, Header, Partition, Position, Record, TopicSettings};

mod consuming;
mod publishing;
mod reader;
mod sharing;

pub use consuming::*;
pub use publishing::*;
pub use reader::{Reader, drive};
pub use sharing::*;

/// Partitions of the suite's topics.
pub const PARTITIONS: Partition = 4;

/// An adapter with its data.
pub trait LogUnderTest {
    /// Opens the log; again after everything of the log opened before was dropped without being
    /// closed, as in a process that was killed and started again.
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn EventLog>>;
}

/// Makes one `#[test]` of each promise.
#[macro_export]
macro_rules! event_log_conformance {
    ($run:path, $subject:expr) => {
        $crate::event_log_conformance! {
            @promises $run, $subject,
            a_delivery_answers_a_position_and_offsets_grow_by_one
            records_of_a_key_keep_their_order
            records_without_a_key_are_spread
            everything_of_a_record_survives
            a_record_for_an_unknown_topic_is_never_lost_silently
            a_topic_that_exists_is_prepared_as_it_is
            records_survive_reopening
            a_tail_sees_what_it_asked_for
            a_group_begins_at_the_oldest_record
            every_group_sees_everything
            what_was_not_stored_is_delivered_again
            what_was_stored_is_not_delivered_again
            a_pause_stops_and_a_resume_leaves_no_gap
            a_long_backlog_arrives_whole
            a_closed_consumer_says_so_and_ends
            the_lag_is_what_is_not_done_and_how_old_it_is
            members_share_the_partitions_and_see_each_record_once
            what_a_leaving_member_held_goes_to_the_others
            a_partition_given_back_while_paused_is_read_when_it_comes_back
            a_member_that_vanishes_is_replaced
            a_store_of_an_earlier_assignment_is_ignored
        }
    };
    (@promises $run:path, $subject:expr, $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $run(async move {
                    let subject = $subject;
                    $crate::event_log::$promise(&subject).await;
                });
            }
        )*
    };
}

/// A name that nothing else uses.
fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4())
}

async fn prepare(log: &dyn EventLog, topic: &str, partitions: Partition) {
    let settings = TopicSettings {
        name: topic.to_owned(),
        partitions,
        replication: 1,
        max_record_bytes: 2 << 20,
    };
    eventually(DEADLINE, "the topic is prepared", async || {
        log.prepare(vec![settings.clone()]).await
    })
    .await;
}

/// A log with a topic of its own.
async fn log_with_topic(subject: &impl LogUnderTest) -> (Arc<dyn EventLog>, String) {
    let (log, topic) = (subject.open().await, unique("conformance"));
    prepare(&*log, &topic, PARTITIONS).await;
    (log, topic)
}

fn record(topic: &str, key: &str, value: &str) -> Record {
    Record {
        topic: topic.to_owned(),
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![Header {
            name: "header".into(),
            value: Some(b"of it".to_vec()),
        }],
    }
}

/// Publishes `from..to` as values, each under its own key, pipelined; waits for all.
async fn publish_numbers(log: &dyn EventLog, topic: &str, numbers: std::ops::Range<usize>) -> Vec<Position> {
    let deliveries: Vec<_> = numbers
        .map(|number| log.publish(record(topic, &format!("key {number}"), &number.to_string())))
        .collect();
    within("the records are delivered", join_all(deliveries))
        .await
        .into_iter()
        .map(|delivery| delivery.expect("a prepared topic takes records"))
        .collect()
}

fn number_of(record: &ConsumedRecord) -> usize {
    let value = record.value.as_deref().map(String::from_utf8_lossy);
    value
        .and_then(|value| value.parse().ok())
        .expect("the suite published a number")
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
