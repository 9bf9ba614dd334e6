//! The actor that puts events into the log: the only way there.
//!
//! Events are published in the order in which they are handed over, pipelined. When a delivery
//! fails, nothing further is sent until all others under way are settled; then the failed ones go
//! first. What was under way behind a failed one may stand before it in the log: handlers decide by
//! state, not by order alone.
//!
//! Asked by the RepositoryActor and, for dead letters, by the KafkaConsumerActor; asks the
//! [`EventLog`]. While the log is away, events wait here; their number is bounded by the permits of
//! the commands that announced them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture};
use futures_util::future::join_all;
use log::Level;
use tokio::sync::oneshot;

use crate::{
    actors::essential::{Check, Drain, Essential},
    contracts::EventId,
    envelope::OutboxEvent,
    environment::Environment,
    event_log::{EventLog, LogError, Position, Record},
    logging::Step,
    metrics::Metrics,
};

/// Pause before failed deliveries are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Publishes events, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Publish {
    /// What to publish.
    pub events: Vec<OutboxEvent>,
    /// Told when all of them are settled: in the log, but for those that it refused.
    pub confirmed: oneshot::Sender<Vec<EventId>>,
}

/// Puts a record into the log as it is; answered when it is there.
#[derive(Message)]
#[rtype(result = "Result<Position, LogError>")]
pub struct PublishRecord(pub Record);

/// The actor.
pub struct PublisherActor {
    log: Arc<dyn EventLog>,
    topic: String,
    environment: Environment,
    metrics: Metrics,
    next: u64,
    in_flight: usize,
    /// Not sent yet, because failed ones go first.
    waiting: VecDeque<Batch>,
    /// To be sent again once nothing is in flight, in their order.
    failed: BTreeMap<u64, Batch>,
    _essential: Essential,
}

/// Events that were handed over together, less those that are settled.
struct Batch {
    events: Vec<OutboxEvent>,
    refused: Vec<EventId>,
    confirmed: oneshot::Sender<Vec<EventId>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Settled {
    number: u64,
    batch: Batch,
    results: Vec<Result<Position, LogError>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Retry;

impl PublisherActor {
    /// An actor that publishes to `topic`.
    pub fn new(
        log: Arc<dyn EventLog>,
        topic: String,
        environment: Environment,
        metrics: Metrics,
        essential: Essential,
    ) -> PublisherActor {
        PublisherActor {
            log,
            topic,
            environment,
            metrics,
            next: 0,
            in_flight: 0,
            waiting: VecDeque::new(),
            failed: BTreeMap::new(),
            _essential: essential,
        }
    }

    /// Takes the places in the order of the log now; waits for the deliveries aside.
    fn send(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        let records = batch.events.iter().map(|event| event.record(&self.topic));
        let deliveries: Vec<_> = records.map(|record| self.log.publish(record)).collect();
        let (number, this) = (self.next, ctx.address());
        self.next += 1;
        self.in_flight += 1;
        actix::spawn(async move {
            let results = join_all(deliveries).await;
            this.do_send(Settled {
                number,
                batch,
                results,
            });
        });
    }

    fn told(&self, event: &OutboxEvent, position: &Position) {
        self.metrics.published(&event.name);
        Step::published(event, position).log(
            Level::Info,
            "PublisherActor",
            format_args!("published {}", event.name),
        );
    }
}

impl Actor for PublisherActor {
    type Context = Context<Self>;
}

impl Handler<Publish> for PublisherActor {
    type Result = ();

    fn handle(&mut self, Publish { events, confirmed }: Publish, ctx: &mut Context<Self>) {
        let batch = Batch {
            events,
            refused: Vec::new(),
            confirmed,
        };
        if self.failed.is_empty() {
            self.send(batch, ctx);
        } else {
            self.waiting.push_back(batch);
        }
    }
}

impl Handler<Settled> for PublisherActor {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Context<Self>) {
        self.in_flight -= 1;
        let Settled {
            number,
            mut batch,
            results,
        } = settled;
        let mut again = Vec::new();
        for (event, result) in batch.events.drain(..).zip(results) {
            match result {
                Ok(position) => self.told(&event, &position),
                Err(LogError::Unavailable(error)) => {
                    log::warn!(target: "PublisherActor", event_id:% = event.id; "to be published again: {error}");
                    again.push(event);
                }
                Err(error @ LogError::Refused(_)) => {
                    log::error!(target: "PublisherActor", event_id:% = event.id, event = event.name.as_str(); "{error}");
                    batch.refused.push(event.id);
                }
            }
        }
        if again.is_empty() {
            // Whoever handed it over may have been told to stop.
            let _ = batch.confirmed.send(batch.refused);
        } else {
            batch.events = again;
            self.failed.insert(number, batch);
        }
        if self.in_flight == 0 && !self.failed.is_empty() {
            ctx.notify_later(Retry, self.environment.jitter(RETRY_AFTER));
        }
    }
}

impl Handler<Retry> for PublisherActor {
    type Result = ();

    fn handle(&mut self, _: Retry, ctx: &mut Context<Self>) {
        for batch in std::mem::take(&mut self.failed).into_values() {
            self.send(batch, ctx);
        }
        for batch in std::mem::take(&mut self.waiting) {
            self.send(batch, ctx);
        }
    }
}

impl Handler<PublishRecord> for PublisherActor {
    type Result = ResponseFuture<Result<Position, LogError>>;

    fn handle(&mut self, PublishRecord(record): PublishRecord, _: &mut Context<Self>) -> Self::Result {
        self.log.publish(record)
    }
}

impl Handler<Check> for PublisherActor {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        let log = self.log.clone();
        Box::pin(async move { log.check().await.map_err(|error| error.to_string()) })
    }
}

impl Handler<Drain> for PublisherActor {
    type Result = ();

    /// Whoever hands over waits for the confirmation before draining us, so nothing is left.
    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
