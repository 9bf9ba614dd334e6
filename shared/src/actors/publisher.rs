//! The actor that puts events into the log: the only way there.
//!
//! Events are published in the order in which they are handed over, pipelined; but of one subject (or
//! one key) the next is sent only once the one before is in the log, so none overtakes another
//! whose delivery fails and is tried again.
//!
//! Each delivery is settled by itself, whatever it was handed over with: a partition without a leader
//! delays its own records only. Dead letters take the same way; each is a subject of its own.
//!
//! Asked by the RepositoryActor; asks the [`EventLog`]. While the log is away, events wait here; their
//! number is bounded by the permits of the commands that announced them.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use futures_util::stream::{FuturesUnordered, StreamExt};
use log::Level;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    actors::{
        Reply,
        essential::{Check, Drain, Essential},
    },
    envelope::OutboxEvent,
    environment::Environment,
    event_log::{EventLog, LogError, Position},
    events::EventId,
    logging::{NowAndThen, Step},
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
    /// Told of each of them once, those that are settled at the same moment together. Closed when all
    /// are settled.
    pub settled: mpsc::UnboundedSender<Vec<Settlement>>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub event: EventId,
    /// How it ended.
    pub fate: Fate,
}

/// How the delivery of an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is in the log.
    InLog,
    /// The log does not take it.
    Refused,
}

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
    /// So many have failed and are not settled since.
    troubled: usize,
    /// Says that deliveries fail, or are refused.
    failing: NowAndThen,
    refusing: NowAndThen,
    _essential: Essential,
}

/// Events that were handed over together.
struct Batch {
    /// Events that are not settled yet.
    open: usize,
    settled: mpsc::UnboundedSender<Vec<Settlement>>,
}

/// An event, and the batch that it came in.
struct Entry {
    event: OutboxEvent,
    batch: u64,
    /// Its delivery has failed before.
    troubled: bool,
}

/// Deliveries that end at the same moment are settled together, at most so many.
const SETTLED_TOGETHER: usize = 256;

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
            troubled: 0,
            failing: NowAndThen::default(),
            refusing: NowAndThen::default(),
            _essential: essential,
        }
    }

    /// Takes the places in the order of the log now; waits for the deliveries aside.
    fn send(&self, entries: Vec<Entry>, ctx: &mut Context<Self>) {
        if entries.is_empty() {
            return;
        }
        let deliver = |entry: Entry| {
            let delivery = self.log.publish(entry.event.record(&self.topic));
            async move { (entry, delivery.await) }
        };
        let deliveries: FuturesUnordered<_> = entries.into_iter().map(deliver).collect();
        let this = ctx.address();
        actix::spawn(async move {
            let mut settled = deliveries.ready_chunks(SETTLED_TOGETHER);
            while let Some(settled) = settled.next().await {
                this.do_send(Settled(settled));
            }
        });
    }

    /// Tells whoever handed these over.
    fn tell(&mut self, settled: BTreeMap<u64, Vec<Settlement>>) {
        for (number, settled) in settled {
            let btree_map::Entry::Occupied(mut batch) = self.batches.entry(number) else {
                continue;
            };
            batch.get_mut().open -= settled.len();
            // Whoever handed them over may have been told to stop.
            let _ = batch.get().settled.send(settled);
            if batch.get().open == 0 {
                batch.remove();
            }
        }
    }

    /// The next event of the lane of one that is settled, if one waits.
    fn next_of_lane(&mut self, entry: &Entry) -> Option<Entry> {
        let lane = entry.event.subject();
        let next = self.lanes.get_mut(&lane)?.pop_front();
        if next.is_none() {
            self.lanes.remove(&lane);
        }
        next
    }

    fn told(&self, event: &OutboxEvent, position: &Position) {
        if let Some(letter) = &event.letter {
            let reason = letter.header("dl-reason").unwrap_or("Unknown");
            self.metrics.dead_letter(reason);
            Step::published(event, position).with("reason", &reason).log(
                Level::Info,
                "PublisherActor",
                format_args!("dead letter published"),
            );
            return;
        }
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

    fn handle(&mut self, Publish { events, settled }: Publish, ctx: &mut Context<Self>) {
        if events.is_empty() {
            return;
        }
        let batch = self.next;
        self.next += 1;
        self.batches.insert(
            batch,
            Batch {
                open: events.len(),
                settled,
            },
        );
        let mut free = Vec::with_capacity(events.len());
        for event in events {
            let entry = Entry {
                event,
                batch,
                troubled: false,
            };
            match self.lanes.entry(entry.event.subject()) {
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
        let mut told: BTreeMap<u64, Vec<Settlement>> = BTreeMap::new();
        let mut tell = |entry: &Entry, fate| {
            let event = entry.event.id;
            told.entry(entry.batch)
                .or_default()
                .push(Settlement { event, fate });
        };
        let none_failed_before = self.failed.is_empty();
        for (mut entry, result) in settled {
            let failed = matches!(result, Err(LogError::Unavailable(_)));
            self.troubled -= usize::from(entry.troubled && !failed);
            self.troubled += usize::from(failed && !entry.troubled);
            entry.troubled = failed;
            let event = &entry.event;
            match result {
                Ok(position) => {
                    self.told(event, &position);
                    tell(&entry, Fate::InLog);
                    next.extend(self.next_of_lane(&entry));
                }
                Err(LogError::Unavailable(error)) => {
                    if self.failing.speaks() {
                        log::warn!(target: "PublisherActor", event_id:% = event.id, open = self.batches.len();
                            "to be published again, and others: {error}");
                    }
                    self.failed.push(entry);
                }
                Err(error @ LogError::Refused(_)) => {
                    if self.refusing.speaks() {
                        log::error!(target: "PublisherActor", event_id:% = event.id, event = event.name.as_str(),
                            subject:% = event.subject();
                            "refused, it stays in its outbox and is tried again: {error}");
                    }
                    tell(&entry, Fate::Refused);
                    next.extend(self.next_of_lane(&entry));
                }
            }
        }
        if self.troubled == 0 && self.failing.is_over() {
            log::info!(target: "PublisherActor", "events are published again");
        }
        self.tell(told);
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

impl Handler<Check> for PublisherActor {
    type Result = Reply<Result<(), String>>;

    fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Self::Result {
        let log = self.log.clone();
        Reply::by(async move { log.check().await.map_err(|error| error.to_string()) })
    }
}

impl Handler<Drain> for PublisherActor {
    type Result = ();

    /// Whoever hands over waits for the confirmation before draining us, so nothing is left.
    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
