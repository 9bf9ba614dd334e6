//! The actor that consumes: a list of topics and a table of handlers by event name, until it is
//! told to stop.
//!
//! Promises:
//!
//! - An offset is stored only when everything up to it is done or parked.
//! - Healthy records of a key are handed over in their order, each once the one before has its place
//!   in the repository's queue. So one busy key still fills whole rounds.
//! - A record that fails is parked, and later records of its subject behind it; others of its key go
//!   on (see [`crate::parking`] and `lanes`).
//! - At most `MAX_IN_FLIGHT` records and `MAX_BYTES` are under way.
//!
//! Asks the handlers of its [`Routes`] and the RepositoryActor for what is parked. Lives on the same
//! thread as they do. When it fails for good, the service ends.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, SpawnHandle, StreamHandler};
use futures_util::stream;
use tokio::sync::oneshot;

use crate::{
    actors::{
        Reply,
        essential::{Check, Drain, Essential},
        repository::Turn,
    },
    environment::{Environment, Timestamp},
    event_log::{Assignment, ConsumedRecord, Consumer, Offset, Signal, Subscribed},
    metrics::Metrics,
    parking::KeyId,
};

mod closed;
mod desk;
mod failure;
mod jobs;
mod lanes;
mod look;
mod parking;
mod partitions;
mod read;
mod routes;
mod runner;
pub mod watermark;

pub use desk::ParkingDesk;
use lanes::{InOrder, Lanes, Step};
pub use look::Look;
use partitions::Partitions;
use read::{Content, Item, content};
pub use routes::{Answer, Handle, HandlerError, Routes, outcome};
use runner::Runner;

/// Records under way at which no more are taken; enough to fill several rounds.
const MAX_IN_FLIGHT: usize = 2048;
/// Records under way at which more are taken again. Well below the other: pausing throws away what
/// Kafka's client has fetched ahead.
const RESUME_AT: usize = MAX_IN_FLIGHT / 4;
/// Bytes of records under way at which no more are taken.
const MAX_BYTES: usize = 32 * 1024 * 1024;
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
    /// What is handed over, what waits for its turn, and what is parked.
    lanes: Lanes<Item>,
    looks: look::Looks,
    /// Replay jobs are being worked on.
    working_on_jobs: bool,
    /// When parked records are due next, and what wakes us then.
    alarm: Option<(Timestamp, SpawnHandle)>,
    /// Records taken and not done.
    in_flight: usize,
    /// Their bytes.
    bytes: usize,
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

/// The record of this key that was handed over last has its place in the repository's queue.
#[derive(Message)]
#[rtype(result = "()")]
struct Accepted(KeyId);

/// A record that was handed over, with what its handler answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    item: Item,
    /// It had a place in the repository's queue before.
    accepted: bool,
    answer: Result<(), HandlerError>,
}

/// Whether a record, edited by an operator, could be handed to a handler; why not.
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct Inspect(pub ConsumedRecord);

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
            looks: look::Looks::default(),
            working_on_jobs: false,
            alarm: None,
            in_flight: 0,
            bytes: 0,
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
                let waiting = self.lanes.revoked(&assignments);
                let held = self.partitions.revoked(&assignments);
                self.leave(waiting.records + held.records, waiting.bytes + held.bytes);
                self.carry_out(ctx);
            }
            Signal::Records(records) => {
                for record in records {
                    self.take(record);
                }
                self.carry_out(ctx);
            }
            Signal::Failed(error) => {
                log::error!(target: "KafkaConsumerActor", group = self.desk.group.as_str(); "cannot go on: {error}");
                ctx.stop();
            }
        }
    }
}

impl Handler<Accepted> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Accepted(key): Accepted, ctx: &mut Context<Self>) {
        self.lanes.accepted(key);
        self.carry_out(ctx);
    }
}

impl Handler<Answered> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, answered: Answered, ctx: &mut Context<Self>) {
        let Answered {
            item,
            accepted,
            answer,
        } = answered;
        match answer.map_err(|error| self.diagnose(error)) {
            // Where the partition is another's now, or ours anew, it is delivered again: nothing of before
            // may hold its lane up.
            Err(Some(failure)) if self.partitions.is_ours(&item.assignment()) => {
                self.lanes.failed(item, failure, accepted);
            }
            answer => {
                let (lane, key, assignment) = (item.lane(), item.key(), item.assignment());
                self.lanes.done(lane, key, &assignment, accepted);
                let (offset, bytes) = (item.record.position.offset, item.record.bytes());
                match answer {
                    Ok(()) => self.done(&assignment, offset, bytes),
                    // Neither done nor parked: its offset is not stored.
                    Err(_) => self.leave(1, bytes),
                }
            }
        }
        self.carry_out(ctx);
    }
}

impl Handler<Inspect> for KafkaConsumerActor {
    type Result = Result<(), String>;

