//! What a member of a consumer group holds, kept in step with librdkafka's rebalance callbacks.
//!
//! Promise: signals come in the order in which things happened. Records polled before a revocation
//! are handed over before [`Signal::Revoked`], none of that partition after it, and each assignment
//! of a partition has a generation of its own, so a store that belongs to an earlier one is dropped.
//!
//! Hazard: the callbacks run inside `poll`, on the polling thread; whoever waits in one stops the
//! consumer and, in time, loses its membership. These take a lock for a moment and send into an
//! unbounded channel, nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Message as _, Offset as KafkaOffset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    message::BorrowedMessage,
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    brokers::KnownBrokers,
    health::Status,
    lag::{Standing, Upset},
    link::{Link, lock},
    next_generation,
    record::consumed,
};
use crate::event_log::{
    Assignment, ConsumedRecord, Lag, LogError, Losses, Offset, Partition, Signal, progress::Progress,
};

/// One member, shared by the polling thread, librdkafka's callbacks and the hand on the subscription.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) link: Arc<Link>,
    pub(super) generations: Arc<AtomicU64>,
    pub(super) held: Mutex<Held>,
    outgoing: Mutex<Outgoing>,
    /// Something was stored that librdkafka does not know of yet.
    stored: AtomicBool,
    /// Wanted; the polling thread sees to it.
    pub(super) paused: AtomicBool,
    /// Whether handlers get on with what they have while no more is taken.
    pub(super) handling: Mutex<Progress>,
    pub(super) status: Mutex<Status>,
    pub(super) losses: Mutex<Losses>,
    pub(super) known_brokers: KnownBrokers,
    /// What times are counted from.
    origin: Instant,
}

pub(super) type Held = HashMap<Arc<str>, BTreeMap<Partition, Holding>>;

pub(super) struct Holding {
    pub(super) generation: u64,
    /// Stored, not yet given to librdkafka.
    next: Option<Offset>,
    pub(super) standing: Standing,
    /// It is not known yet what the group had committed when this began.
    pub(super) new: bool,
    /// Offsets went back to here: to be committed although it is less than what was.
    pub(super) back_to: Option<Offset>,
}

impl Holding {
    pub(super) fn new(generation: u64, standing: Standing) -> Self {
        Self {
            generation,
            next: None,
            standing,
            new: true,
            back_to: None,
        }
    }
}

struct Outgoing {
    /// `None` once the subscription is over.
    signals: Option<UnboundedSender<Signal>>,
    batch: Vec<ConsumedRecord>,
}

impl Member {
    pub(super) fn new(
        group: String,
        link: Arc<Link>,
        generations: Arc<AtomicU64>,
        signals: UnboundedSender<Signal>,
    ) -> Self {
        Self {
            group,
            link,
            generations,
            held: Mutex::new(Held::new()),
            outgoing: Mutex::new(Outgoing {
                signals: Some(signals),
                batch: Vec::new(),
            }),
            stored: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            handling: Mutex::new(Progress::default()),
            status: Mutex::new(Status::default()),
            losses: Mutex::new(Losses::default()),
            known_brokers: KnownBrokers::default(),
            origin: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Takes note; the polling thread passes it on. Dropped where that assignment is over.
    pub(super) fn store(&self, assignment: &Assignment, next: Offset) {
        let mut held = lock(&self.held);
        let holding = held
            .get_mut(&assignment.topic)
            .and_then(|topic| topic.get_mut(&assignment.partition));
        if let Some(holding) = holding
            && holding.generation == assignment.generation
        {
            holding.next = Some(next);
            holding.standing.done(next);
            self.stored.store(true, Ordering::Release);
            lock(&self.handling).moved(self.now());
        }
    }

    /// From now on nothing more is wanted, or everything again.
    pub(super) fn pause(&self, paused: bool) {
        if self.paused.swap(paused, Ordering::AcqRel) == paused {
            return;
        }
        let (now, mut held) = (self.now(), lock(&self.held));
        let mut busy = false;
        for holding in held.values_mut().flat_map(BTreeMap::values_mut) {
            holding.standing.paused_or_resumed(now);
            busy |= holding.standing.is_busy();
        }
        lock(&self.handling).has_work(paused && busy, now);
    }

    /// Gives librdkafka what was stored; it commits that in the background, at a revocation and at
    /// the end.
    pub(super) fn pass_on_stored<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        if !self.stored.swap(false, Ordering::AcqRel) {
            return;
        }
        let offsets = self.list(|holding| holding.next.take().map(KafkaOffset::Offset));
        if let Err(error) = consumer.store_offsets(&offsets) {
            // ERR__STATE: taken away meanwhile. Whoever has it now will be given those records again.
            log::debug!(target: "kafka", group:% = self.group, error:%; "offsets not stored");
        }
    }

    /// Makes librdkafka forget what it has not committed yet, as a crash would.
    pub(super) fn forget_stored<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        let nothing = self.list(|_| Some(KafkaOffset::Invalid));
        if let Err(error) = consumer.store_offsets(&nothing) {
            log::debug!(target: "kafka", group:% = self.group, error:%; "offsets not forgotten");
        }
    }

    /// All partitions in hand.
    pub(super) fn partitions(&self) -> TopicPartitionList {
        self.list(|_| Some(KafkaOffset::Invalid))
    }

    pub(super) fn list(
        &self,
        mut offset: impl FnMut(&mut Holding) -> Option<KafkaOffset>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in lock(&self.held).iter_mut() {
            for (partition, holding) in partitions {
                if let Some(offset) = offset(holding) {
                    // Only an offset that cannot be written as a number is refused.
                    let _ = list.add_partition_offset(topic, *partition, offset);
                }
            }
        }
        list
    }

