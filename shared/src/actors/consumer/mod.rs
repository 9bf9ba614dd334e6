//! The actor that consumes: a list of topics and a table of handlers by event name, until it is
//! told to stop.
//!
//! Promises: an offset is stored only when everything up to it is done. Records of one key are
//! handed over in their order, each once the one before has its place in the repository's queue, so
//! one busy customer still fills whole rounds. What can never be handled goes to the dead-letter
//! topic before its offset is stored. At most `MAX_IN_FLIGHT` records are under way.
//!
//! Asks the handlers of its [`Routes`] and, for dead letters, the PublisherActor. Lives on the same
//! thread as they do. When it fails for good, the service ends.

use std::{sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, StreamHandler,
};
use futures_util::stream;
use tokio::sync::oneshot;

use crate::{
    actors::{
        essential::{Check, Drain, Essential},
        publisher::PublishRecord,
    },
    envelope::Received,
    environment::Environment,
    event_log::{Assignment, ConsumedRecord, Consumer, Signal, Subscribed},
    metrics::Metrics,
    mutants::{self, Mutant},
};

mod dead_letter;
mod lanes;
mod partitions;
mod routes;
mod watermark;

use dead_letter::{Verdict, dead_letter};
use lanes::{Lane, Lanes};
use partitions::Partitions;
pub use routes::{Answer, Handle, HandlerError, Routes, outcome};

/// Records under way at which no more are taken; enough to fill several rounds.
const MAX_IN_FLIGHT: usize = 2048;
/// Records under way at which more are taken again. Well below the other: pausing throws away what
/// Kafka's client has fetched ahead.
const RESUME_AT: usize = MAX_IN_FLIGHT / 4;
/// First pause before an event is tried again; doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How long leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// The actor.
pub struct KafkaConsumerActor {
    consumer: Arc<dyn Consumer>,
    /// Until it is started.
    signals: Option<tokio::sync::mpsc::UnboundedReceiver<Signal>>,
    routes: Routes,
    group: String,
    publisher: Recipient<PublishRecord>,
    environment: Environment,
    metrics: Metrics,
    partitions: Partitions,
    /// Keys whose last record is not accepted yet, with the records behind it.
    lanes: Lanes,
    in_flight: usize,
    paused: bool,
    draining: Option<oneshot::Sender<()>>,
    _essential: Essential,
}

/// What a [`KafkaConsumerActor`] is made of.
pub struct ConsumerSettings {
    /// The group it is a member of.
    pub group: String,
    /// The membership.
    pub subscribed: Subscribed,
    /// Handlers by event name.
    pub routes: Routes,
    /// Where dead letters go.
    pub publisher: Recipient<PublishRecord>,
    /// Clock and chance.
    pub environment: Environment,
    /// Where records are counted.
    pub metrics: Metrics,
    /// Ends the process when the actor dies.
    pub essential: Essential,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Accepted(Lane);

#[derive(Message)]
#[rtype(result = "()")]
struct Done {
    assignment: Assignment,
    offset: i64,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Failed {
    record: ConsumedRecord,
    attempts: u32,
    error: HandlerError,
}

#[derive(Message)]
#[rtype(result = "()")]
struct TryAgain {
    record: ConsumedRecord,
    attempts: u32,
}

impl KafkaConsumerActor {
    /// A consumer that begins when the actor is started.
    pub fn new(settings: ConsumerSettings) -> KafkaConsumerActor {
        let ConsumerSettings {
            group,
            subscribed,
            routes,
            publisher,
            environment,
            metrics,
            essential,
        } = settings;
        KafkaConsumerActor {
            consumer: subscribed.consumer,
            signals: Some(subscribed.signals),
            routes,
            group,
            publisher,
            environment,
            metrics,
            partitions: Partitions::default(),
            lanes: Lanes::default(),
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
    }
}

impl StreamHandler<Signal> for KafkaConsumerActor {
    fn handle(&mut self, signal: Signal, ctx: &mut Context<Self>) {
        match signal {
            Signal::Assigned(assignments) => self.partitions.assigned(&assignments),
            Signal::Revoked(assignments) => {
                self.in_flight -= self.lanes.forget(&assignments);
                self.partitions.revoked(&assignments);
            }
            Signal::Records(records) => records.into_iter().for_each(|record| self.take(record, ctx)),
            Signal::Failed(error) => {
                log::error!(target: "KafkaConsumerActor", group = self.group.as_str(); "cannot go on: {error}");
                ctx.stop();
            }
        }
    }
}

impl Handler<Accepted> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Accepted(lane): Accepted, ctx: &mut Context<Self>) {
        while let Some(record) = self.lanes.next(&lane) {
            if self.hand_over(record, 1, Some(lane.clone()), ctx) {
                return;
            }
        }
    }
}

impl Handler<Done> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, Done { assignment, offset }: Done, _: &mut Context<Self>) {
        self.in_flight -= 1;
        self.metrics.in_flight(self.in_flight);
        if let Some(next) = self.partitions.done(&assignment, offset) {
            self.consumer.store(&assignment, next);
        }
        if self.paused && self.in_flight <= RESUME_AT && self.draining.is_none() {
            self.paused = false;
            self.consumer.resume();
        }
        self.answer_drain();
    }
}

