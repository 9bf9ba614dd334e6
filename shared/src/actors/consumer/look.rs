//! Looks for parked records of this consumer's partitions: at an assignment, before anything of the
//! partition is handled; then regularly, for what operators asked for by way of another instance and
//! for what an instance left behind that lost the partition.

use std::{collections::BTreeMap, time::Duration};

use actix::{AsyncContext, Context, Handler, Message};

use super::{KafkaConsumerActor, desk::ParkingDesk};
use crate::{
    environment::Timestamp,
    event_log::Assignment,
    parking::{Due, LaneId, ParkedState, due},
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Records that are read at a time.
const PAGE: usize = 500;
/// With more open records than this, only each so-manieth look reads all of them.
const FEW: usize = 500;
/// See [`FEW`].
const THOROUGH_EVERY: u64 = 15;
/// Pause before an assignment's records are read again that could not be.
const OPEN_AGAIN: Duration = Duration::from_millis(200);

/// When it looks how thoroughly.
#[derive(Debug, Default)]
pub(super) struct Looks {
    made: u64,
    /// Open records found by the last thorough look.
    open: usize,
    looking: bool,
}

/// Looks for what is due now, for example because an operator has just asked for something.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Look;

/// The lanes that were found.
type Lanes = BTreeMap<LaneId, FoundLane>;

struct FoundLane {
    topic: String,
    partition: i32,
    /// When its head is due.
    due: Option<Timestamp>,
}

/// The parked lanes of these assignments are known.
#[derive(Message)]
#[rtype(result = "()")]
struct Opened {
    assignments: Vec<Assignment>,
    lanes: Lanes,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Looked(Option<Found>);

struct Found {
    lanes: Lanes,
    /// Open records by state, where all were read.
    open: Option<BTreeMap<ParkedState, usize>>,
}

impl KafkaConsumerActor {
    pub(super) fn look_regularly(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(LOOK_EVERY, |actor, ctx| actor.look(ctx));
    }

    /// Reads which keys of new partitions are parked, however long that takes; then their records are
    /// handled.
    pub(super) fn open(&self, assignments: Vec<Assignment>, ctx: &mut Context<Self>) {
        let (desk, this) = (self.desk.clone(), ctx.address());
        actix::spawn(async move {
            let found = loop {
                match read(&desk, &assignments, &ParkedState::OPEN).await {
                    Ok(found) => break found,
                    Err(error) => {
                        log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
                        tokio::time::sleep(desk.environment.jitter(OPEN_AGAIN)).await;
                    }
                }
            };
            this.do_send(Opened {
                assignments,
                lanes: found.lanes,
            });
        });
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let assignments = self.partitions.assignments();
        if assignments.is_empty() {
            return self.count_open(&BTreeMap::new());
        }
        if self.looks.looking || self.draining.is_some() {
            return;
        }
        self.looks.looking = true;
        self.looks.made += 1;
        let thorough = self.looks.open <= FEW || self.looks.made.is_multiple_of(THOROUGH_EVERY);
        let states: &[ParkedState] = if thorough {
            &ParkedState::OPEN
        } else {
            &[ParkedState::Retrying, ParkedState::Requested]
        };
        let (desk, this) = (self.desk.clone(), ctx.address());
        actix::spawn(async move {
            let found = read(&desk, &assignments, states).await;
            if let Err(error) = &found {
                log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
            }
            let found = found.ok().map(|found| Found {
                open: found.open.filter(|_| thorough),
                ..found
            });
            this.do_send(Looked(found));
        });
    }
}

impl Handler<Look> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.look(ctx);
    }
}

impl Handler<Opened> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Opened { assignments, lanes }: Opened, ctx: &mut Context<Self>) {
        self.meet(lanes, &assignments, ctx);
        for assignment in assignments {
            for record in self.partitions.open(&assignment) {
                self.sort_in(record, ctx);
            }
        }
    }
}

impl Handler<Looked> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Looked(found): Looked, ctx: &mut Context<Self>) {
        self.looks.looking = false;
        let Some(Found { lanes, open }) = found else {
            return;
        };
        if let Some(open) = open {
            self.count_open(&open);
            // Those that are not found were dealt with by somebody else: a run will tell.
            let now = self.environment.now();
            for lane in self.parked.lanes() {
                if !lanes.contains_key(&lane)
                    && let Some(assignment) = self.parked.get(lane).map(|parked| parked.assignment.clone())
                {
                    self.is_parked(lane, &assignment, Some(now), ctx);
                }
            }
        }
        let assignments = self.partitions.assignments();
        self.meet(lanes, &assignments, ctx);
    }
}

impl KafkaConsumerActor {
    fn count_open(&mut self, open: &BTreeMap<ParkedState, usize>) {
        self.looks.open = open.values().sum();
        let number = |state| open.get(&state).copied().unwrap_or(0);
        let by_state = ParkedState::OPEN.map(|state| (state.as_str(), number(state)));
        self.metrics.parked_open(by_state);
    }

    /// These lanes are parked, as far as they are of these assignments and these are not over.
    fn meet(&mut self, lanes: Lanes, assignments: &[Assignment], ctx: &mut Context<Self>) {
        // What is due later is found by the next look.
        let soon = self.environment.now().after(LOOK_EVERY);
        for (lane, found) in lanes {
            let of = |assignment: &&Assignment| {
                *assignment.topic == *found.topic && assignment.partition == found.partition
            };
            if let Some(assignment) = assignments.iter().find(of)
                && self.partitions.is_ours(assignment)
            {
                let due = found.due.filter(|due| *due <= soon);
                self.is_parked(lane, assignment, due, ctx);
            }
        }
    }
}

async fn read(
    desk: &ParkingDesk,
    assignments: &[Assignment],
    states: &[ParkedState],
) -> Result<Found, String> {
    let partitions = assignments.iter().map(|assignment| assignment.partition);
    let matching = ParkingDesk::of_partitions(partitions, states);
    let now = desk.environment.now();
    let (mut lanes, mut open) = (Lanes::new(), BTreeMap::new());
    let mut after = None;
    loop {
        let page = desk.page(matching.clone(), after, PAGE).await?;
        for record in &page {
            *open.entry(record.state).or_default() += 1;
            let due = match due(record, now) {
                Due::Replay | Due::Discard => Some(now),
                Due::At(next) => Some(next),
                Due::Never => None,
            };
            if due.is_none() && record.lane.is_alone() {
                continue;
            }
            // In the order of the log: the first of a lane is its head.
            lanes.entry(record.lane).or_insert_with(|| FoundLane {
                topic: record.topic.clone(),
                partition: record.partition,
                due,
            });
        }
        if page.len() < PAGE {
            let open = Some(open);
            return Ok(Found { lanes, open });
        }
        after = page.last().map(|record| record.id);
    }
}
