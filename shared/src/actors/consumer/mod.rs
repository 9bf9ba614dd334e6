//! The actor that consumes: a list of topics and a table of handlers by event name, until it is
//! told to stop.
//!
//! Promises: an offset is stored only when everything up to it is done. Records of one key are
//! handed over in their order, each once the one before has its place in the repository's queue, so
//! one busy customer still fills whole rounds. A record that fails is parked, and the later ones of
//! its key behind it; only then it counts as done (see [`crate::parking`]). At most `MAX_IN_FLIGHT`
//! records are under way.
//!
//! Asks the handlers of its [`Routes`], the RepositoryActor for what is parked and, for dead
//! letters, the PublisherActor. Lives on the same thread as they do. When it fails for good, the
//! service ends.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture, StreamHandler};
use futures_util::stream;
use tokio::sync::oneshot;

use crate::{
    actors::{
        essential::{Check, Drain, Essential},
        repository::Turn,
    },
    environment::Environment,
    event_log::{Assignment, ConsumedRecord, Consumer, Signal, Subscribed},
    metrics::Metrics,
    mutants::{self, Mutant},
    parking::{LaneId, usable},
};

mod dead_letter;
mod desk;
mod dispatch;
mod failure;
mod lanes;
mod look;
mod parked_lanes;
mod parking;
mod partitions;
mod routes;
mod runner;
pub mod watermark;

pub use desk::ParkingDesk;
use dispatch::{Addressee, Begun, addressee, begin};
use lanes::{Lanes, lane_of};
pub use look::Look;
use parked_lanes::{ParkedLane, ParkedLanes};
use partitions::Partitions;
pub use routes::{Answer, Handle, HandlerError, Routes, outcome};

/// Records under way at which no more are taken; enough to fill several rounds.
const MAX_IN_FLIGHT: usize = 2048;
/// Records under way at which more are taken again. Well below the other: pausing throws away what
/// Kafka's client has fetched ahead.
const RESUME_AT: usize = MAX_IN_FLIGHT / 4;
/// How long leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// The actor.
pub struct KafkaConsumerActor {
    consumer: Arc<dyn Consumer>,
    /// Until it is started.
    signals: Option<tokio::sync::mpsc::UnboundedReceiver<Signal>>,
    routes: Rc<Routes>,
    desk: ParkingDesk,
    environment: Environment,
    metrics: Metrics,
    partitions: Partitions,
    /// What is handed over and what waits for its turn.
    lanes: Lanes,
    /// Keys with records that could not be handled.
    parked: ParkedLanes,
    /// When and how thoroughly parked records are looked for.
    looks: look::Looks,
    /// Records taken and not done.
    in_flight: usize,
    paused: bool,
    draining: Option<oneshot::Sender<()>>,
    _essential: Essential,
}

/// What a [`KafkaConsumerActor`] is made of.
pub struct ConsumerSettings {
    /// The membership.
    pub subscribed: Subscribed,
    /// Handlers by event name.
    pub routes: Routes,
    /// Where records are parked.
    pub desk: ParkingDesk,
    /// Clock and chance.
    pub environment: Environment,
    /// Where records are counted.
    pub metrics: Metrics,
    /// Ends the process when the actor dies.
    pub essential: Essential,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Accepted(LaneId);

/// A record that was handed over, with what its handler answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    lane: LaneId,
    /// It had a place in the repository's queue before.
    accepted: bool,
    record: ConsumedRecord,
    answer: Result<(), HandlerError>,
}

impl KafkaConsumerActor {
    /// A consumer that begins when the actor is started.
    pub fn new(settings: ConsumerSettings) -> KafkaConsumerActor {
        let ConsumerSettings {
            subscribed,
            routes,
            desk,
            environment,
            metrics,
            essential,
        } = settings;
        KafkaConsumerActor {
            consumer: subscribed.consumer,
            signals: Some(subscribed.signals),
            routes: Rc::new(routes),
            desk,
            environment,
            metrics,
            partitions: Partitions::default(),
            lanes: Lanes::default(),
            parked: ParkedLanes::default(),
            looks: look::Looks::default(),
            in_flight: 0,
            paused: false,
            draining: None,
            _essential: essential,
        }
    }
}

impl Actor for KafkaConsumerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(mut signals) = self.signals.take() {
            ctx.add_stream(stream::poll_fn(move |cx| signals.poll_recv(cx)));
        }
        self.look_regularly(ctx);
    }
}

impl StreamHandler<Signal> for KafkaConsumerActor {
    fn handle(&mut self, signal: Signal, ctx: &mut Context<Self>) {
        match signal {
            Signal::Assigned(assignments) => {
                self.partitions.assigned(&assignments);
                self.open(assignments, ctx);
            }
            Signal::Revoked(assignments) => {
                let parked = self.parked.revoked(&assignments);
                let waiting = self.lanes.forget(&assignments);
                let held = self.partitions.revoked(&assignments);
                self.leave(parked + waiting + held);
            }
            Signal::Records(records) => records.into_iter().for_each(|record| self.take(record, ctx)),
            Signal::Failed(error) => {
                log::error!(target: "KafkaConsumerActor", group = self.desk.group(); "cannot go on: {error}");
                ctx.stop();
            }
        }
    }
}

impl Handler<Accepted> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Accepted(lane): Accepted, ctx: &mut Context<Self>) {
        self.lanes.accepted(lane);
        self.advance(lane, ctx);
    }
}

