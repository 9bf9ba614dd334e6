//! A subscription: the thread that polls, and the hand on it.
//!
//! Promise: the thread waits for nothing but the poll (and 20 ms at most after a `resume`, 100 ms at
//! most when partitions are assigned); what has arrived goes out as one batch per wake-up. Pausing
//! continues at exactly the record after the last one handed over. A panic on the thread is a failure
//! of the consumer like any other: who listens is told, and the process ends.
//!
//! Hazards: `pause` throws away what librdkafka has read ahead and reads it again, so it should not
//! be turned on and off often. Dropping librdkafka's consumer blocks until it has left the group
//! (100 ms at best, long without a broker); so it is owned by the polling thread alone and dropped
//! there, and whoever closes waits beside it with a deadline.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
};
use tokio::sync::mpsc;

use super::{
    admin::Probe,
    age::Ages,
    context::MemberContext,
    link::{Link, lock},
    member::Member,
    native, on_own_thread, watch,
};
use crate::event_log::{Assignment, Consumer, Lag, LogError, Losses, Offset, Subscribed, Subscription};

/// How long the thread sleeps at most: how late it notices a command while no records come.
const POLL: Duration = Duration::from_millis(100);
/// The same while paused, when a quick `resume` matters more than a few wake-ups.
const POLL_PAUSED: Duration = Duration::from_millis(10);
/// The largest batch in one signal.
const BATCH: usize = 512;

const RUN: u8 = 0;
/// Commit what is stored and leave the group.
const CLOSE: u8 = 1;
/// Nobody holds the subscription any more: end, as in a crash, without committing.
const ABANDON: u8 = 2;

/// Joins a group and starts to poll.
pub(super) fn subscribe(
    config: &ClientConfig,
    ages: Ages,
    subscription: Subscription,
    link: Arc<Link>,
    probe: Arc<Probe>,
    generations: Arc<AtomicU64>,
) -> Result<Subscribed, LogError> {
    let refused = |error: KafkaError| LogError::Refused(format!("Kafka consumer: {error}"));
    let (sender, signals) = mpsc::unbounded_channel();
    let member = Arc::new(Member::new(subscription.group, link, generations, sender));
    let consumer =
        BaseConsumer::from_config_and_context(config, MemberContext(Arc::clone(&member))).map_err(refused)?;
    let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(refused)?;
    let orders = Arc::new(Orders::default());
    let (thread_member, thread_orders) = (Arc::clone(&member), Arc::clone(&orders));
    thread::Builder::new()
        .name("kafka-consumer".into())
        .spawn(move || run(consumer, &thread_member, &thread_orders))
        .map_err(|error| LogError::Unavailable(format!("no thread for the Kafka consumer: {error}")))?;
    watch::start(&member, &orders, &probe, ages);
    Ok(Subscribed {
        signals,
        consumer: Arc::new(KafkaConsumer {
            member,
            orders,
            probe,
        }),
    })
}

/// What the hand tells the thread, and when the thread is through.
#[derive(Default)]
pub(super) struct Orders {
    stop: AtomicU8,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Orders {
    /// The first order to stop counts.
    fn stop(&self, how: u8) {
        let _ = self
            .stop
            .compare_exchange(RUN, how, Ordering::AcqRel, Ordering::Acquire);
    }

    fn end(&self) {
        *lock(&self.ended) = true;
        self.changed.notify_all();
    }

    /// Whether the thread is through, waiting for it so long.
    pub(super) fn wait(&self, deadline: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(lock(&self.ended), deadline, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn run(consumer: BaseConsumer<MemberContext>, member: &Member, orders: &Orders) {
    // Whatever happens below, nobody waits for this thread any more when it is gone.
    let _ended = Ended(member, orders);
    let how = guarded(member, || poll(&consumer, member, orders));
    if how == CLOSE {
        member.pass_on_stored(&consumer);
    } else {
        member.end();
        member.forget_stored(&consumer);
    }
    // Gives the partitions back (which commits what is stored) and leaves the group. May block.
    drop(consumer);
}

/// Ends the signals and tells those who wait for the thread.
struct Ended<'a>(&'a Member, &'a Orders);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.1.stop(ABANDON);
        self.1.end();
    }
}

/// Polls; a panic is told as the failure of the consumer.
fn guarded(member: &Member, poll: impl FnOnce() -> u8) -> u8 {
    // What the closure shares is behind locks that stand a panic.
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        member.fail(format!(
            "the thread that reads panicked: {}",
            text.as_deref().unwrap_or("without a message")
        ));
        ABANDON
    })
}

/// Polls until told to stop; says how.
fn poll(consumer: &BaseConsumer<MemberContext>, member: &Member, orders: &Orders) -> u8 {
    let mut paused = false;
    loop {
        let how = orders.stop.load(Ordering::Acquire);
        if how != RUN {
            return how;
        }
        member.pass_on_stored(consumer);
        look_at_group(consumer, member);
        member
            .known_brokers
            .remind(consumer.client(), member.link.brokers());
        paused = follow(consumer, member, paused);
        let mut next = consumer.poll(if paused { POLL_PAUSED } else { POLL });
        while let Some(polled) = next.take() {
            let collected = match polled {
                Ok(message) => {
                    member.link.heard();
                    member.collect(&message)
                }
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    let reason = consumer.client().fatal_error().map(|(_, text)| text);
                    member.fail(reason.unwrap_or_else(|| code.to_string()));
                    orders.stop(ABANDON);
                    return ABANDON;
                }
                // Told by the context already; librdkafka goes on by itself.
                Err(_) => 0,
            };
            if collected < BATCH {
                next = consumer.poll(Duration::ZERO);
            }
        }
        if !member.hand_over() {
            // Whoever listened is gone: keeping the partitions would only keep them from others.
            orders.stop(ABANDON);
        }
    }
}

