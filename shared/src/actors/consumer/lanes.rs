//! Which record may be handed over next, and which waits for what: a value without I/O.
//!
//! Two orders are kept:
//!
//! - **Healthy records of a key** are handed over in the order of the log. A record waits until the
//!   one before it has its place in the repository's queue, so one busy key fills whole rounds.
//! - **Records of a subject** are handled one after the other: the next one is handed over when the
//!   one before is done. When one fails, it is parked, and only later ones of the same subject are
//!   parked behind it. Others of its key go on.
//!
//! A subject's records in one partition are a lane. The state of a lane is one of these:
//!
//! ```text
//!            handed over            done
//! (nothing) ─────────────► Live ─────────────► (nothing)
//!                           │ failed
//!                           ▼      all written        due
//!                        Parking ─────────────► Parked ───► Running ─► (nothing), when it is empty
//!                           ▲                    │  ▲          │
//!                           └──── a later one ◄──┘  └──────────┘ the head failed again
//! ```
//!
//! Every call may leave [`Step`]s to be carried out; [`Lanes::next_step`] gives them in their order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::closed::Closed;
use crate::{
    actors::repository::Stop,
    environment::Timestamp,
    event_log::Assignment,
    parking::{ContentId, Failure, KeyId, LaneId, ParkedId},
};

/// Lanes that are worked off at a time: a backlog fills rounds, and leaves room in them for others.
const MOST_RUNNING: usize = 128;

/// A record, as far as its order is concerned.
pub trait InOrder {
    /// Whose order it stands in when it is handed over.
    fn key(&self) -> KeyId;
    /// The records that it must not overtake when they fail.
    fn lane(&self) -> LaneId;
    /// The assignment under which it was delivered.
    fn assignment(&self) -> Assignment;
    /// The record's id in the store.
    fn parked_id(&self) -> ParkedId;
    /// The digest of what it says.
    fn content_id(&self) -> ContentId;
    /// What it weighs.
    fn bytes(&self) -> usize;
}

/// Records that are no longer kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    pub records: usize,
    pub bytes: usize,
}

impl Forgotten {
    /// Of records that weigh so much each.
    pub fn of(weights: impl Iterator<Item = usize>) -> Forgotten {
        weights.fold(Forgotten::default(), |sum, bytes| Forgotten {
            records: sum.records + 1,
            bytes: sum.bytes + bytes,
        })
    }
}

/// What is to be done now.
#[derive(Debug)]
pub enum Step<R> {
    /// Send the record to its handler. Tell [`Lanes::accepted`], then [`Lanes::done`] or
    /// [`Lanes::failed`].
    HandOver(R),
    /// Count the record as done: it was parked before, and dealt with.
    Skip(R),
    /// Write the record to the store. Tell [`Lanes::parked`].
    Park(R, Why),
    /// Work the lane off, from its head, until `stop` is set. Tell [`Lanes::ran`].
    Run {
        /// Which.
        lane: LaneId,
        /// Of whose partition it is.
        assignment: Assignment,
        /// Its first open record.
        head: ParkedId,
        /// Whether it is the only one.
        single: bool,
        /// Set when the run has to end.
        stop: Stop,
    },
}

/// Why a record is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It failed.
    Failed(Failure),
    /// It stands behind this record and perhaps others of its lane.
    Behind(ParkedId),
}

/// The open records of a lane in the store, as far as the owner of the partition knows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// Of whose partition it is.
    pub assignment: Arc<Assignment>,
    /// The first of them.
    pub head: ParkedId,
    /// How many.
    pub records: u32,
}

/// What became of a record that was to be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It is open in the store, newly so or (`known`) since before.
    Open {
        /// When it is tried again by itself.
        due: Option<Timestamp>,
        /// It had been parked before.
        known: bool,
    },
    /// The same event is open in the lane already: nothing was written.
    Repeated,
    /// It was dealt with before, and delivered again.
    Closed,
    /// The service is ending.
    Abandoned,
}

/// How far a run came.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd {
    /// Nothing is left in the lane.
    Empty,
    /// The head is not due before this moment; without one, an operator has to decide.
    Blocked {
        head: ParkedId,
        /// Open records, the head included.
        records: u32,
        due: Option<Timestamp>,
    },
    /// It was told to stop, or the service is ending.
    Stopped,
}

/// All lanes of the partitions in hand.
#[derive(Debug)]
pub struct Lanes<R> {
    keys: BTreeMap<KeyId, Key<R>>,
    lanes: BTreeMap<LaneId, Lane<R>>,
    /// Heads that are tried again by themselves.
    due: BTreeSet<(Timestamp, LaneId)>,
    /// To be run, as soon as fewer than [`MOST_RUNNING`] are.
    ready: VecDeque<LaneId>,
    running: usize,
    closed: Closed,
    steps: VecDeque<Step<R>>,
}

