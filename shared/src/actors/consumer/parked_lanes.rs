//! The keys that are parked, of the partitions in this consumer's hands.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use crate::{
    event_log::{Assignment, Offset},
    parking::{LaneId, NewParked},
};

/// The lanes with open parked records.
#[derive(Debug, Default)]
pub struct ParkedLanes(BTreeMap<LaneId, ParkedLane>);

/// One of them.
#[derive(Debug)]
pub struct ParkedLane {
    /// Of whose partition it is.
    pub assignment: Assignment,
    /// Records to be parked, in the order of the log.
    pub queue: BTreeMap<Offset, NewParked>,
    /// The first of them are being parked.
    pub parking: bool,
    /// Records were parked since the run that is under way began.
    pub news: bool,
    /// To be worked off as soon as nothing of it is under way.
    pub wanted: bool,
    /// It is being worked off.
    pub running: bool,
    /// Records of the key wait in memory, because the run that is under way may be the last.
    pub holding: bool,
    /// Tells the run to end.
    pub stop: Rc<Cell<bool>>,
}

impl ParkedLane {
    /// The records to be parked next: one that failed, or those that only stand behind.
    pub fn next(&mut self) -> Vec<NewParked> {
        let behind = |new: &NewParked| new.failure.is_none();
        let mut next = Vec::new();
        while let Some(first) = self.queue.first_entry()
            && (next.is_empty() || (next.iter().all(behind) && behind(first.get())))
        {
            next.push(first.remove());
        }
        next
    }
}

impl ParkedLanes {
    /// This lane is parked; whether it was not before.
    pub fn enter(&mut self, lane: LaneId, assignment: &Assignment) -> (&mut ParkedLane, bool) {
        let mut is_new = false;
        let found = self.0.entry(lane).or_insert_with(|| {
            is_new = true;
            ParkedLane {
                assignment: assignment.clone(),
                queue: BTreeMap::new(),
                parking: false,
                news: false,
                wanted: false,
                running: false,
                holding: false,
                stop: Rc::default(),
            }
        });
        (found, is_new)
    }

    /// The lane, if it is parked.
    pub fn get(&mut self, lane: LaneId) -> Option<&mut ParkedLane> {
        self.0.get_mut(&lane)
    }

    /// The lane, if it is parked and of this assignment.
    pub fn of(&mut self, lane: LaneId, assignment: &Assignment) -> Option<&mut ParkedLane> {
        self.get(lane).filter(|found| found.assignment == *assignment)
    }

    /// The lane has joined the live stream.
    pub fn remove(&mut self, lane: LaneId) {
        self.0.remove(&lane);
    }

    /// These partitions are no longer ours: their runs end. How many records were to be parked.
    pub fn revoked(&mut self, assignments: &[Assignment]) -> usize {
        let mut forgotten = 0;
        self.0.retain(|_, lane| {
            let revoked = assignments.contains(&lane.assignment);
            if revoked {
                lane.stop.set(true);
                forgotten += lane.queue.len();
            }
            !revoked
        });
        forgotten
    }

    /// Ends all runs.
    pub fn stop_all(&mut self) {
        self.0.values().for_each(|lane| lane.stop.set(true));
    }

    /// All of them.
    pub fn lanes(&self) -> Vec<LaneId> {
        self.0.keys().copied().collect()
    }
}
