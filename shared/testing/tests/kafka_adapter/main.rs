//! The Kafka adapter against librdkafka's mock cluster (a Kafka inside the process) and against a
//! real Kafka. What every adapter promises is in the conformance
//! suite; here is what can only go wrong with Kafka.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::event_log::{
    Assignment, ConsumedRecord, Consumer, EventLog as _, Record, Signal, Subscribed, Subscription,
    TopicSettings, kafka::KafkaLog,
};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

mod bytes;
mod commits;
mod dangers;
mod forgetful;
mod mock;
mod progress;
mod real;
mod rebalance;
mod topics;

/// For whatever has to happen, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(name: &str, partitions: i32) -> TopicSettings {
    TopicSettings {
        name: name.into(),
        partitions,
        replication: 1,
        max_record_bytes: 100_000,
    }
}

fn record(topic: &str, key: &str, value: impl ToString) -> Record {
    let (key, value) = (Some(key.into()), Some(value.to_string().into_bytes()));
    Record {
        topic: topic.into(),
        key,
        value,
        headers: Vec::new(),
    }
}

fn text(bytes: &Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.clone().unwrap()).unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A member that checks with each signal that order and generations are as promised.
struct Member {
    signals: UnboundedReceiver<Signal>,
    consumer: Arc<dyn Consumer>,
    held: BTreeMap<i32, Assignment>,
    next: BTreeMap<i32, i64>,
    records: Vec<ConsumedRecord>,
    store: bool,
}

impl Member {
    fn join(log: &KafkaLog, group: &str, topic: &str) -> Self {
        let subscription = Subscription {
            group: group.into(),
            topics: vec![topic.into()],
        };
        let Subscribed { signals, consumer } = log.subscribe(subscription).unwrap();
        let (held, next) = (BTreeMap::new(), BTreeMap::new());
        Self {
            signals,
            consumer,
            held,
            next,
            records: Vec::new(),
            store: true,
        }
    }

    /// One signal; false where there is none within `wait`.
    async fn step(&mut self, wait: Duration) -> bool {
        let Ok(Some(signal)) = timeout(wait, self.signals.recv()).await else {
            return false;
        };
        match signal {
            Signal::Assigned(assignments) => {
                for assignment in assignments {
                    let before = self.held.insert(assignment.partition, assignment);
                    assert_eq!(before, None, "assigned twice");
                }
            }
            Signal::Revoked(assignments) => {
                for assignment in assignments {
                    let before = self.held.remove(&assignment.partition);
                    assert_eq!(before.as_ref(), Some(&assignment), "not ours");
                    self.next.remove(&assignment.partition);
                }
            }
            Signal::Records(records) => {
                assert!(!records.is_empty());
                for record in records {
                    let (partition, offset) = (record.position.partition, record.position.offset);
                    let assignment = self.held.get(&partition).expect("a record without an assignment");
                    assert_eq!(assignment.generation, record.generation);
                    let expected = self.next.insert(partition, offset + 1).unwrap_or(offset);
                    assert_eq!(offset, expected, "a record is missing in {partition}");
                    if self.store {
                        self.consumer.store(assignment, offset + 1);
                    }
                    self.records.push(record);
                }
            }
            Signal::Failed(error) => panic!("{error}"),
        }
        true
    }

    async fn until(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !enough(self) {
            self.step(Duration::from_millis(50)).await;
            assert!(
                begin.elapsed() < PATIENCE,
                "{what} takes too long: {} records",
                self.records.len()
            );
        }
    }

    fn values(&self) -> BTreeSet<u64> {
        self.records
            .iter()
            .map(|record| text(&record.value).parse().unwrap())
            .collect()
    }

    /// Closes and reads what was still on its way.
    async fn close(&mut self) {
        within("closing", self.consumer.close(Duration::from_secs(5))).await;
        while self.step(Duration::from_millis(500)).await {}
        assert!(self.signals.recv().await.is_none(), "the channel did not end");
    }
}