/// The order of the records of a key.
#[derive(Debug)]
struct Key<R> {
    /// The record handed over last has no place in the repository's queue yet.
    turn_is_taken: bool,
    waiting: VecDeque<R>,
}

/// The state of a lane. There may be very many parked ones, so the larger states are boxed.
#[derive(Debug)]
enum Lane<R> {
    /// A record is with its handler.
    Live(Box<Live>),
    /// A record is being written to the store.
    Parking(Box<Held<R>>),
    /// All is in the store; nothing is under way.
    Parked(Open),
    /// The lane is being worked off.
    Running(Box<Held<R>>),
}

#[derive(Debug)]
struct Live {
    assignment: Assignment,
    /// Keys whose next record waits until this one is done.
    keys: Vec<KeyId>,
}

#[derive(Debug)]
struct Held<R> {
    open: Open,
    /// Later records, in memory.
    behind: VecDeque<R>,
    /// When the head is due, once all is in the store.
    due: Option<Timestamp>,
    /// Wanted again meanwhile.
    wanted: bool,
    stop: Stop,
}

impl<R> Default for Lanes<R> {
    fn default() -> Lanes<R> {
        Lanes {
            keys: BTreeMap::new(),
            lanes: BTreeMap::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
            running: 0,
            closed: Closed::default(),
            steps: VecDeque::new(),
        }
    }
}

impl<R> Held<R> {
    fn new(open: Open) -> Box<Held<R>> {
        Box::new(Held {
            open,
            behind: VecDeque::new(),
            due: None,
            wanted: false,
            stop: Stop::default(),
        })
    }
}

impl<R> Lane<R> {
    fn is_of(&self, assignment: &Assignment) -> bool {
        match self {
            Lane::Live(live) => live.assignment == *assignment,
            Lane::Parked(open) => *open.assignment == *assignment,
            Lane::Parking(held) | Lane::Running(held) => *held.open.assignment == *assignment,
        }
    }
}

impl<R: InOrder> Lanes<R> {
    /// What is to be done next, if anything.
    pub fn next_step(&mut self) -> Option<Step<R>> {
        self.steps.pop_front()
    }

    /// Remembers that these records were parked and are dealt with.
    pub fn remember(&mut self, closed: Vec<(ParkedId, ContentId)>) {
        self.closed.remember(closed);
    }

    /// A record has come, in the order of its partition.
    pub fn arrived(&mut self, record: R) {
        let lane = record.lane();
        match self.lanes.get(&lane) {
            Some(Lane::Parking(_) | Lane::Parked(_) | Lane::Running(_)) => self.park_behind(record),
            _ => {
                let key = record.key();
                self.key(key).waiting.push_back(record);
                self.advance(key);
            }
        }
    }

    /// The record of this key that was handed over last has its place: the next one has its turn.
    pub fn accepted(&mut self, key: KeyId) {
        if let Some(found) = self.keys.get_mut(&key) {
            found.turn_is_taken = false;
        }
        self.advance(key);
    }

    /// A record that was handed over is done. `accepted`: it had its place in the queue before.
    /// Without, it gives its turn away now.
    pub fn done(&mut self, lane: LaneId, key: KeyId, assignment: &Assignment, accepted: bool) {
        let keys = self.keys_behind(lane, assignment);
        if keys.is_some() {
            self.lanes.remove(&lane);
        }
        self.give_turns(key, accepted, keys);
    }

    /// A record that was handed over has failed: it and later ones of its lane are parked.
    pub fn failed(&mut self, record: R, failure: Failure, accepted: bool) {
        let (key, keys) = (
            record.key(),
            self.keys_behind(record.lane(), &record.assignment()),
        );
        self.park_first(record, failure);
        self.give_turns(key, accepted, keys);
    }

    /// The keys that wait for the record under way in this lane, if it is of this assignment.
    fn keys_behind(&mut self, lane: LaneId, assignment: &Assignment) -> Option<Vec<KeyId>> {
        match self.lanes.get_mut(&lane) {
            Some(Lane::Live(live)) if live.assignment == *assignment => Some(std::mem::take(&mut live.keys)),
            _ => None,
        }
    }

    fn give_turns(&mut self, key: KeyId, accepted: bool, others: Option<Vec<KeyId>>) {
        if !accepted && let Some(found) = self.keys.get_mut(&key) {
            found.turn_is_taken = false;
        }
        self.advance(key);
        others.into_iter().flatten().for_each(|key| self.advance(key));
    }

    /// A record has come that cannot be read.
    pub fn unreadable(&mut self, record: R, failure: Failure) {
        match self.closed.holds(&record) {
            true => self.steps.push_back(Step::Skip(record)),
            false => self.park_first(record, failure),
        }
    }

