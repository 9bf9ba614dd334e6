//! From a published record to a durable one: pending → batch → answered.

use std::{collections::BTreeMap, sync::Arc};

use redb::WriteTransaction;
use tokio::sync::oneshot;

use super::{Shared, State, codec, groups::Place, tables};
use crate::event_log::{LogError, Offset, Partition, Position, Record};

type Answer = oneshot::Sender<Result<Position, LogError>>;
type Answered = oneshot::Receiver<Result<Position, LogError>>;

/// A record that waits for a transaction.
#[derive(Debug)]
pub(super) struct Pending {
    topic: Arc<str>,
    topic_id: u32,
    partition: Partition,
    key: Option<Vec<u8>>,
    size: usize,
    encoded: Vec<u8>,
    answer: Answer,
}

impl Pending {
    pub(super) fn new(record: Record) -> Result<(Self, Answered), LogError> {
        let size = codec::size(&record);
        if u32::try_from(size).is_err() {
            return Err(LogError::Refused(format!("a record of {size} bytes")));
        }
        let encoded = codec::encode(&record);
        let (answer, answered) = oneshot::channel();
        let Record { topic, key, .. } = record;
        let pending = Self {
            topic: Arc::from(topic),
            topic_id: 0,
            partition: 0,
            key,
            size,
            encoded,
            answer,
        };
        Ok((pending, answered))
    }

    /// Takes its place in the order; answers whether a transaction must be asked for.
    pub(super) fn enqueue(mut self, state: &mut State) -> Result<bool, LogError> {
        let Some((name, topic)) = state.topics.get_key_value(&self.topic) else {
            return Err(LogError::Refused(format!("there is no topic {}", self.topic)));
        };
        if self.size > topic.max_record_bytes {
            return Err(LogError::Refused(format!(
                "a record of {} bytes, the topic {name} takes {}",
                self.size, topic.max_record_bytes
            )));
        }
        self.topic_id = topic.id;
        self.topic = Arc::clone(name);
        self.partition = match self.key.take() {
            Some(key) => codec::partition_of(&key, topic.ends.len()),
            None => state.topics.get_mut(&self.topic).map_or(0, |topic| {
                topic.next_spread = (topic.next_spread + 1) % topic.ends.len().max(1);
                Partition::try_from(topic.next_spread).unwrap_or_default()
            }),
        };
        state.pending.push(self);
        Ok(state.pending.len() == 1)
    }
}

/// The answer as a publisher sees it.
pub(super) async fn delivery(answered: Answered) -> Result<Position, LogError> {
    answered
        .await
        .unwrap_or_else(|_| Err(LogError::Unavailable("the log is closed".to_owned())))
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<Pending>,
    appended: Vec<Offset>,
    offsets: Vec<(String, Place, u32, Offset)>,
}

impl Batch {
    /// Everything that waits.
    pub(super) fn take(state: &mut State) -> Self {
        let mut offsets = Vec::new();
        for (name, group) in &mut state.groups {
            for (place, next) in group.take_unsaved() {
                if let Some(topic) = state.topics.get(&place.0) {
                    offsets.push((name.clone(), place, topic.id, next));
                }
            }
        }
        Self {
            records: std::mem::take(&mut state.pending),
            appended: Vec::new(),
            offsets,
        }
    }

    pub(super) fn append(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if !self.records.is_empty() {
            let mut appender = tables::Appender::new(transaction)?;
            for record in &self.records {
                self.appended
                    .push(appender.append(record.topic_id, record.partition, &record.encoded)?);
            }
        }
        if !self.offsets.is_empty() {
            let offsets: Vec<_> = self
                .offsets
                .iter()
                .map(|(group, place, topic, next)| (group.clone(), *topic, place.1, *next))
                .collect();
            tables::write_offsets(transaction, &offsets)?;
        }
        Ok(())
    }

    /// Tells publishers, and consumers where there is something new.
    pub(super) fn finish(self, shared: &Shared, outcome: &Result<(), LogError>) {
        match outcome {
            Ok(()) => self.succeed(shared),
            Err(error) => self.fail(shared, error),
        }
    }

    fn succeed(self, shared: &Shared) {
        let mut ends = BTreeMap::<Place, Offset>::new();
        for (record, offset) in self.records.iter().zip(&self.appended) {
            ends.insert((Arc::clone(&record.topic), record.partition), offset + 1);
        }
        {
            let mut state = shared.lock();
            for ((name, partition), end) in ends {
                let topic = state.topics.get_mut(&name);
                let slot = topic.and_then(|topic| topic.ends.get_mut(usize::try_from(partition).ok()?));
                if let Some(slot) = slot {
                    *slot = end.max(*slot);
                }
                state
                    .groups
                    .values()
                    .for_each(|group| group.wake_owner(&(Arc::clone(&name), partition)));
                for (topic, wake) in state.tails.values() {
                    if *topic == name {
                        wake.notify_one();
                    }
                }
            }
        }
        for (
            Pending {
                topic,
                partition,
                answer,
                ..
            },
            offset,
        ) in self.records.into_iter().zip(self.appended)
        {
            // Whoever published may not care.
            drop(answer.send(Ok(Position {
                topic,
                partition,
                offset,
            })));
        }
    }

    /// What was published meanwhile fails too: it must not overtake what its publisher has to
    /// publish again.
    fn fail(self, shared: &Shared, error: &LogError) {
        let meanwhile = {
            let mut state = shared.lock();
            for (group, place, _, _) in &self.offsets {
                if let Some(group) = state.groups.get_mut(group) {
                    group.save_again(place);
                }
            }
            std::mem::take(&mut state.pending)
        };
        for record in self.records.into_iter().chain(meanwhile) {
            drop(record.answer.send(Err(error.clone())));
        }
    }
}
