//! Parks records that cannot be handled, and the later ones of their key behind them; works parked
//! keys off and lets them join the live stream.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use futures_util::future::join_all;

use super::{
    KafkaConsumerActor, ParkingDesk,
    desk::Ending,
    failure::{Diagnosis, classify},
    routes::HandlerError,
    runner::{RunEnd, Runner},
};
use crate::{
    environment::Timestamp,
    event_log::{Assignment, ConsumedRecord, Offset},
    mutants::{self, Mutant},
    parking::{Change, Failure, Fate, LaneId, NewParked, ParkedId, ParkedRecord, ParkedState},
};

/// Pause before parked records are read again that could not be.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// Records are parked and durable; none where the service is ending.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Parked {
    lane: LaneId,
    assignment: Assignment,
    records: Vec<(Offset, Option<ParkedRecord>)>,
}

/// A lane was worked off as far as it went.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ran {
    lane: LaneId,
    assignment: Assignment,
    end: RunEnd,
}

/// A lane is to be worked off.
#[derive(Message)]
#[rtype(result = "()")]
struct WorkOff(LaneId);

impl KafkaConsumerActor {
    /// A record could not be handled.
    pub(super) fn fail(&mut self, record: ConsumedRecord, error: HandlerError, ctx: &mut Context<Self>) {
        if mutants::is_active(Mutant::DropPoison) {
            return self.done(&record.assignment(), record.position.offset);
        }
        match classify(error, 1, self.desk.patience, &self.environment) {
            Diagnosis::Failed(failure) => {
                log::error!(target: "KafkaConsumerActor", topic = &*record.position.topic,
                    partition = record.position.partition, offset = record.position.offset,
                    reason = failure.reason.as_str(); "not handled, parked: {}", failure.error);
                self.park(record, Some(failure), ctx);
            }
            Diagnosis::Behind => self.park_behind(record, ctx),
            // Neither done nor parked: its offset is not stored.
            Diagnosis::Abandoned => self.leave(1),
        }
    }

    /// A record has to wait behind earlier ones of its key.
    pub(super) fn park_behind(&mut self, record: ConsumedRecord, ctx: &mut Context<Self>) {
        self.park(record, None, ctx);
    }

    fn park(&mut self, record: ConsumedRecord, failure: Option<Failure>, ctx: &mut Context<Self>) {
        let assignment = record.assignment();
        if !self.partitions.is_ours(&assignment) {
            // Whose it is now handles it, or parks it.
            return self.leave(1);
        }
        let lane = LaneId::of(&record);
        self.metrics
            .parked(failure.as_ref().map_or("behind", |failure| &failure.reason));
        let (parked, is_new) = self.parked.enter(lane, &assignment);
        parked.news = true;
        // Behind a failure that nobody here knows of: the head is looked at once all is durable.
        parked.wanted |= is_new && failure.is_none();
        let offset = record.position.offset;
        parked.queue.insert(offset, NewParked { record, failure });
        self.park_next(lane, ctx);
    }

    /// Parks what is next in the queue of a lane, once all that was handed over before is back.
    ///
    /// One step after the other, so a record is never durable here before an earlier one of its key:
    /// after a crash, what is found in the store has nothing missing in front of it.
    fn park_next(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        let quiet = self.lanes.is_quiet(lane);
        let Some(parked) = self.parked.get(lane) else {
            return;
        };
        if parked.parking || parked.queue.is_empty() || !quiet {
            return;
        }
        parked.parking = true;
        let (next, assignment) = (parked.next(), parked.assignment.clone());
        let (desk, this) = (self.desk.clone(), ctx.address());
        actix::spawn(async move {
            let parks = next.into_iter().map(|new| {
                let offset = new.record.position.offset;
                let parked = park(&desk, new);
                async move { (offset, parked.await.ok()) }
            });
            let records = join_all(parks).await;
            this.do_send(Parked {
                lane,
                assignment,
                records,
            });
        });
    }

    /// What waits for its turn in a lane that is parked is parked as well.
    fn park_waiting(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        for record in self.lanes.take_waiting(lane) {
            self.sort_in(record, ctx);
        }
    }

    /// This lane has open records in the store; `due` tells when its head is.
    pub(super) fn is_parked(
        &mut self,
        lane: LaneId,
        assignment: &Assignment,
        due: Option<Timestamp>,
        ctx: &mut Context<Self>,
    ) {
        self.parked.enter(lane, assignment);
        self.work_off_at(lane, due, ctx);
        self.proceed(lane, ctx);
    }

