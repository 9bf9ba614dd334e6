//! Carries out what the lanes ask for: parks records that cannot be handled and later ones of their
//! subject, and works parked lanes off.

use actix::{AsyncContext, Context, Handler, Message};

use super::{
    KafkaConsumerActor, ParkingDesk, Routes,
    desk::Ending,
    failure::{Diagnosis, classify},
    lanes::{InOrder, Parked, RunEnd, Why},
    read::{Item, traces},
    routes::{HandlerError, Traces},
    runner::Runner,
};
use crate::{
    actors::repository::Changed,
    event_log::Assignment,
    logging::Step,
    parking::{Change, ContentId, Failure, LaneId, NewParked, ParkedId, ParkedRecord, ParkedState},
};

/// A record is parked and durable, or the service is ending.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RecordParked {
    lane: LaneId,
    assignment: Assignment,
    offset: i64,
    bytes: usize,
    outcome: Result<Parked, Ending>,
}

/// A lane was worked off as far as it went.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ran {
    lane: LaneId,
    assignment: Assignment,
    end: RunEnd,
    closed: Vec<(ParkedId, ContentId)>,
}

/// Parked records may be due.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

impl KafkaConsumerActor {
    /// What a failure means for a record; none where it will be delivered again.
    pub(super) fn diagnose(&self, error: HandlerError) -> Option<Failure> {
        match classify(error, 1, &self.desk.patience()) {
            Diagnosis::Failed(failure) => Some(failure),
            Diagnosis::Abandoned => None,
        }
    }

    /// Writes a record to the store.
    pub(super) fn park(&mut self, item: Item, why: Why, ctx: &mut Context<Self>) {
        let (lane, assignment) = (item.lane(), item.assignment());
        let (offset, bytes) = (item.record.position.offset, item.record.bytes());
        if !self.partitions.is_ours(&assignment) {
            // The new owner of the partition handles it, or parks it.
            return self.leave(1, bytes);
        }
        let (desk, routes, this) = (self.desk.clone(), self.routes.clone(), ctx.address());
        actix::spawn(async move {
            let outcome = park(&desk, &routes, item, why).await;
            this.do_send(RecordParked {
                lane,
                assignment,
                offset,
                bytes,
                outcome,
            });
        });
    }

    /// Works a lane off.
    pub(super) fn run(&self, runner: Runner, assignment: Assignment, ctx: &mut Context<Self>) {
        let (lane, this) = (runner.lane, ctx.address());
        actix::spawn(async move {
            let (end, closed) = runner.run().await;
            this.do_send(Ran {
                lane,
                assignment,
                end,
                closed,
            });
        });
    }

    /// Sets the alarm for the next record that is due.
    pub(super) fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        // While the service ends nothing is run any more: an alarm for what is overdue would ring at once,
        // again and again.
        let Some(next) = self.lanes.next_due().filter(|_| self.draining.is_none()) else {
            return;
        };
        if self.alarm.as_ref().is_some_and(|(at, _)| *at <= next) {
            return;
        }
        let pause = next.since(self.environment.now());
        let handle = ctx.notify_later(Wake, pause);
        if let Some((_, earlier)) = self.alarm.replace((next, handle)) {
            ctx.cancel_future(earlier);
        }
    }
}

/// Parks a record. The same event again adds nothing to a lane in which it is parked already.
async fn park(desk: &ParkingDesk, routes: &Routes, item: Item, why: Why) -> Result<Parked, Ending> {
    let lane = item.lane();
    let Item { record, .. } = item;
    if matches!(why, Why::Behind(_)) && desk.holds(lane, &record).await? {
        desk.metrics.parked("repeated");
        return Ok(Parked::Repeated);
    }
    let id = ParkedId::of(
        &record.position.topic,
        record.position.partition,
        record.position.offset,
    );
    let traces = traces(routes, &record);
    let failure = match &why {
        Why::Failed(failure) => Some(failure.clone()),
        Why::Behind(_) => None,
    };
    let new = NewParked {
        record,
        lane,
        failure,
    };
    let Some(Changed { record, changed }) = desk.change(id, Change::Park(Box::new(new))).await? else {
        return Ok(Parked::Closed);
    };
    // Delivered again, it was told before.
    if changed {
        let reason = match &why {
            Why::Failed(failure) => &*failure.reason,
            Why::Behind(_) => "behind",
        };
        desk.metrics.parked(reason);
        tell(&record, &traces, Some(&why));
    }
    Ok(match record.state.is_open() {
        true => Parked::Open {
            due: record.next_try_at,
            known: !changed,
        },
        false => Parked::Closed,
    })
}

/// Writes the line about a record that is not handled: where it stood and what it is about, wherever
/// that can be read. What may heal by itself is no error.
pub(super) fn tell(record: &ParkedRecord, traces: &Traces, why: Option<&Why>) {
    let key = record.key.as_ref().map(|key| String::from_utf8_lossy(&key.bytes));
    let step = Step::about("parked", &record.id)
        .with("topic", &record.topic)
        .with("partition", &record.partition)
        .with("offset", &record.offset)
        .with_some("key", &key)
        .with_some("event", &traces.event)
        .with_some("event_id", &traces.event_id)
        .ids(&traces.about)
        .with_some("correlation_id", &traces.correlation_id)
        .with_some("reason", &record.reason)
        .with("attempt", &record.attempts);
    let error = record.error.as_deref().unwrap_or("no error");
    const ACTOR: &str = "KafkaConsumerActor";
    match (record.state, why) {
        (ParkedState::Waiting, Some(Why::Behind(head))) => step.with("behind", head).log(
            log::Level::Info,
            ACTOR,
            format_args!("parked behind an earlier record of its subject"),
        ),
        (ParkedState::Parked, _) => step.log(
            log::Level::Error,
            ACTOR,
            format_args!("parked until an operator decides: {error}"),
        ),
        (ParkedState::Retrying, _) if record.attempts > 1 => {
            step.log(
                log::Level::Warn,
                ACTOR,
                format_args!("failed again, will be tried again: {error}"),
            );
        }
        (ParkedState::Retrying, _) => {
            step.log(
                log::Level::Info,
                ACTOR,
                format_args!("not handled yet, will be tried again: {error}"),
            );
        }
        (state, _) => step.log(
            log::Level::Info,
            ACTOR,
            format_args!("parked record: {}", state.as_str()),
        ),
    }
}

impl Handler<RecordParked> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, message: RecordParked, ctx: &mut Context<Self>) {
        let RecordParked {
            lane,
            assignment,
            offset,
            bytes,
            outcome,
        } = message;
        match outcome {
            Ok(parked) => {
                self.lanes.parked(lane, &assignment, parked);
                self.done(&assignment, offset, bytes);
            }
            // Neither done nor parked: its offset is not stored.
            Err(Ending) => {
                self.lanes.parked(lane, &assignment, Parked::Abandoned);
                self.leave(1, bytes);
            }
        }
        self.carry_out(ctx);
    }
}

impl Handler<Ran> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, message: Ran, ctx: &mut Context<Self>) {
        let Ran {
            lane,
            assignment,
            end,
            closed,
        } = message;
        self.lanes.remember(closed);
        self.lanes.ran(lane, &assignment, end);
        self.carry_out(ctx);
        self.look_on(ctx);
    }
}

impl Handler<Wake> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.alarm = None;
        if self.draining.is_none() {
            self.lanes.wake(self.environment.now());
        }
        self.carry_out(ctx);
    }
}
