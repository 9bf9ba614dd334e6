//! A log in memory that survives the processes which use it, with consumer groups.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use shared::event_log::{ConsumedRecord, Offset, Partition, Position, Record, TopicSettings};

use crate::{
    lock,
    wire::{Outage, Wire},
};

mod consumer;
mod groups;
mod port;
mod producer;
mod trouble;

pub use consumer::{Membership, SESSION};
use groups::Group;
pub use port::LogPort;
use trouble::Trouble;
pub use trouble::{Refusal, Unfit};

/// A partition of a topic.
pub type Place = (Arc<str>, Partition);

/// Told of each record, before anybody else can read it.
pub trait Observer: Send + Sync {
    /// It stands there from now on.
    fn appended(&self, position: &Position, record: &Record);
    /// The log does not take it.
    fn refused(&self, record: &Record);
}

/// The log.
pub struct Broker {
    state: Mutex<State>,
    observer: Arc<dyn Observer>,
    wire: Arc<Wire>,
    /// When it is away.
    pub outage: Outage,
    trouble: Trouble,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<Arc<str>, Topic>,
    groups: BTreeMap<String, Group>,
    /// Numbers members and generations.
    last_number: u64,
}

struct Topic {
    partitions: Vec<Vec<Arc<Record>>>,
    /// Where the last record without a key went.
    spread: usize,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn end(&self, place: &Place) -> Offset {
        let partition = self
            .topics
            .get(&place.0)
            .and_then(|topic| topic.partitions.get(index(place.1)));
        partition.map_or(0, |records| offset(records.len()))
    }
}

fn hash(key: &[u8]) -> usize {
    key.iter().fold(7usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    })
}

fn index(number: Partition) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn offset(length: usize) -> Offset {
    Offset::try_from(length).unwrap_or(Offset::MAX)
}

impl Broker {
    /// A log without topics.
    pub fn new(observer: Arc<dyn Observer>, wire: Arc<Wire>) -> Arc<Broker> {
        Arc::new(Broker {
            state: Mutex::default(),
            observer,
            wire,
            outage: Outage::default(),
            trouble: Trouble::default(),
        })
    }

    /// Creates the topics that are missing.
    pub fn prepare(&self, topics: &[TopicSettings]) {
        let mut state = lock(&self.state);
        for wanted in topics {
            let partitions = vec![Vec::new(); index(wanted.partitions)];
            let topic = Topic {
                partitions,
                spread: 0,
            };
            state.topics.entry(wanted.name.as_str().into()).or_insert(topic);
        }
        let names: Vec<_> = state.groups.keys().cloned().collect();
        names.iter().for_each(|group| self.rebalance(&mut state, group));
    }

    /// Where a record belongs; `None` where there is no such topic.
    pub fn place(&self, record: &Record) -> Option<Place> {
        let mut state = lock(&self.state);
        let (name, topic) = state
            .topics
            .get_key_value(record.topic.as_str())
            .map(|(name, topic)| (name.clone(), topic))?;
        let count = topic.partitions.len();
        let at = match &record.key {
            Some(key) => hash(key),
            None => {
                let topic = state.topics.get_mut(&name)?;
                topic.spread += 1;
                topic.spread
            }
        };
        Some((name, Partition::try_from(at % count.max(1)).ok()?))
    }

    /// Appends a record where it belongs, at once and for good.
    pub fn append(&self, place: &Place, record: Record) -> Position {
        let mut state = lock(&self.state);
        let position = Position {
            topic: place.0.clone(),
            partition: place.1,
            offset: state.end(place),
        };
        self.observer.appended(&position, &record);
        let partition = state
            .topics
            .get_mut(&place.0)
            .and_then(|topic| topic.partitions.get_mut(index(place.1)));
        partition
            .into_iter()
            .for_each(|records| records.push(Arc::new(record.clone())));
        state.groups.values().for_each(|group| group.wake_owner(place));
        position
    }

    /// All records of a topic.
    pub fn records(&self, topic: &str) -> Vec<(Position, Arc<Record>)> {
        let state = lock(&self.state);
        let Some((name, topic)) = state.topics.get_key_value(topic) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (partition, records) in (0..).zip(&topic.partitions) {
            for (offset, record) in (0..).zip(records) {
                let position = Position {
                    topic: name.clone(),
                    partition,
                    offset,
                };
                all.push((position, record.clone()));
            }
        }
        all
    }

    /// Records of the topic that the group has not committed yet.
    pub fn lag(&self, group: &str, topic: &str) -> Offset {
        let state = lock(&self.state);
        let Some((name, partitions)) = state
            .topics
            .get_key_value(topic)
            .map(|(name, topic)| (name, topic.partitions.len()))
        else {
            return 0;
        };
        let committed = |place: &Place| state.groups.get(group).map_or(0, |group| group.committed(place));
        (0..)
            .take(partitions)
            .map(|partition| {
                let place = (name.clone(), partition);
                // A group may have committed records that the log has lost since.
                (state.end(&place) - committed(&place)).max(0)
            })
            .sum()
    }
}

fn consumed(position: Position, generation: u64, record: &Record) -> ConsumedRecord {
    ConsumedRecord {
        position,
        generation,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}