    fn work_off_at(&mut self, lane: LaneId, due: Option<Timestamp>, ctx: &mut Context<Self>) {
        if let Some(due) = due {
            ctx.notify_later(WorkOff(lane), due.since(self.environment.now()));
        }
    }

    /// Works a lane off if that is wanted and nothing of it is under way.
    pub(super) fn work_off(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        let quiet = self.lanes.is_quiet(lane) && self.draining.is_none();
        let Some(parked) = self.parked.get(lane) else {
            return;
        };
        if !parked.wanted || parked.running || parked.parking || !parked.queue.is_empty() || !quiet {
            return;
        }
        parked.wanted = false;
        parked.running = true;
        parked.news = false;
        let assignment = parked.assignment.clone();
        let runner = Runner {
            lane,
            routes: self.routes.clone(),
            desk: self.desk.clone(),
            stop: parked.stop.clone(),
        };
        let this = ctx.address();
        actix::spawn(async move {
            let end = runner.run().await;
            this.do_send(Ran {
                lane,
                assignment,
                end,
            });
        });
    }

    /// Does with a lane what can be done now.
    pub(super) fn proceed(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        self.advance(lane, ctx);
        let quiet = self.lanes.is_quiet(lane);
        if quiet && self.parked.get(lane).is_some_and(|parked| !parked.holding) {
            self.park_waiting(lane, ctx);
        }
        self.park_next(lane, ctx);
        self.work_off(lane, ctx);
    }
}

/// Parks a record; one that failed for good gets its dead letter first.
async fn park(desk: &ParkingDesk, new: NewParked) -> Result<ParkedRecord, Ending> {
    let position = &new.record.position;
    let id = ParkedId::of(&position.topic, position.partition, position.offset);
    let failed = new.failure.as_ref().filter(|failure| failure.fate == Fate::Final);
    if let Some(failure) = failed {
        desk.bury(&new.record, failure, 1).await?;
    }
    desk.change(id, Change::Park(Box::new(new))).await
}

impl Handler<Parked> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, message: Parked, ctx: &mut Context<Self>) {
        let Parked {
            lane,
            assignment,
            records,
        } = message;
        if let Some(parked) = self.parked.of(lane, &assignment) {
            parked.parking = false;
        }
        for (offset, record) in records {
            let Some(record) = record else {
                self.leave(1);
                continue;
            };
            if let Some(parked) = self.parked.of(lane, &assignment) {
                // It was dealt with before, and delivered again.
                parked.wanted |= !record.state.is_open();
                // A record without a key holds nothing up, so there is nothing to remember.
                if lane.is_alone() && record.state == ParkedState::Parked {
                    self.parked.remove(lane);
                }
                self.work_off_at(lane, record.next_try_at, ctx);
            }
            self.done(&assignment, offset);
        }
        self.proceed(lane, ctx);
    }
}

impl Handler<WorkOff> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, WorkOff(lane): WorkOff, ctx: &mut Context<Self>) {
        if let Some(parked) = self.parked.get(lane) {
            parked.wanted = true;
            self.work_off(lane, ctx);
        }
    }
}

impl Handler<Ran> for KafkaConsumerActor {
    type Result = ();

    fn handle(
        &mut self,
        Ran {
            lane,
            assignment,
            end,
        }: Ran,
        ctx: &mut Context<Self>,
    ) {
        let Some(parked) = self.parked.of(lane, &assignment) else {
            return;
        };
        parked.running = false;
        match end {
            RunEnd::Empty if parked.news => {
                // More came meanwhile. Now what comes waits in memory, so the next run is the last.
                parked.holding = true;
                parked.wanted = true;
            }
            // The key's records are handled as they come again.
            RunEnd::Empty => self.parked.remove(lane),
            RunEnd::Blocked(None) if lane.is_alone() => self.parked.remove(lane),
            RunEnd::Blocked(next) => {
                parked.holding = false;
                self.work_off_at(lane, next, ctx);
            }
            RunEnd::Unread => {
                let again = self.environment.now().after(READ_AGAIN);
                self.work_off_at(lane, Some(again), ctx);
            }
            RunEnd::Stopped => {}
        }
        self.proceed(lane, ctx);
    }
}