impl Handler<Answered> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, answered: Answered, ctx: &mut Context<Self>) {
        let Answered {
            lane,
            accepted,
            record,
            answer,
        } = answered;
        self.lanes.done(lane, accepted);
        match answer {
            Ok(()) => self.done(&record.assignment(), record.position.offset),
            Err(error) => self.fail(record, error, ctx),
        }
        self.proceed(lane, ctx);
    }
}

impl Handler<Check> for KafkaConsumerActor {
    type Result = Result<(), String>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        self.consumer.check().map_err(|error| error.to_string())
    }
}

impl Handler<Drain> for KafkaConsumerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> Self::Result {
        let (told, drained) = oneshot::channel();
        self.draining = Some(told);
        self.consumer.pause();
        self.parked.stop_all();
        // What waits behind a key is not begun any more; it will be delivered to somebody else.
        let forgotten = self.lanes.forget_all() + self.partitions.forget_held();
        self.leave(forgotten);
        let consumer = self.consumer.clone();
        Box::pin(async move {
            let _ = drained.await;
            consumer.close(CLOSE_WITHIN).await;
        })
    }
}

impl KafkaConsumerActor {
    /// Begins a record.
    fn take(&mut self, record: ConsumedRecord, ctx: &mut Context<Self>) {
        if self.draining.is_some() || !self.partitions.begin(&record) {
            return;
        }
        if mutants::is_active(Mutant::StoreOffsetEarly) {
            self.consumer
                .store(&record.assignment(), record.position.offset + 1);
        }
        self.in_flight += 1;
        self.metrics.in_flight(self.in_flight);
        if self.in_flight >= MAX_IN_FLIGHT && !self.paused {
            self.paused = true;
            self.consumer.pause();
        }
        if let Some(record) = self.partitions.hold(record) {
            self.sort_in(record, ctx);
        }
    }

    /// Puts a record where it belongs: behind those of its key that are parked, or those under way.
    fn sort_in(&mut self, record: ConsumedRecord, ctx: &mut Context<Self>) {
        let lane = lane_of(&record);
        let quiet = self.lanes.is_quiet(lane);
        match self.is_held_up(lane) {
            // What nobody handles has no effect that could come too early.
            Some(parked) if quiet && !parked.holding => match addressee(&self.routes, &record) {
                Ok(Addressee::Nobody { known }) => self.skip(&record, known),
                Ok(Addressee::Handler(..)) | Err(_) => self.park_behind(record, ctx),
            },
            Some(_) => self.lanes.enter(lane, record),
            None => {
                self.lanes.enter(lane, record);
                self.advance(lane, ctx);
            }
        }
    }

    /// The lane, if records of it cannot be handled as they come.
    fn is_held_up(&mut self, lane: LaneId) -> Option<&mut ParkedLane> {
        self.parked
            .get(lane)
            .filter(|_| !mutants::is_active(Mutant::OvertakeParked))
    }

    /// Hands over what it is the turn of.
    fn advance(&mut self, lane: LaneId, ctx: &mut Context<Self>) {
        while self.is_held_up(lane).is_none()
            && let Some(record) = self.lanes.next(lane)
        {
            self.hand_over(lane, record, ctx);
        }
    }

    /// Sends a record to its handler.
    fn hand_over(&mut self, lane: LaneId, record: ConsumedRecord, ctx: &mut Context<Self>) {
        let (turn, when_accepted) = Turn::new(usable(record.key.as_deref()).map(|_| lane));
        let (name, answer) = match begin(&self.routes, &record, turn) {
            Ok(Begun::Answer(name, answer)) => (name, answer),
            Ok(Begun::Skipped { known }) => {
                self.lanes.done(lane, false);
                return self.skip(&record, known);
            }
            Err(error) => {
                self.lanes.done(lane, false);
                return self.fail(record, error, ctx);
            }
        };
        let (this, metrics) = (ctx.address(), self.metrics.clone());
        actix::spawn(async move {
            let accepted = async {
                // Dropped unsent where the handler failed before: the answer tells then.
                let accepted = when_accepted.await.is_ok();
                if accepted {
                    this.do_send(Accepted(lane));
                }
                accepted
            };
            // Together: to a full mailbox the event is delivered only when the answer is polled.
            let (accepted, answer) = futures_util::future::join(accepted, answer).await;
            if answer.is_ok() {
                metrics.consumed(name);
            }
            this.do_send(Answered {
                lane,
                accepted,
                record,
                answer,
            });
        });
    }

    /// A record is meant for nobody here.
    fn skip(&mut self, record: &ConsumedRecord, known: bool) {
        self.metrics.skipped(known);
        self.done(&record.assignment(), record.position.offset);
    }

    /// A record is handled, or parked: its offset may be stored once all before it are.
    fn done(&mut self, assignment: &Assignment, offset: i64) {
        if let Some(next) = self.partitions.done(assignment, offset) {
            self.consumer.store(assignment, next);
        }
        self.leave(1);
    }

    /// So many records are no longer under way here.
    fn leave(&mut self, records: usize) {
        self.in_flight -= records;
        self.metrics.in_flight(self.in_flight);
        if self.paused && self.in_flight <= RESUME_AT && self.draining.is_none() {
            self.paused = false;
            self.consumer.resume();
        }
        if self.in_flight == 0
            && let Some(told) = self.draining.take()
        {
            let _ = told.send(());
        }
    }
}
