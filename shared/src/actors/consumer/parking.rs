//! Parks records that cannot be handled, and the later ones of their key behind them; works parked
//! keys off and lets them join the live stream.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};

use super::{
    KafkaConsumerActor,
    failure::{Diagnosis, classify},
    routes::HandlerError,
    runner::{RunEnd, Runner},
};
use crate::{
    environment::Timestamp,
    event_log::{Assignment, ConsumedRecord},
    mutants::{self, Mutant},
    parking::{Change, Failure, Fate, LaneId, NewParked, ParkedId, ParkedRecord, ParkedState},
};

/// Pause before parked records are read again that could not be.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// A record is parked and durable; none where the service is ending.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Parked {
    lane: LaneId,
    assignment: Assignment,
    offset: i64,
    parked: Option<ParkedRecord>,
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
        let (parked, is_new) = self.parked.enter(lane, &assignment);
        parked.parking += 1;
        parked.news = true;
        // Behind a failure that nobody here knows of: the head is looked at once all is durable.
        parked.wanted |= is_new && failure.is_none();
        if is_new {
            self.park_waiting(lane, ctx);
        }
        self.metrics
            .parked(failure.as_ref().map_or("behind", |failure| &failure.reason));
        let offset = record.position.offset;
        let id = ParkedId::of(&assignment.topic, assignment.partition, offset);
        let new = NewParked { record, failure };
        let (desk, this) = (self.desk.clone(), ctx.address());
        actix::spawn(async move {
            let durable = async {
                let failed = new.failure.as_ref().filter(|failure| failure.fate == Fate::Final);
                if let Some(failure) = failed {
                    desk.bury(&new.record, failure, 1).await?;
                }
                desk.change(id, Change::Park(Box::new(new))).await
            };
            let parked = durable.await.ok();
            this.do_send(Parked {
                lane,
                assignment,
                offset,
                parked,
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
        let (_, is_new) = self.parked.enter(lane, assignment);
        if is_new {
            self.park_waiting(lane, ctx);
        }
        self.work_off_at(lane, due, ctx);
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
        if !parked.wanted || parked.running || parked.parking > 0 || !quiet {
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

    /// The key's records are handled as they come again.
    fn join(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        self.parked.remove(lane);
        self.advance(lane, ctx);
    }
}

impl Handler<Parked> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, message: Parked, ctx: &mut Context<Self>) {
        let Parked {
            lane,
            assignment,
            offset,
            parked: record,
        } = message;
        let Some(record) = record else {
            return self.leave(1);
        };
        if let Some(parked) = self.parked.of(lane, &assignment) {
            parked.parking -= 1;
            // It was dealt with before, and delivered again.
            parked.wanted |= !record.state.is_open();
            // A record without a key holds nothing up, so there is nothing to remember.
            if lane.is_alone() && record.state == ParkedState::Parked {
                self.parked.remove(lane);
            }
            self.work_off_at(lane, record.next_try_at, ctx);
        }
        self.done(&assignment, offset);
        self.work_off(lane, ctx);
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
            RunEnd::Empty => self.join(lane, ctx),
            RunEnd::Blocked(None) if lane.is_alone() => self.parked.remove(lane),
            RunEnd::Blocked(next) => {
                parked.holding = false;
                self.park_waiting(lane, ctx);
                self.work_off_at(lane, next, ctx);
            }
            RunEnd::Unread => {
                let again = self.environment.now().after(READ_AGAIN);
                self.work_off_at(lane, Some(again), ctx);
            }
            RunEnd::Stopped => {}
        }
        self.work_off(lane, ctx);
    }
}