    /// Adds a polled record to the batch under the generation of now; says how many there are.
    pub(super) fn collect(&self, message: &BorrowedMessage<'_>) -> usize {
        let mut found = self.take_note(message);
        if let Some((topic, generation, Some(upset))) = &mut found {
            *generation = self.begin_anew(topic, message, *generation, *upset);
        }
        let mut outgoing = lock(&self.outgoing);
        // Not in hand: a left-over of an assignment that is over, somebody else is given it again.
        if let Some((topic, generation, _)) = found {
            outgoing.batch.push(consumed(message, topic, generation));
        }
        outgoing.batch.len()
    }

    /// A record of a partition in hand is on its way: its topic, the generation of now, and whether it
    /// stands where it should not.
    fn take_note(&self, message: &BorrowedMessage<'_>) -> Option<(Arc<str>, u64, Option<Upset>)> {
        let mut held = lock(&self.held);
        let (topic, _) = held.get_key_value(message.topic())?;
        let topic = Arc::clone(topic);
        let holding = held.get_mut(&topic)?.get_mut(&message.partition())?;
        let upset = holding
            .standing
            .delivered(message.offset(), written(message), self.now());
        Some((topic, holding.generation, upset))
    }

    /// How far the group is behind in what is in hand.
    pub(super) fn lag(&self) -> Vec<Lag> {
        let held = lock(&self.held);
        let each = held.iter().flat_map(|(topic, partitions)| {
            let lag =
                move |(partition, holding): (&Partition, &Holding)| holding.standing.lag(topic, *partition);
            partitions.iter().filter_map(lag)
        });
        each.collect()
    }

    /// Hands the batch over. False where nobody listens any more.
    pub(super) fn hand_over(&self) -> bool {
        let mut outgoing = lock(&self.outgoing);
        outgoing.flush();
        outgoing
            .signals
            .as_ref()
            .is_some_and(|signals| !signals.is_closed())
    }

    pub(super) fn signal(&self, signal: Signal) {
        let mut outgoing = lock(&self.outgoing);
        outgoing.flush();
        outgoing.send(signal);
    }

    /// The consumer cannot go on.
    pub(super) fn fail(&self, reason: String) {
        log::error!(target: "kafka", group:% = self.group; "the consumer cannot go on: {reason}");
        let failure = LogError::Refused(reason);
        lock(&self.status).failure = Some(failure.clone());
        self.signal(Signal::Failed(failure));
    }

    /// Ends the channel of signals.
    pub(super) fn end(&self) {
        lock(&self.outgoing).signals = None;
    }

    pub(super) fn assigned(&self, list: &TopicPartitionList) {
        let mut assignments = Vec::with_capacity(list.count());
        {
            let mut held = lock(&self.held);
            for element in list.elements() {
                let topic = match held.get_key_value(element.topic()) {
                    Some((topic, _)) => Arc::clone(topic),
                    None => Arc::from(element.topic()),
                };
                let generation = next_generation(&self.generations);
                let partitions = held.entry(Arc::clone(&topic)).or_default();
                let holding = Holding::new(generation, Standing::new(self.now()));
                partitions.insert(element.partition(), holding);
                assignments.push(Assignment {
                    topic,
                    partition: element.partition(),
                    generation,
                });
            }
        }
        {
            let mut status = lock(&self.status);
            status.joined = true;
            status.joining.has_work(false, self.now());
            status.trouble = None;
        }
        self.link.heard();
        log::info!(target: "kafka", group:% = self.group; "assigned: {}", named(&assignments));
        if !assignments.is_empty() {
            self.signal(Signal::Assigned(assignments));
        }
    }

    pub(super) fn revoked(&self, list: &TopicPartitionList, lost: bool) {
        let mut assignments = Vec::with_capacity(list.count());
        {
            let mut held = lock(&self.held);
            for element in list.elements() {
                let Some((topic, partitions)) = held
                    .get_key_value(element.topic())
                    .map(|(topic, _)| Arc::clone(topic))
                    .and_then(|topic| Some((Arc::clone(&topic), held.get_mut(&topic)?)))
                else {
                    continue;
                };
                if let Some(holding) = partitions.remove(&element.partition()) {
                    let (partition, generation) = (element.partition(), holding.generation);
                    assignments.push(Assignment {
                        topic,
                        partition,
                        generation,
                    });
                }
            }
        }
        if lost {
            let mut status = lock(&self.status);
            status.joined = false;
            status.is_member = false;
            status.trouble = Some((self.now(), "the membership was lost".into()));
        }
        log::info!(target: "kafka", group:% = self.group, lost; "revoked: {}", named(&assignments));
        if !assignments.is_empty() {
            self.signal(Signal::Revoked(assignments));
        }
    }
}

/// When a record was written, as the log has it; a record without a time is of now.
pub(super) fn written(message: &BorrowedMessage<'_>) -> SystemTime {
    let written = message.timestamp().to_millis();
    let written = written.and_then(|millis| u64::try_from(millis).ok());
    let written = written.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis)));
    written.unwrap_or_else(SystemTime::now)
}

impl Outgoing {
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.send(Signal::Records(batch));
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(signals) = &self.signals {
            // The polling thread looks after a receiver that is gone.
            let _ = signals.send(signal);
        }
    }
}

fn named(assignments: &[Assignment]) -> String {
    let names: Vec<_> = assignments
        .iter()
        .map(|a| format!("{}/{}", a.topic, a.partition))
        .collect();
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(" ")
    }
}
