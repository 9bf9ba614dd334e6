//! What goes wrong in the log itself: partitions that are added or have no leader, records that it
//! refuses, records that it loses.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::TOPIC;
use shared::{
    event_log::{Offset, Partition, Record},
    events::dead_letter_topic,
};
use tokio::{sync::Notify, time::Instant};

use super::{Broker, Place, hash, index, offset};
use crate::{lock, seen::header};

/// Which records the log does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Events of this name.
    Named(&'static str),
    /// Records whose value is larger.
    LargerThan(usize),
    /// All dead letters.
    DeadLetters,
}

impl Unfit {
    fn is(self, record: &Record) -> bool {
        match self {
            Unfit::Named(name) => record.topic == TOPIC && header(record, "ce_type").as_deref() == Some(name),
            Unfit::LargerThan(bytes) => {
                record.topic == TOPIC && record.value.as_ref().is_some_and(|value| value.len() > bytes)
            }
            Unfit::DeadLetters => record.topic == dead_letter_topic(TOPIC),
        }
    }
}

/// Records that the log refuses.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// Which.
    pub what: Unfit,
    /// How long; without it, for good.
    pub until: Option<Instant>,
}

/// What is wrong with the log at this moment.
#[derive(Default)]
pub(super) struct Trouble {
    leaderless: Mutex<BTreeMap<Place, Instant>>,
    elected: Notify,
    refusals: Mutex<Vec<Refusal>>,
}

impl Broker {
    /// The topic has one partition more from now on: keys move. Groups learn of it after a while.
    pub fn add_partition(self: &Arc<Self>, topic: &str, noticed_after: Duration) -> Option<Partition> {
        let added = {
            let mut state = lock(&self.state);
            let topic = state.topics.get_mut(topic)?;
            topic.partitions.push(Vec::new());
            Partition::try_from(topic.partitions.len() - 1).ok()?
        };
        let broker = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(noticed_after).await;
            let mut state = lock(&broker.state);
            let names: Vec<_> = state.groups.keys().cloned().collect();
            names.iter().for_each(|group| broker.rebalance(&mut state, group));
        });
        Some(added)
    }

    /// A partition has no leader for so long, unless one is [elected](Broker::elect) before.
    pub fn depose(self: &Arc<Self>, place: &Place, duration: Duration) {
        let until = Instant::now() + duration;
        lock(&self.trouble.leaderless)
            .entry(place.clone())
            .and_modify(|known| *known = until.max(*known))
            .or_insert(until);
        let (broker, place) = (self.clone(), place.clone());
        tokio::spawn(async move {
            broker.is_led(&place).await;
            broker.wake(&place);
        });
    }

    /// Every partition has a leader again.
    pub fn elect(&self) {
        lock(&self.trouble.leaderless).clear();
        self.trouble.elected.notify_waiters();
    }

    /// Whether somebody can write to and read from this partition.
    pub fn has_leader(&self, place: &Place) -> bool {
        self.leaderless_until(place).is_none()
    }

    fn leaderless_until(&self, place: &Place) -> Option<Instant> {
        let until = lock(&self.trouble.leaderless).get(place).copied();
        until.filter(|until| *until > Instant::now())
    }

    /// Waits until somebody can write to and read from it.
    pub(super) async fn is_led(&self, place: &Place) {
        loop {
            let elected = self.trouble.elected.notified();
            let Some(until) = self.leaderless_until(place) else {
                return;
            };
            // Either will do.
            let _ = tokio::time::timeout_at(until, elected).await;
        }
    }

    /// Wherever records of this key may stand: their partition of now, and those before the topic grew.
    pub fn places_of(&self, topic: &str, key: &[u8], at_first: usize) -> Vec<Place> {
        let state = lock(&self.state);
        let Some((name, topic)) = state.topics.get_key_value(topic) else {
            return Vec::new();
        };
        let counts = at_first..=topic.partitions.len().max(at_first);
        counts
            .filter_map(|count| Partition::try_from(hash(key) % count.max(1)).ok())
            .map(|partition| (name.clone(), partition))
            .collect()
    }

    /// The log does not take such records.
    pub fn refuse(&self, refusal: Refusal) {
        lock(&self.trouble.refusals).push(refusal);
    }

    /// Records are refused no longer, but for those that are for good.
    pub fn accept(&self) {
        lock(&self.trouble.refusals).retain(|refusal| refusal.until.is_none());
    }

    /// Why it does not take this record, if it does not.
    pub(super) fn refuses(&self, record: &Record) -> Option<String> {
        let now = Instant::now();
        let refusals = lock(&self.trouble.refusals);
        let refusal = refusals
            .iter()
            .find(|refusal| refusal.until.is_none_or(|until| until > now) && refusal.what.is(record));
        refusal.map(|refusal| format!("{:?}", refusal.what))
    }

    /// Whether it will never take this record.
    pub fn refuses_for_good(&self, record: &Record) -> bool {
        let refusals = lock(&self.trouble.refusals);
        refusals
            .iter()
            .any(|refusal| refusal.until.is_none() && refusal.what.is(record))
    }

    /// A partition loses its last records, though it had confirmed them; where it ends now. Whoever
    /// has read further learns of it when next it looks.
    pub fn lose_tail(&self, place: &Place, records: usize) -> Option<Offset> {
        let mut state = lock(&self.state);
        let topic = state.topics.get_mut(&place.0)?;
        let partition = topic.partitions.get_mut(index(place.1))?;
        let left = partition.len() - records.min(partition.len());
        partition.truncate(left);
        Some(offset(left))
    }

    /// The partitions of a topic.
    pub fn partitions(&self, topic: &str) -> Vec<Place> {
        let state = lock(&self.state);
        let Some((name, topic)) = state.topics.get_key_value(topic) else {
            return Vec::new();
        };
        let count = topic.partitions.len();
        (0..)
            .take(count)
            .map(|partition| (name.clone(), partition))
            .collect()
    }

    /// Whoever reads this partition looks at it.
    pub fn wake(&self, place: &Place) {
        let state = lock(&self.state);
        state.groups.values().for_each(|group| group.wake_owner(place));
    }
}