    /// A record that cannot be handed over is parked.
    fn park_first(&mut self, record: R, failure: Failure) {
        let open = Open {
            assignment: Arc::new(record.assignment()),
            head: record.parked_id(),
            records: 0,
        };
        self.lanes.insert(record.lane(), Lane::Parking(Held::new(open)));
        self.steps.push_back(Step::Park(record, Why::Failed(failure)));
    }

    /// A record of a lane that is held up waits behind the others.
    fn park_behind(&mut self, record: R) {
        if self.closed.holds(&record) {
            return self.steps.push_back(Step::Skip(record));
        }
        let Some(lane) = self.lanes.get_mut(&record.lane()) else {
            return;
        };
        match lane {
            Lane::Parked(open) => {
                let why = Why::Behind(open.head);
                *lane = Lane::Parking(Held::new(open.clone()));
                self.steps.push_back(Step::Park(record, why));
            }
            Lane::Parking(held) | Lane::Running(held) => held.behind.push_back(record),
            Lane::Live(_) => {}
        }
    }

    /// A record was written to the store, or not.
    pub fn parked(&mut self, lane: LaneId, assignment: &Assignment, what: Parked) {
        let Some(Lane::Parking(held)) = self.lanes.get_mut(&lane) else {
            return;
        };
        if *held.open.assignment != *assignment {
            return;
        }
        match what {
            Parked::Open { due, known } => {
                // The first is the head; when the lane is due, it is. A record that was known may be one
                // more than the head, parked by an earlier owner: then the lane is no longer single.
                if held.open.records == 0 {
                    held.due = due;
                }
                if held.open.records <= 1 || !known {
                    held.open.records += 1;
                }
            }
            Parked::Repeated => {}
            Parked::Closed => {}
            // Whoever is given it again parks it; what stands behind it must not be handled before.
            Parked::Abandoned => return,
        }
        if let Some(Lane::Parking(held)) = self.lanes.remove(&lane) {
            self.go_on(lane, held);
        }
    }

    /// Parks what came meanwhile, or lets the lane rest.
    fn go_on(&mut self, lane: LaneId, mut held: Box<Held<R>>) {
        if held.open.records == 0 {
            // The records behind are handled as they come.
            return held.behind.into_iter().for_each(|record| self.arrived(record));
        }
        if let Some(next) = held.behind.pop_front() {
            let why = Why::Behind(held.open.head);
            self.lanes.insert(lane, Lane::Parking(held));
            return self.steps.push_back(Step::Park(next, why));
        }
        // Nothing can stand behind a lone record, so it is not remembered until it is due.
        if !lane.is_alone() || held.due.is_some() || held.wanted {
            self.lanes.insert(lane, Lane::Parked(held.open));
            self.due.extend(held.due.map(|due| (due, lane)));
        }
        if held.wanted {
            self.want(lane);
        }
    }

    /// Open records of a lane were found in the store. `due`: its head is to be tried then.
    pub fn found(&mut self, lane: LaneId, open: Open, due: Option<Timestamp>) {
        match self.lanes.get_mut(&lane) {
            Some(Lane::Parked(known)) if known.assignment == open.assignment => {
                known.records = known.records.max(open.records);
                known.head = known.head.min(open.head);
            }
            Some(Lane::Parking(held) | Lane::Running(held)) => {
                held.wanted |= due.is_some();
                return;
            }
            Some(Lane::Live(_)) => return,
            // Nothing can stand behind a lone record, so it is not remembered until it is due.
            None if lane.is_alone() && due.is_none() => return,
            Some(Lane::Parked(_)) | None => {
                self.lanes.insert(lane, Lane::Parked(open));
            }
        }
        self.due.extend(due.map(|due| (due, lane)));
    }

    /// No other lanes of these assignments were open in the store a moment ago. One that is parked here
    /// and is not among them was dealt with meanwhile, or parked since: a run finds out which.
    pub fn only(&mut self, is_open: impl Fn(&LaneId) -> bool, of: &[Assignment], now: Timestamp) {
        let gone = self.lanes.iter().filter(|(lane, state)| {
            matches!(state, Lane::Parked(open) if of.contains(&open.assignment)) && !is_open(lane)
        });
        let gone: Vec<_> = gone.map(|(lane, _)| (now, *lane)).collect();
        self.due.extend(gone);
    }

    /// The lane is run as soon as it may be.
    fn want(&mut self, lane: LaneId) {
        self.ready.push_back(lane);
        self.run_ready();
    }

