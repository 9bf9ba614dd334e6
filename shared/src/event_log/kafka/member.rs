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
};

use rdkafka::{
    ClientContext, Message as _, Offset as KafkaOffset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    lag::Standing,
    link::{Link, code, lock, route},
    next_generation,
    record::consumed,
};
use crate::event_log::{Assignment, ConsumedRecord, Lag, LogError, Offset, Partition, Signal};

/// One member, shared by the polling thread, librdkafka's callbacks and the hand on the subscription.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) link: Arc<Link>,
    generations: Arc<AtomicU64>,
    held: Mutex<Held>,
    outgoing: Mutex<Outgoing>,
    /// Something was stored that librdkafka does not know of yet.
    stored: AtomicBool,
    /// Wanted; the polling thread sees to it.
    pub(super) paused: AtomicBool,
    status: Mutex<Status>,
}

type Held = HashMap<Arc<str>, BTreeMap<Partition, Holding>>;

struct Holding {
    generation: u64,
    /// Stored, not yet given to librdkafka.
    next: Option<Offset>,
    standing: Standing,
}

struct Outgoing {
    /// `None` once the subscription is over.
    signals: Option<UnboundedSender<Signal>>,
    batch: Vec<ConsumedRecord>,
}

/// How the membership stands.
#[derive(Default)]
struct Status {
    joined: bool,
    /// What librdkafka last said about this member.
    reason: Option<String>,
    failure: Option<LogError>,
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
            status: Mutex::new(Status::default()),
        }
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
        }
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

    fn list(&self, mut offset: impl FnMut(&mut Holding) -> Option<KafkaOffset>) -> TopicPartitionList {
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
        let found = take_note(&mut lock(&self.held), message);
        let mut outgoing = lock(&self.outgoing);
        // Not in hand: a left-over of an assignment that is over, somebody else is given it again.
        if let Some((topic, generation)) = found {
            outgoing.batch.push(consumed(message, topic, generation));
        }
        outgoing.batch.len()
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

    fn signal(&self, signal: Signal) {
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

    /// Whether this is a member of the group; the reason where not.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let status = lock(&self.status);
        if let Some(failure) = &status.failure {
            return Err(failure.clone());
        }
        if self.link.is_away() {
            return Err(self.link.unavailable());
        }
        if !status.joined {
            let reason = status.reason.as_deref().unwrap_or("not a member yet");
            return Err(LogError::Unavailable(format!(
                "joining the group {}: {reason}",
                self.group
            )));
        }
        Ok(())
    }

    fn assigned(&self, list: &TopicPartitionList) {
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
                partitions.insert(
                    element.partition(),
                    Holding {
                        generation,
                        next: None,
                        standing: Standing::default(),
                    },
                );
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
            status.reason = None;
        }
        self.link.heard();
        log::info!(target: "kafka", group:% = self.group; "assigned: {}", named(&assignments));
        if !assignments.is_empty() {
            self.signal(Signal::Assigned(assignments));
        }
    }

    fn revoked(&self, list: &TopicPartitionList, lost: bool) {
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
            status.reason = Some("the membership was lost".into());
        }
        log::info!(target: "kafka", group:% = self.group, lost; "revoked: {}", named(&assignments));
        if !assignments.is_empty() {
            self.signal(Signal::Revoked(assignments));
        }
    }
}

/// A record of a partition in hand is on its way: its topic, and the generation of now.
fn take_note(held: &mut Held, message: &BorrowedMessage<'_>) -> Option<(Arc<str>, u64)> {
    let (topic, _) = held.get_key_value(message.topic())?;
    let topic = Arc::clone(topic);
    let holding = held.get_mut(&topic)?.get_mut(&message.partition())?;
    holding.standing.delivered(message);
    Some((topic, holding.generation))
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

/// The [`Member`] as librdkafka's context.
pub(super) struct MemberContext(pub(super) Arc<Member>);

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        route(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code(&error);
        if code == RDKafkaErrorCode::Fatal {
            // Comes out of `poll` too, where it ends the consumer.
            return;
        }
        if !matches!(code, RDKafkaErrorCode::AllBrokersDown) {
            lock(&self.0.status).reason = Some(reason.to_owned());
        }
        self.0.link.complained(code, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut held = lock(&self.0.held);
        for (name, topic) in &statistics.topics {
            let Some(partitions) = held.get_mut(name.as_str()) else {
                continue;
            };
            for (partition, holding) in partitions {
                if let Some(known) = topic.partitions.get(partition) {
                    holding.standing.heard(known);
                }
            }
        }
    }
}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.0.assigned(list),
            Rebalance::Revoke(list) => {
                // librdkafka commits what it knows of while it gives the partitions back.
                self.0.pass_on_stored(consumer);
                self.0.revoked(list, consumer.assignment_lost());
            }
            Rebalance::Error(error) => self.0.link.warn(&format!("rebalance: {error}")),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance
            && list.count() > 0
            && self.0.paused.load(Ordering::Acquire)
            && let Err(error) = consumer.pause(list)
        {
            self.0.link.warn(&format!("new partitions not paused: {error}"));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let Err(error) = result else {
            return self.0.link.heard();
        };
        match code(&error) {
            RDKafkaErrorCode::NoOffset => {}
            // The next owner is given those records again: at least once, as promised.
            RDKafkaErrorCode::RebalanceInProgress
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::StaleMemberEpoch => {
                log::debug!(target: "kafka", group:% = self.0.group, error:%; "commit came too late");
            }
            _ => self
                .0
                .link
                .warn(&format!("commit of group {}: {error}", self.0.group)),
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