    fn handle(&mut self, Inspect(record): Inspect, _: &mut Context<Self>) -> Self::Result {
        match content(&self.routes, &record) {
            Content::Event(_) => Ok(()),
            Content::Nobody(why) => Err(format!("nobody here handles it: {}", why.as_str())),
            Content::Unreadable(error, _) => Err(error.to_string()),
        }
    }
}

impl Handler<Check> for KafkaConsumerActor {
    type Result = Result<(), String>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        self.consumer.check().map_err(|error| error.to_string())
    }
}

impl Handler<Drain> for KafkaConsumerActor {
    type Result = Reply<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> Self::Result {
        let (told, drained) = oneshot::channel();
        self.draining = Some(told);
        self.consumer.pause();
        // What waits is not begun any more; it will be delivered to somebody else.
        let (waiting, held) = (self.lanes.stop(), self.partitions.forget_held());
        self.leave(waiting.records + held.records, waiting.bytes + held.bytes);
        let consumer = self.consumer.clone();
        Reply::by(async move {
            let _ = drained.await;
            consumer.close(CLOSE_WITHIN).await;
        })
    }
}

impl KafkaConsumerActor {
    /// Takes a record from the log.
    fn take(&mut self, record: ConsumedRecord) {
        if self.draining.is_some() || !self.partitions.begin(&record) {
            return;
        }
        self.in_flight += 1;
        self.bytes += record.bytes();
        self.metrics.in_flight(self.in_flight);
        if (self.in_flight >= MAX_IN_FLIGHT || self.bytes >= MAX_BYTES) && !self.paused {
            self.paused = true;
            self.consumer.pause();
        }
        if let Some(record) = self.partitions.hold(record) {
            self.sort_in(record);
        }
    }

    /// Puts a record where it belongs.
    fn sort_in(&mut self, record: ConsumedRecord) {
        match content(&self.routes, &record) {
            Content::Event(event) => self.lanes.arrived(Item::new(record, Some(event))),
            // A record without a handler has no effect that could come too early.
            Content::Nobody(why) => {
                self.metrics.skipped(why.as_str());
                self.done(&record.assignment(), record.position.offset, record.bytes());
            }
            Content::Unreadable(error, _) => {
                let bytes = record.bytes();
                match self.diagnose(error) {
                    Some(failure) => self.lanes.unreadable(Item::new(record, None), failure),
                    None => self.leave(1, bytes),
                }
            }
        }
    }

    /// Carries out what the lanes ask for.
    fn carry_out(&mut self, ctx: &mut Context<Self>) {
        while let Some(step) = self.lanes.next_step() {
            match step {
                Step::HandOver(item) => self.hand_over(item, ctx),
                Step::Skip(item) => {
                    self.done(
                        &item.assignment(),
                        item.record.position.offset,
                        item.record.bytes(),
                    );
                }
                Step::Park(item, why) => self.park(item, why, ctx),
                Step::Run {
                    lane,
                    assignment,
                    head,
                    single,
                    stop,
                } => {
                    let runner = Runner {
                        lane,
                        head,
                        single,
                        routes: self.routes.clone(),
                        desk: self.desk.clone(),
                        stop,
                        closed: Vec::new(),
                    };
                    self.run(runner, assignment, ctx);
                }
            }
        }
        self.set_alarm(ctx);
    }

    /// Sends a record to its handler.
    fn hand_over(&mut self, mut item: Item, ctx: &mut Context<Self>) {
        let Some(event) = item.event.take() else {
            return;
        };
        let (turn, when_accepted) = Turn::new();
        let (key, name, answer) = (item.key(), event.name(), event.hand_over(turn));
        let (this, metrics) = (ctx.address(), self.metrics.clone());
        actix::spawn(async move {
            let accepted = async {
                // Dropped unsent where the handler failed before: the answer tells then.
                let accepted = when_accepted.await.is_ok();
                if accepted {
                    this.do_send(Accepted(key));
                }
                accepted
            };
            // Together: to a full mailbox the event is delivered only when the answer is polled.
            let (accepted, answer) = futures_util::future::join(accepted, answer).await;
            if answer.is_ok() {
                metrics.consumed(name);
            }
            this.do_send(Answered {
                item,
                accepted,
                answer,
            });
        });
    }

    /// A record is handled, or parked: its offset may be stored once all before it are.
    fn done(&mut self, assignment: &Assignment, offset: Offset, bytes: usize) {
        if let Some(next) = self.partitions.done(assignment, offset) {
            self.consumer.store(assignment, next);
        }
        self.leave(1, bytes);
    }

    /// So many records, of so many bytes, are no longer under way here.
    fn leave(&mut self, records: usize, bytes: usize) {
        self.in_flight -= records;
        self.bytes -= bytes;
        self.metrics.in_flight(self.in_flight);
        let few = self.in_flight <= RESUME_AT && self.bytes <= MAX_BYTES / 4;
        if self.paused && few && self.draining.is_none() {
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
