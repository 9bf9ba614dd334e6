//! What has to stay in order, and what waits for its turn.
//!
//! A record enters the lane of its key. As long as the one before it there has no place in the
//! repository's queue, it waits; records of other keys pass by.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    event_log::{Assignment, ConsumedRecord},
    parking::{LaneId, usable},
};

/// The lanes in which something is under way or waits.
#[derive(Debug, Default)]
pub struct Lanes(BTreeMap<LaneId, Lane>);

#[derive(Debug, Default)]
struct Lane {
    /// The record handed over last has no place in the repository's queue yet.
    turn_is_taken: bool,
    /// Handed over and not done.
    in_flight: usize,
    waiting: VecDeque<ConsumedRecord>,
}

/// The order that a record stands in: that of its key; without one, of its partition.
pub fn lane_of(record: &ConsumedRecord) -> LaneId {
    let position = &record.position;
    match usable(record.key.as_deref()) {
        Some(key) => LaneId::of_key(&position.topic, key),
        None => LaneId::of_key(
            &format!("{}/{}", position.topic, position.partition),
            b"without a key",
        ),
    }
}

impl Lanes {
    /// The record waits for its turn.
    pub fn enter(&mut self, lane: LaneId, record: ConsumedRecord) {
        self.0.entry(lane).or_default().waiting.push_back(record);
    }

    /// The next record of a lane, if it is its turn; it counts as handed over from now on.
    pub fn next(&mut self, lane: LaneId) -> Option<ConsumedRecord> {
        let found = self.0.get_mut(&lane)?;
        if found.turn_is_taken {
            return None;
        }
        let next = found.waiting.pop_front()?;
        found.turn_is_taken = true;
        found.in_flight += 1;
        Some(next)
    }

    /// The record handed over last has its place: it is the next one's turn.
    pub fn accepted(&mut self, lane: LaneId) {
        if let Some(found) = self.0.get_mut(&lane) {
            found.turn_is_taken = false;
        }
        self.forget_if_empty(lane);
    }

    /// A record that was handed over is done, or has failed; `accepted`: it had a place in the queue
    /// before. Without, it gives the turn away now.
    pub fn done(&mut self, lane: LaneId, accepted: bool) {
        if let Some(found) = self.0.get_mut(&lane) {
            found.in_flight -= 1;
            found.turn_is_taken &= accepted;
        }
        self.forget_if_empty(lane);
    }

    /// Nothing of this lane is handed over and not done.
    pub fn is_quiet(&self, lane: LaneId) -> bool {
        self.0.get(&lane).is_none_or(|found| found.in_flight == 0)
    }

    /// Those that wait in this lane, no longer.
    pub fn take_waiting(&mut self, lane: LaneId) -> VecDeque<ConsumedRecord> {
        let waiting = self
            .0
            .get_mut(&lane)
            .map(|found| std::mem::take(&mut found.waiting));
        self.forget_if_empty(lane);
        waiting.unwrap_or_default()
    }

    /// Forgets what waits of these assignments; how much it was.
    pub fn forget(&mut self, revoked: &[Assignment]) -> usize {
        self.forget_where(|record| revoked.contains(&record.assignment()))
    }

    /// Forgets all that waits; how much it was.
    pub fn forget_all(&mut self) -> usize {
        self.forget_where(|_| true)
    }

    fn forget_where(&mut self, which: impl Fn(&ConsumedRecord) -> bool) -> usize {
        let mut forgotten = 0;
        for lane in self.0.values_mut() {
            let before = lane.waiting.len();
            lane.waiting.retain(|record| !which(record));
            forgotten += before - lane.waiting.len();
        }
        forgotten
    }

    fn forget_if_empty(&mut self, lane: LaneId) {
        let is_empty =
            |found: &Lane| !found.turn_is_taken && found.in_flight == 0 && found.waiting.is_empty();
        if self.0.get(&lane).is_some_and(is_empty) {
            self.0.remove(&lane);
        }
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

    fn enter(lanes: &mut Lanes, key: Option<&str>, offset: i64) -> Option<i64> {
        let record = record(key, offset);
        let lane = lane_of(&record);
        lanes.enter(lane, record);
        next(lanes, lane)
    }

    fn next(lanes: &mut Lanes, lane: LaneId) -> Option<i64> {
        lanes.next(lane).map(|record| record.position.offset)
    }

    #[test]
    fn records_of_a_key_wait_for_each_other_and_others_pass() {
        let mut lanes = Lanes::default();
        let lane = lane_of(&record(Some("a"), 0));
        assert_eq!(enter(&mut lanes, Some("a"), 0), Some(0));
        assert_eq!(enter(&mut lanes, Some("a"), 1), None);
        assert_eq!(enter(&mut lanes, Some("b"), 2), Some(2));
        lanes.accepted(lane);
        assert_eq!(next(&mut lanes, lane), Some(1));
        assert_eq!(next(&mut lanes, lane), None);
        assert!(!lanes.is_quiet(lane));
        lanes.accepted(lane);
        lanes.done(lane, true);
        lanes.done(lane, true);
        assert!(lanes.is_quiet(lane));
        assert_eq!(enter(&mut lanes, Some("a"), 3), Some(3), "the lane is free again");
    }

    #[test]
    fn a_record_that_ends_without_a_place_in_the_queue_gives_its_turn_away() {
        let mut lanes = Lanes::default();
        let lane = lane_of(&record(Some("a"), 0));
        assert_eq!(enter(&mut lanes, Some("a"), 0), Some(0));
        assert_eq!(enter(&mut lanes, Some("a"), 1), None);
        lanes.done(lane, false);
        assert_eq!(next(&mut lanes, lane), Some(1));
    }

    #[test]
    fn records_without_a_key_keep_the_order_of_their_partition() {
        let mut lanes = Lanes::default();
        assert_eq!(enter(&mut lanes, None, 0), Some(0));
        assert_eq!(enter(&mut lanes, None, 1), None);
    }

    #[test]
    fn what_is_revoked_no_longer_waits() {
        let mut lanes = Lanes::default();
        enter(&mut lanes, Some("a"), 0);
        enter(&mut lanes, Some("a"), 1);
        enter(&mut lanes, Some("a"), 2);
        assert_eq!(lanes.forget(&[record(None, 0).assignment()]), 2);
        assert_eq!(lanes.forget_all(), 0);
    }
}