/// How long the polling thread may wait to learn what the group has committed: 1 to 5 ms as a rule.
const COMMITTED: Duration = Duration::from_millis(100);

/// What is asked of the group now and then, each answered from memory or soon.
fn look_at_group(consumer: &BaseConsumer<MemberContext>, member: &Member) {
    if member.take_question() {
        member.answer(native::is_member(consumer.client()));
    }
    let new = member.take_new();
    if new.count() > 0 {
        // Without an answer a gap at the very beginning goes unnoticed, nothing else.
        match consumer.committed_offsets(new, COMMITTED) {
            Ok(committed) => member.begin_at(&committed),
            Err(error) => log::debug!(target: "kafka", error:%; "what is committed is not known"),
        }
    }
    let back = member.take_back_to();
    if back.count() > 0
        // librdkafka itself commits only what is more than before.
        && let Err(error) = consumer.commit(&back, CommitMode::Async)
    {
        member
            .link
            .warn(&format!("offsets that went back are not committed: {error}"));
    }
}

/// Pauses or resumes everything in hand where that was asked for; says what holds now. What is
/// assigned while paused is paused by the context.
fn follow(consumer: &BaseConsumer<MemberContext>, member: &Member, paused: bool) -> bool {
    let wanted = member.paused.load(Ordering::Acquire);
    if wanted == paused {
        return paused;
    }
    let partitions = member.partitions();
    let done = if wanted {
        consumer.pause(&partitions)
    } else {
        consumer.resume(&partitions)
    };
    if !wanted && done.is_ok() {
        nudge(consumer, partitions);
    }
    match done {
        Ok(()) => wanted,
        Err(error) => {
            member.link.warn(&format!("pause or resume: {error}"));
            paused
        }
    }
}

/// How long the polling thread may wait for an answer that it does not need.
const NUDGE: Duration = Duration::from_millis(20);

/// The threads of librdkafka that talk to the brokers look for resumed partitions only when something
/// wakes them, or after a second: records took 0.9 s to come after a `resume`, 11 ms with this. Any
/// request to the leaders of these partitions wakes them; its answer (1 to 7 ms later) is of no use.
fn nudge(consumer: &BaseConsumer<MemberContext>, mut partitions: TopicPartitionList) {
    if partitions.count() > 0 && partitions.set_all_offsets(rdkafka::Offset::Offset(0)).is_ok() {
        let _ = consumer.offsets_for_times(partitions, NUDGE);
    }
}

/// The hand on a subscription. Dropping it without [`Consumer::close`] ends the thread as a crash
/// would: what was stored and not committed yet is forgotten.
struct KafkaConsumer {
    member: Arc<Member>,
    orders: Arc<Orders>,
    probe: Arc<Probe>,
}

impl Consumer for KafkaConsumer {
    fn store(&self, assignment: &Assignment, next: Offset) {
        self.member.store(assignment, next);
    }

    fn pause(&self) {
        self.member.pause(true);
    }

    fn resume(&self) {
        self.member.pause(false);
    }

    fn check(&self) -> Result<(), LogError> {
        let result = self.member.check();
        if self.member.link.is_away() {
            // An idle consumer hears nothing, so somebody has to ask whether the brokers are back.
            self.probe.ask();
        } else if result.is_ok() && self.orders.stop.load(Ordering::Acquire) != RUN {
            return Err(LogError::Unavailable("the consumer is closed".into()));
        }
        result
    }

    fn lag(&self) -> Vec<Lag> {
        self.member.lag()
    }

    fn losses(&self) -> Losses {
        self.member.losses()
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        self.orders.stop(CLOSE);
        let (member, orders) = (Arc::clone(&self.member), Arc::clone(&self.orders));
        let closed = on_own_thread("kafka-close", move || {
            if !orders.wait(deadline) {
                log::warn!(target: "kafka", group:% = member.group; "could not leave the group in time");
                member.end();
            }
        });
        Box::pin(async move {
            // An error means that the thread could not be had; the consumer closes all the same.
            let _ = closed.await;
        })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.orders.stop(ABANDON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Signal;

    #[test]
    fn a_panic_on_the_polling_thread_fails_the_consumer_and_ends_its_signals() {
        let (sender, mut signals) = mpsc::unbounded_channel();
        let link = Arc::new(Link::new("h:1"));
        let member = Member::new("g".into(), link, Arc::default(), sender);
        let orders = Orders::default();
        let ended = Ended(&member, &orders);
        let how = guarded(&member, || panic!("odd {}", "record"));
        assert_eq!(how, ABANDON);
        drop(ended);
        match signals.try_recv() {
            Ok(Signal::Failed(error)) => {
                assert!(error.to_string().ends_with("panicked: odd record"), "{error}")
            }
            other => panic!("not told: {other:?}"),
        }
        assert!(signals.blocking_recv().is_none(), "the signals go on");
        assert!(member.check().is_err());
        assert!(orders.wait(Duration::ZERO), "who closes would wait");
    }
}
