//! Looks for parked records of this consumer's partitions: at an assignment, before anything of the
//! partition is handled; then regularly for what operators asked for by way of another instance.
//!
//! A look reads ids and states, never whole records, and no more than a page at a time: a large
//! backlog is worked off page by page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{AsyncContext, Context, Handler, Message};

use super::{KafkaConsumerActor, desk::ParkingDesk, lanes::Open};
use crate::{
    actors::repository::OpenRecord,
    environment::Timestamp,
    event_log::Assignment,
    parking::{ContentId, LONGEST_PAUSE, LaneId, ParkedId, ParkedState},
};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Records that a look takes on: twice as many lanes as run at a time.
const PAGE: usize = 256;
/// Records that are read at a time when a partition is taken over.
const TAKE_OVER: usize = 5_000;
/// So many open records are read with each look. With more of them a look reads what was asked for, and
/// they are counted with each [`COUNT_EVERY`]th.
const FEW: usize = 1_000;
/// See [`FEW`].
const COUNT_EVERY: u64 = 15;
/// Replay jobs that another instance has left behind are looked for with each such look.
const JOBS_EVERY: u64 = 5;
/// No more are counted.
const MOST_COUNTED: usize = 1_000_000;
/// So many records that were dealt with are known when a partition is taken over.
const CLOSED: usize = 1_000;
/// Pause before an assignment's records are read again that could not be.
const OPEN_AGAIN: Duration = Duration::from_millis(200);
/// When records are looked for again that could not be read. Somebody may have mended them.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// What the regular looks know of each other.
#[derive(Debug, Default)]
pub(super) struct Looks {
    made: u64,
    /// Open records when they were counted last.
    open: usize,
    looking: bool,
    /// The last look filled its page: there is probably more.
    full: bool,
}

/// Looks for what is due now, for example because an operator has just asked for something.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Look;

/// Lanes that were found, each with when its head is due.
type Found = BTreeMap<LaneId, (Open, Option<Timestamp>)>;

/// Open records by their state.
type Counts = [(ParkedState, usize); 4];

/// All that is open in some partitions.
struct All {
    lanes: Found,
    open: Counts,
    /// Some records could not be read.
    unreadable: bool,
}

/// The parked lanes of these assignments are known.
#[derive(Message)]
#[rtype(result = "()")]
struct Opened {
    assignments: Vec<Assignment>,
    lanes: Found,
    /// Some records could not be read: they are looked for again.
    unreadable: bool,
    /// Records that were dealt with.
    closed: Vec<(ParkedId, ContentId)>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Looked {
    lanes: Found,
    full: bool,
    /// Open records by state, where they were counted.
    open: Option<Counts>,
    /// The lanes are all that there are of these assignments.
    all_of: Vec<Assignment>,
}

impl KafkaConsumerActor {
    pub(super) fn look_regularly(&self, ctx: &mut Context<Self>) {
        ctx.run_interval(LOOK_EVERY, |actor, ctx| actor.look(ctx));
    }

    /// Reads which lanes of new partitions are parked, however long that takes; then their records are
    /// handled.
    pub(super) fn open(&self, assignments: Vec<Assignment>, ctx: &mut Context<Self>) {
        let (desk, this) = (self.desk.clone(), ctx.address());
        let owned = shared(&assignments);
        actix::spawn(async move {
            let (all, closed) = loop {
                match take_over_and_closed(&desk, &owned).await {
                    Ok(found) => break found,
                    Err(error) => {
                        log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
                        tokio::time::sleep(desk.environment.jitter(OPEN_AGAIN)).await;
                    }
                }
            };
            this.do_send(Opened {
                assignments,
                lanes: all.lanes,
                unreadable: all.unreadable,
                closed,
            });
        });
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let assignments = self.partitions.assignments();
        if assignments.is_empty() {
            return self.count_open(&none());
        }
        if self.looks.looking || self.draining.is_some() {
            return;
        }
        self.looks.looking = true;
        self.looks.made += 1;
        if self.looks.made.is_multiple_of(JOBS_EVERY) {
            self.work_on_jobs(ctx);
        }
        let few = self.looks.open <= FEW;
        let counts = self.looks.made.is_multiple_of(COUNT_EVERY);
        let (desk, this) = (self.desk.clone(), ctx.address());
        let owned = shared(&assignments);
        actix::spawn(async move {
            let looked = match few {
                // An earlier owner may have parked a record after this one had read what is parked.
                true => take_over(&desk, &owned).await.map(|all| Looked {
                    lanes: all.lanes,
                    full: false,
                    open: Some(all.open),
                    all_of: if all.unreadable { Vec::new() } else { assignments },
                }),
                false => look(&desk, &owned, counts).await,
            };
            let looked = looked.unwrap_or_else(|error| {
                log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
                Looked {
                    lanes: Found::new(),
                    full: false,
                    open: None,
                    all_of: Vec::new(),
                }
            });
            this.do_send(looked);
        });
    }

    /// Goes on with a backlog as soon as there is room for more of it.
    pub(super) fn look_on(&mut self, ctx: &mut Context<Self>) {
        if self.looks.full && !self.lanes.is_busy() {
            self.look(ctx);
        }
    }

    fn count_open(&mut self, open: &Counts) {
        self.looks.open = open.iter().map(|(_, records)| records).sum();
        let by_state = open.iter().map(|(state, records)| (state.as_str(), *records));
        self.metrics.parked_open(by_state);
    }