    /// Runs what is due by now.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some((due, lane)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&(due, lane));
            match self.lanes.get_mut(&lane) {
                Some(Lane::Parked(_)) => self.ready.push_back(lane),
                Some(Lane::Parking(held)) => held.wanted = true,
                Some(Lane::Live(_) | Lane::Running(_)) | None => {}
            }
        }
        self.run_ready();
    }

    /// When the next head is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Whether more lanes are wanted than run.
    pub fn is_busy(&self) -> bool {
        self.running >= MOST_RUNNING
    }

    fn run_ready(&mut self) {
        while self.running < MOST_RUNNING
            && let Some(lane) = self.ready.pop_front()
        {
            let Some(Lane::Parked(open)) = self.lanes.get(&lane) else {
                continue;
            };
            let held: Box<Held<R>> = Held::new(open.clone());
            self.steps.push_back(Step::Run {
                lane,
                assignment: Assignment::clone(&open.assignment),
                head: open.head,
                single: open.records == 1,
                stop: held.stop.clone(),
            });
            self.running += 1;
            self.lanes.insert(lane, Lane::Running(held));
        }
    }

    /// A run has ended.
    pub fn ran(&mut self, lane: LaneId, assignment: &Assignment, end: RunEnd) {
        self.running -= 1;
        if let Some(Lane::Running(held)) = self.lanes.get_mut(&lane)
            && *held.open.assignment == *assignment
        {
            match end {
                RunEnd::Empty => held.open.records = 0,
                RunEnd::Blocked { head, records, due } => {
                    (held.open.head, held.open.records, held.due) = (head, records, due);
                }
                RunEnd::Stopped => {}
            }
            if let Some(Lane::Running(held)) = self.lanes.remove(&lane) {
                self.go_on(lane, held);
            }
        }
        self.run_ready();
    }

    /// These partitions are no longer ours. What of them waited in memory is
    /// forgotten.
    pub fn revoked(&mut self, assignments: &[Assignment]) -> Forgotten {
        let forgotten = self.forget(|record| assignments.contains(&record.assignment()));
        self.lanes.retain(|_, lane| {
            let over = assignments.iter().any(|assignment| lane.is_of(assignment));
            if over && let Lane::Running(held) = lane {
                held.stop.set();
            }
            !over
        });
        let lanes = &self.lanes;
        self.due.retain(|(_, lane)| lanes.contains_key(lane));
        // A key may have waited for a lane that is gone now.
        let keys: Vec<_> = self.keys.keys().copied().collect();
        keys.into_iter().for_each(|key| self.advance(key));
        forgotten
    }

    /// The service is ending: runs end, nothing that waits is begun.
    pub fn stop(&mut self) -> Forgotten {
        for lane in self.lanes.values() {
            if let Lane::Running(held) = lane {
                held.stop.set();
            }
        }
        self.ready.clear();
        self.due.clear();
        self.forget(|_| true)
    }

    fn forget(&mut self, which: impl Fn(&R) -> bool) -> Forgotten {
        let in_keys = self.keys.values_mut().map(|key| &mut key.waiting);
        let in_lanes = self.lanes.values_mut().filter_map(|lane| match lane {
            Lane::Parking(held) | Lane::Running(held) => Some(&mut held.behind),
            Lane::Live(_) | Lane::Parked(_) => None,
        });
        let mut weights = Vec::new();
        for records in in_keys.chain(in_lanes) {
            weights.extend(records.iter().filter(|record| which(record)).map(InOrder::bytes));
            records.retain(|record| !which(record));
        }
        self.keys
            .retain(|_, key| key.turn_is_taken || !key.waiting.is_empty());
        Forgotten::of(weights.into_iter())
    }

    fn key(&mut self, key: KeyId) -> &mut Key<R> {
        self.keys.entry(key).or_insert_with(|| Key {
            turn_is_taken: false,
            waiting: VecDeque::new(),
        })
    }

    /// Hands over the next record of a key if its turn is free and its lane, too.
    fn advance(&mut self, key: KeyId) {
        while let Some(found) = self.keys.get_mut(&key)
            && !found.turn_is_taken
        {
            let Some(next) = found.waiting.pop_front() else {
                self.keys.remove(&key);
                return;
            };
            let lane = next.lane();
            match self.lanes.get_mut(&lane) {
                Some(Lane::Live(live)) => {
                    found.waiting.push_front(next);
                    live.keys.push(key);
                    return;
                }
                Some(_) => self.park_behind(next),
                // It may have waited here while the parked one was dealt with.
                _ if self.closed.holds(&next) => self.steps.push_back(Step::Skip(next)),
                _ => {
                    found.turn_is_taken = true;
                    let live = Live {
                        assignment: next.assignment(),
                        keys: Vec::new(),
                    };
                    self.lanes.insert(lane, Lane::Live(Box::new(live)));
                    self.steps.push_back(Step::HandOver(next));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