impl Handler<Failed> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, failed: Failed, ctx: &mut Context<Self>) {
        let Failed {
            record,
            attempts,
            error,
        } = failed;
        match error {
            HandlerError::Poison { code, message } => self.give_up(record, code, message, attempts, ctx),
            HandlerError::Transient(message) => {
                let pause = retry_pause(attempts);
                log::warn!(target: "KafkaConsumerActor", topic = &*record.position.topic,
                    partition = record.position.partition, offset = record.position.offset,
                    attempt = attempts; "to be tried again: {message}");
                ctx.notify_later(
                    TryAgain {
                        record,
                        attempts: attempts + 1,
                    },
                    self.environment.jitter(pause),
                );
            }
        }
    }
}

impl Handler<TryAgain> for KafkaConsumerActor {
    type Result = ();

    fn handle(&mut self, TryAgain { record, attempts }: TryAgain, ctx: &mut Context<Self>) {
        self.hand_over(record, attempts, None, ctx);
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
        // What waits behind a key is not begun any more; it will be delivered to somebody else.
        self.in_flight -= self.lanes.forget_all();
        self.answer_drain();
        let consumer = self.consumer.clone();
        Box::pin(async move {
            let _ = drained.await;
            consumer.close(CLOSE_WITHIN).await;
        })
    }
}

impl KafkaConsumerActor {
    /// Begins a record, or lets it wait behind those of its key.
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
        if let Some((lane, record)) = self.lanes.enter(record)
            && !self.hand_over(record, 1, Some(lane.clone()), ctx)
        {
            self.lanes.next(&lane);
        }
    }

    /// Sends a record to its handler. `false`: it needs none, so nothing has to wait behind it.
    fn hand_over(
        &mut self,
        record: ConsumedRecord,
        attempts: u32,
        lane: Option<Lane>,
        ctx: &mut Context<Self>,
    ) -> bool {
        let received = match Received::read(&record) {
            Ok(received) => received,
            Err(error) => {
                self.give_up(record, "malformed-envelope", error.to_string(), attempts, ctx);
                return false;
            }
        };
        let assignment = record.assignment();
        let offset = record.position.offset;
        let Some(route) = self.routes.get(&received.name) else {
            let known = crate::contracts::is_known(&received.name);
            self.metrics.skipped(known);
            if !known {
                log::warn!(target: "KafkaConsumerActor", event_id = received.event_id.as_str(),
                    event = received.name.as_str(); "skipped: an event of this name is not known here");
            }
            ctx.notify(Done { assignment, offset });
            return false;
        };
        let (accepted, when_accepted) = oneshot::channel();
        let name = route.name();
        let answer = match route.hand_over(received, accepted) {
            Ok(answer) => answer,
            Err(error) => {
                self.give_up(record, "malformed-event", error.to_string(), attempts, ctx);
                return false;
            }
        };
        let (this, metrics) = (ctx.address(), self.metrics.clone());
        actix::spawn(async move {
            let lane_is_free = async {
                // Dropped unsent where the handler failed before: then nothing has to wait either.
                let _ = when_accepted.await;
                if let Some(lane) = lane {
                    this.do_send(Accepted(lane));
                }
            };
            // Together: to a full mailbox the event is delivered only when the answer is polled.
            let ((), answer) = futures_util::future::join(lane_is_free, answer).await;
            match answer {
                Ok(()) => {
                    metrics.consumed(name);
                    this.do_send(Done { assignment, offset });
                }
                Err(error) => this.do_send(Failed {
                    record,
                    attempts,
                    error,
                }),
            }
        });
        true
    }

    /// Puts a record on the dead-letter topic; done when it stands there, however long that takes.
    fn give_up(
        &self,
        record: ConsumedRecord,
        code: &'static str,
        error: String,
        attempts: u32,
        ctx: &mut Context<Self>,
    ) {
        if mutants::is_active(Mutant::DropPoison) {
            let (assignment, offset) = (record.assignment(), record.position.offset);
            return ctx.notify(Done { assignment, offset });
        }
        log::error!(target: "KafkaConsumerActor", topic = &*record.position.topic,
            partition = record.position.partition, offset = record.position.offset,
            attempt = attempts, reason = code; "to the dead letters: {error}");
        let time = self.environment.now();
        let verdict = Verdict {
            group: &self.group,
            reason: code,
            error: &error,
            attempts,
            time,
        };
        let letter = dead_letter(&record, &verdict);
        let (publisher, this, metrics) = (self.publisher.clone(), ctx.address(), self.metrics.clone());
        let environment = self.environment.clone();
        actix::spawn(async move {
            for failures in 0.. {
                match publisher.send(PublishRecord(letter.clone())).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(error)) => {
                        log::error!(target: "KafkaConsumerActor", "the dead letter is not written: {error}")
                    }
                    Err(_) => return,
                }
                tokio::time::sleep(environment.jitter(retry_pause(failures))).await;
            }
            metrics.dead_letter(code);
            this.do_send(Done {
                assignment: record.assignment(),
                offset: record.position.offset,
            });
        });
    }

    fn answer_drain(&mut self) {
        if self.in_flight == 0
            && let Some(told) = self.draining.take()
        {
            let _ = told.send(());
        }
    }
}

/// The pause after so many tries.
fn retry_pause(tries: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LONGEST_RETRY)
}
