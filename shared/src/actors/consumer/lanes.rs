//! What has to stay in order, and what waits for its turn.
//!
//! A record enters the lane of its key. As long as the one before it there is not accepted, it waits;
//! records of other keys pass by.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use crate::event_log::{Assignment, ConsumedRecord, Partition};

/// The records of a key; without keys, those of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lane {
    Key(Vec<u8>),
    Partition(Arc<str>, Partition),
}

impl Lane {
    fn of(record: &ConsumedRecord) -> Lane {
        match &record.key {
            Some(key) => Lane::Key(key.clone()),
            None => Lane::Partition(record.position.topic.clone(), record.position.partition),
        }
    }
}

/// The lanes that are taken, each with the records that wait in it.
#[derive(Debug, Default)]
pub struct Lanes(HashMap<Lane, VecDeque<ConsumedRecord>>);

impl Lanes {
    /// Takes the record's lane; where that is taken, the record waits in it.
    pub fn enter(&mut self, record: ConsumedRecord) -> Option<(Lane, ConsumedRecord)> {
        let lane = Lane::of(&record);
        match self.0.entry(lane.clone()) {
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(record);
                None
            }
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Some((lane, record))
            }
        }
    }

    /// The next record of a lane. Without one, the lane is free again.
    pub fn next(&mut self, lane: &Lane) -> Option<ConsumedRecord> {
        let next = self.0.get_mut(lane)?.pop_front();
        if next.is_none() {
            self.0.remove(lane);
        }
        next
    }

    /// Forgets what waits of these assignments; how much it was.
    pub fn forget(&mut self, revoked: &[Assignment]) -> usize {
        let of = |record: &ConsumedRecord, one: &Assignment| {
            one.partition == record.position.partition
                && one.generation == record.generation
                && one.topic == record.position.topic
        };
        self.forget_where(|record| revoked.iter().any(|one| of(record, one)))
    }

    /// Forgets all that waits; how much it was.
    pub fn forget_all(&mut self) -> usize {
        self.forget_where(|_| true)
    }

    fn forget_where(&mut self, which: impl Fn(&ConsumedRecord) -> bool) -> usize {
        let mut forgotten = 0;
        for waiting in self.0.values_mut() {
            let before = waiting.len();
            waiting.retain(|record| !which(record));
            forgotten += before - waiting.len();
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Position;

    fn record(key: Option<&str>, offset: i64) -> ConsumedRecord {
        ConsumedRecord {
            position: Position {
                topic: "t".into(),
                partition: 0,
                offset,
            },
            generation: 1,
            key: key.map(|key| key.as_bytes().to_vec()),
            value: None,
            headers: vec![],
        }
    }

    fn offset(entered: Option<(Lane, ConsumedRecord)>) -> Option<i64> {
        entered.map(|(_, record)| record.position.offset)
    }

    #[test]
    fn records_of_a_key_wait_for_each_other_and_others_pass() {
        let mut lanes = Lanes::default();
        let (lane, _) = lanes.enter(record(Some("a"), 0)).unwrap();
        assert_eq!(offset(lanes.enter(record(Some("a"), 1))), None);
        assert_eq!(offset(lanes.enter(record(Some("b"), 2))), Some(2));
        assert_eq!(lanes.next(&lane).map(|record| record.position.offset), Some(1));
        assert_eq!(lanes.next(&lane), None);
        assert_eq!(offset(lanes.enter(record(Some("a"), 3))), Some(3));
    }

    #[test]
    fn records_without_a_key_keep_the_order_of_their_partition() {
        let mut lanes = Lanes::default();
        assert_eq!(offset(lanes.enter(record(None, 0))), Some(0));
        assert_eq!(offset(lanes.enter(record(None, 1))), None);
    }

    #[test]
    fn what_is_revoked_does_not_wait_any_more() {
        let mut lanes = Lanes::default();
        let (lane, _) = lanes.enter(record(Some("a"), 0)).unwrap();
        lanes.enter(record(Some("a"), 1));
        let revoked = |generation| {
            [Assignment {
                topic: "t".into(),
                partition: 0,
                generation,
            }]
        };
        assert_eq!(lanes.forget(&revoked(2)), 0);
        assert_eq!(lanes.forget(&revoked(1)), 1);
        assert_eq!(lanes.next(&lane), None);
    }
}