    /// These lanes are parked, as far as they are of assignments that are not over.
    fn meet(&mut self, found: Found) {
        for (lane, (open, due)) in found {
            if self.partitions.is_ours(&open.assignment) {
                self.lanes.found(lane, open, due);
            }
        }
        if self.draining.is_none() {
            self.lanes.wake(self.environment.now());
        }
    }
}

impl Handler<Look> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.look(ctx);
        self.work_on_jobs(ctx);
    }
}

impl Handler<Opened> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, opened: Opened, ctx: &mut Context<Self>) {
        let Opened {
            assignments,
            lanes,
            unreadable,
            closed,
        } = opened;
        self.lanes.remember(closed);
        self.meet(lanes);
        for assignment in &assignments {
            for record in self.partitions.open(assignment) {
                self.sort_in(record);
            }
        }
        self.carry_out(ctx);
        if unreadable {
            ctx.run_later(READ_AGAIN, |actor, ctx| {
                let mut ours = assignments;
                ours.retain(|assignment| actor.partitions.is_ours(assignment));
                if !ours.is_empty() && actor.draining.is_none() {
                    actor.open(ours, ctx);
                }
            });
        }
    }
}

impl Handler<Looked> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, looked: Looked, ctx: &mut Context<Self>) {
        let Looked {
            lanes,
            full,
            open,
            all_of,
        } = looked;
        self.looks.looking = false;
        self.looks.full = full;
        if let Some(open) = open {
            self.count_open(&open);
        }
        let now = self.environment.now();
        self.lanes.only(|lane| lanes.contains_key(lane), &all_of, now);
        self.meet(lanes);
        self.carry_out(ctx);
    }
}

/// What operators asked for, at most a page of it.
async fn look(desk: &ParkingDesk, owned: &[Arc<Assignment>], counts: bool) -> Result<Looked, String> {
    let partitions = || owned.iter().map(|assignment| assignment.partition);
    let requested = ParkingDesk::of_partitions(partitions(), &[ParkedState::Requested]);
    let page = desk.page(requested, None, PAGE).await?;
    let mut lanes = Found::new();
    let now = desk.environment.now();
    for record in &page.records {
        add(&mut lanes, owned, record, Some(now));
    }
    let mut open = None;
    if counts {
        let mut counted = none();
        for (state, records) in &mut counted {
            let matching = ParkingDesk::of_partitions(partitions(), &[*state]);
            *records = desk.count(matching, MOST_COUNTED).await.unwrap_or_default();
        }
        open = Some(counted);
    }
    Ok(Looked {
        lanes,
        full: page.next.is_some(),
        open,
        all_of: Vec::new(),
    })
}

fn none() -> Counts {
    ParkedState::OPEN.map(|state| (state, 0))
}

/// All that is open in these partitions.
async fn take_over(desk: &ParkingDesk, owned: &[Arc<Assignment>]) -> Result<All, String> {
    let partitions = owned.iter().map(|assignment| assignment.partition);
    let matching = ParkingDesk::of_partitions(partitions, &ParkedState::OPEN);
    let now = desk.environment.now();
    let mut all = All {
        lanes: Found::new(),
        open: none(),
        unreadable: false,
    };
    let mut after = None;
    loop {
        let page = desk.page(matching.clone(), after, TAKE_OVER).await?;
        all.unreadable |= page.unreadable > 0;
        for record in &page.records {
            let due = match record.state {
                // Asked for, or left behind by a run that ended with its process.
                ParkedState::Requested | ParkedState::Waiting => Some(now),
                ParkedState::Retrying => {
                    let next = record.next_try_at.unwrap_or(now);
                    // No pause is that long: the clock was another, or was set back.
                    Some(next)
                        .filter(|next| next.since(now) <= LONGEST_PAUSE * 2)
                        .or(Some(now))
                }
                ParkedState::Parked | ParkedState::Done | ParkedState::Discarded => None,
            };
            let count = all.open.iter_mut().find(|(state, _)| *state == record.state);
            if let Some((_, records)) = count {
                *records += 1;
            }
            add(&mut all.lanes, owned, record, due);
        }
        if page.next.is_none() {
            return Ok(all);
        }
        after = page.next;
    }
}

/// The same, and the last records of these partitions that were dealt with. Those are read afterwards:
/// what was open before is found in one of them.
async fn take_over_and_closed(
    desk: &ParkingDesk,
    owned: &[Arc<Assignment>],
) -> Result<(All, Vec<(ParkedId, ContentId)>), String> {
    let all = take_over(desk, owned).await?;
    let partitions = owned.iter().map(|assignment| assignment.partition);
    Ok((all, desk.closed(partitions, CLOSED).await?))
}

/// Each lane that is found points to its assignment.
fn shared(assignments: &[Assignment]) -> Vec<Arc<Assignment>> {
    assignments.iter().cloned().map(Arc::new).collect()
}

/// In the order of the log: the first record of a lane is its head.
fn add(lanes: &mut Found, owned: &[Arc<Assignment>], record: &OpenRecord, due: Option<Timestamp>) {
    let of = |assignment: &&Arc<Assignment>| {
        *assignment.topic == *record.topic && assignment.partition == record.partition
    };
    match lanes.get_mut(&record.lane) {
        Some((open, _)) => open.records += 1,
        None => {
            if let Some(assignment) = owned.iter().find(of) {
                let open = Open {
                    assignment: assignment.clone(),
                    head: record.id,
                    records: 1,
                };
                lanes.insert(record.lane, (open, due));
            }
        }
    }
}
