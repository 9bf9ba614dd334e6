//! The actor that puts events into the log: the only way there.
//!
//! Events are published in the order in which they are handed over, pipelined; but of one order (or
//! one customer) the next is sent only once the one before is in the log, so none overtakes another
//! whose delivery fails and is tried again.
//!
//! Asked by the RepositoryActor and, for dead letters, by the KafkaConsumerActor; asks the
//! [`EventLog`]. While the log is away, events wait here; their number is bounded by the permits of
//! the commands that announced them.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture};
use futures_util::future::join_all;
use log::Level;
use tokio::sync::oneshot;
use uuid::Uuid;

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
    /// What was handed over together and is not settled yet, numbered as it came.
    batches: BTreeMap<u64, Batch>,
    next: u64,
    /// What has an event under way, each with the events that wait behind it.
    lanes: BTreeMap<Uuid, VecDeque<Entry>>,
    /// To be sent again, oldest first. Not empty: a [`Retry`] is on its way.
    failed: Vec<Entry>,
    _essential: Essential,
}

/// Events that were handed over together.
struct Batch {
    /// Events that are not settled yet.
    open: usize,
    refused: Vec<EventId>,
    confirmed: oneshot::Sender<Vec<EventId>>,
}

/// An event, and the batch that it came in.
struct Entry {
    event: OutboxEvent,
    batch: u64,
}

impl Entry {
    /// What it is about: within that, order counts.
    fn subject(&self) -> Uuid {
        self.event
            .order_id
            .map_or(self.event.customer_id.0, |order| order.0)
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Settled(Vec<(Entry, Result<Position, LogError>)>);

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
            batches: BTreeMap::new(),
            next: 0,
            lanes: BTreeMap::new(),
            failed: Vec::new(),
            _essential: essential,
        }
    }

    /// Takes the places in the order of the log now; waits for the deliveries aside.
    fn send(&self, entries: Vec<Entry>, ctx: &mut Context<Self>) {
        if entries.is_empty() {
            return;
        }
        let records = entries.iter().map(|entry| entry.event.record(&self.topic));
        let deliveries: Vec<_> = records.map(|record| self.log.publish(record)).collect();
        let this = ctx.address();
        actix::spawn(async move {
            let results = join_all(deliveries).await;
            this.do_send(Settled(entries.into_iter().zip(results).collect()));
        });
    }

    /// An event is in the log, or refused; the next of its lane, if one waits.
    fn settle(&mut self, entry: &Entry, refused: bool) -> Option<Entry> {
        if let Some(batch) = self.batches.get_mut(&entry.batch) {
            batch.open -= 1;
            batch.refused.extend(refused.then_some(entry.event.id));
        }
        if self
            .batches
            .get(&entry.batch)
            .is_some_and(|batch| batch.open == 0)
            && let Some(batch) = self.batches.remove(&entry.batch)
        {
            // Whoever handed it over may have been told to stop.
            let _ = batch.confirmed.send(batch.refused);
        }
        let lane = entry.subject();
        let next = self.lanes.get_mut(&lane)?.pop_front();
        if next.is_none() {
            self.lanes.remove(&lane);
        }
        next
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
        if events.is_empty() {
            let _ = confirmed.send(Vec::new());
            return;
        }
        let batch = self.next;
        self.next += 1;
        self.batches.insert(
            batch,
            Batch {
                open: events.len(),
                refused: Vec::new(),
                confirmed,
            },
        );
        let mut free = Vec::with_capacity(events.len());
        for event in events {
            let entry = Entry { event, batch };
            match self.lanes.entry(entry.subject()) {
                btree_map::Entry::Vacant(lane) => {
                    lane.insert(VecDeque::new());
                    free.push(entry);
                }
                btree_map::Entry::Occupied(mut lane) => lane.get_mut().push_back(entry),
            }
        }
        self.send(free, ctx);
    }
}

impl Handler<Settled> for PublisherActor {
    type Result = ();

    fn handle(&mut self, Settled(settled): Settled, ctx: &mut Context<Self>) {
        let mut next = Vec::new();
        let none_failed_before = self.failed.is_empty();
        for (entry, result) in settled {
            let event = &entry.event;
            match result {
                Ok(position) => {
                    self.told(event, &position);
                    next.extend(self.settle(&entry, false));
                }
                Err(LogError::Unavailable(error)) => {
                    log::warn!(target: "PublisherActor", event_id:% = event.id; "to be published again: {error}");
                    self.failed.push(entry);
                }
                Err(error @ LogError::Refused(_)) => {
                    log::error!(target: "PublisherActor", event_id:% = event.id, event = event.name.as_str(); "{error}");
                    next.extend(self.settle(&entry, true));
                }
            }
        }
        self.send(next, ctx);
        if none_failed_before && !self.failed.is_empty() {
            ctx.notify_later(Retry, self.environment.jitter(RETRY_AFTER));
        }
    }
}

impl Handler<Retry> for PublisherActor {
    type Result = ();

    fn handle(&mut self, _: Retry, ctx: &mut Context<Self>) {
        let failed = std::mem::take(&mut self.failed);
        self.send(failed, ctx);
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
