//! A group member that checks what it is told.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError};

use super::{DEADLINE, eventually, number_of};
use shared::event_log::{
    Assignment, ConsumedRecord, Consumer, EventLog, Offset, Partition, Signal, Subscribed, Subscription,
};

/// A member of a group. Whatever it is told must fit: records only of partitions it holds, under
/// the generation it holds, without a gap.
pub struct Reader {
    signals: UnboundedReceiver<Signal>,
    /// The hand on the subscription.
    pub consumer: Arc<dyn Consumer>,
    /// What it holds, and the last offset it was told of each.
    pub held: BTreeMap<Partition, (Assignment, Option<Offset>)>,
    /// What it was told, in order.
    pub records: Vec<ConsumedRecord>,
    /// Whether the signals have ended.
    pub ended: bool,
    generations: BTreeMap<Partition, u64>,
}

impl Reader {
    /// Joins.
    pub fn join(log: &dyn EventLog, group: &str, topic: &str) -> Self {
        let subscription = Subscription {
            group: group.to_owned(),
            topics: vec![topic.to_owned()],
        };
        let Subscribed { signals, consumer } = log.subscribe(subscription).expect("a group can be joined");
        Self {
            signals,
            consumer,
            held: BTreeMap::new(),
            records: Vec::new(),
            ended: false,
            generations: BTreeMap::new(),
        }
    }

    /// Takes what is there.
    pub fn take(&mut self) {
        loop {
            match self.signals.try_recv() {
                Ok(signal) => self.handle(signal),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    fn handle(&mut self, signal: Signal) {
        match signal {
            Signal::Assigned(assignments) => {
                for assignment in assignments {
                    let partition = assignment.partition;
                    let before = self.generations.insert(partition, assignment.generation);
                    assert!(
                        before < Some(assignment.generation),
                        "the generation of {partition} did not grow"
                    );
                    let held = self.held.insert(partition, (assignment, None));
                    assert!(held.is_none(), "{partition} was assigned twice");
                }
            }
            Signal::Revoked(assignments) => {
                for assignment in assignments {
                    let held = self.held.remove(&assignment.partition);
                    assert_eq!(
                        held.map(|(held, _)| held),
                        Some(assignment),
                        "what was revoked was not held"
                    );
                }
            }
            Signal::Records(records) => {
                assert!(!records.is_empty(), "an empty batch");
                records.into_iter().for_each(|record| self.receive(record));
            }
            Signal::Failed(error) => panic!("the consumer failed: {error}"),
        }
    }

    fn receive(&mut self, record: ConsumedRecord) {
        let position = &record.position;
        let Some((assignment, last)) = self.held.get_mut(&position.partition) else {
            panic!("{position} of a partition that is not held");
        };
        assert_eq!(
            assignment.generation, record.generation,
            "{position} under another generation"
        );
        if let Some(last) = last {
            assert_eq!(*last + 1, position.offset, "a gap before {position}");
        }
        *last = Some(position.offset);
        self.records.push(record);
    }

    /// Stores everything it was told of what it holds.
    pub fn store_all(&self) {
        for (assignment, last) in self.held.values() {
            if let Some(last) = last {
                self.consumer.store(assignment, last + 1);
            }
        }
    }

    /// The numbers it was told, sorted.
    pub fn numbers(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.records.iter().map(number_of).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Takes signals until it is so.
    pub async fn until(&mut self, description: &str, is_so: impl Fn(&Self) -> bool) {
        drive(&mut [self], description, |readers| is_so(readers[0])).await;
    }

    /// Until it was told so many records, and they are these.
    pub async fn until_numbers(&mut self, expected: std::ops::Range<usize>) {
        let description = format!("{} records arrive", expected.len());
        self.until(&description, |reader| reader.records.len() >= expected.len())
            .await;
        assert_eq!(self.numbers(), expected.collect::<Vec<_>>());
    }

    /// Leaves the group.
    pub async fn close(self) {
        self.consumer.close(DEADLINE).await;
    }
}

/// Takes the signals of several members until it is so.
pub async fn drive(readers: &mut [&mut Reader], description: &str, is_so: impl Fn(&[&mut Reader]) -> bool) {
    eventually(DEADLINE, description, async || {
        readers.iter_mut().for_each(|reader| reader.take());
        is_so(readers)
    })
    .await;
}
