//! A membership in a group: the pump that tells records, and the hand that stores, pauses, closes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use shared::event_log::{Assignment, Consumer, LogError, Offset, Signal};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use super::Broker;
use crate::{
    faults::Fault,
    process::{Mode, Process},
    wire::pause,
};

/// How long a member that is not heard of stays one.
pub const SESSION: Duration = Duration::from_secs(6);

/// A member of a group, also after it was expelled and has joined again.
pub struct Membership {
    pub(super) process: Arc<Process>,
    pub(super) group: String,
    topics: Vec<String>,
    signals: UnboundedSender<Signal>,
    number: AtomicU64,
    paused: AtomicBool,
    flushing: AtomicBool,
    closed: AtomicBool,
    wake: Notify,
}

impl Membership {
    pub(super) fn new(
        process: Arc<Process>,
        group: String,
        topics: Vec<String>,
        signals: UnboundedSender<Signal>,
    ) -> Arc<Membership> {
        Arc::new(Membership {
            process,
            group,
            topics,
            signals,
            number: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(super) fn wants(&self, topic: &str) -> bool {
        self.topics.iter().any(|wanted| wanted == topic)
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn tell(&self, signal: Signal) {
        let nothing = matches!(&signal, Signal::Assigned(none) | Signal::Revoked(none) if none.is_empty());
        if !nothing {
            // Nobody listens where the process is dead.
            let _ = self.signals.send(signal);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Joins after a while, tells records as long as the process lives, and is expelled after its death.
pub(super) async fn run(broker: Arc<Broker>, member: Arc<Membership>) {
    let chance = broker.wire.faults.chance();
    pause(chance.millis(0, 500)).await;
    if !member.process.runs().await {
        return;
    }
    broker.join(&member);
    let (after_death, dead) = (broker.clone(), member.clone());
    tokio::spawn(async move {
        dead.process.died().await;
        pause(SESSION).await;
        after_death.remove(&dead, false);
    });
    while member.process.runs().await && !member.is_closed() {
        broker.outage.over().await;
        let paused = member.paused.load(Ordering::Relaxed);
        let batch = if paused {
            None
        } else {
            broker.next_batch(&member, chance)
        };
        match batch {
            Some(records) => {
                member.tell(records);
                pause(broker.wire.delay(Fault::SlowCall)).await;
            }
            None => member.wake.notified().await,
        }
    }
}

impl Broker {
    /// A frozen process was not heard of for too long. Once it goes on it learns of it, and joins
    /// again.
    pub fn expel(self: &Arc<Self>, member: Arc<Membership>) {
        if member.process.mode() != Mode::Frozen || !self.remove(&member, false) {
            return;
        }
        let broker = self.clone();
        tokio::spawn(async move {
            if member.process.runs().await {
                pause(broker.wire.faults.chance().millis(0, 1_000)).await;
                if member.process.is_alive() && !member.is_closed() {
                    broker.join(&member);
                }
            }
        });
    }

    /// The consumer of this process fails for good.
    pub fn fail_consumer(&self, member: &Membership) {
        self.fail(member);
        member.closed.store(true, Ordering::Relaxed);
        member.wake();
    }
}

/// What the process holds of it.
pub(super) struct Hand {
    pub(super) broker: Arc<Broker>,
    pub(super) member: Arc<Membership>,
}

impl Consumer for Hand {
    fn store(&self, assignment: &Assignment, next: Offset) {
        let (broker, member) = (self.broker.clone(), self.member.clone());
        if !member.process.is_alive()
            || !broker.store(&member, assignment, next)
            || member.flushing.swap(true, Ordering::Relaxed)
        {
            return;
        }
        tokio::spawn(async move {
            pause(broker.wire.faults.chance().millis(0, 500)).await;
            broker.outage.over().await;
            // A frozen process commits when it goes on; a dead one does not.
            let runs = member.process.runs().await;
            member.flushing.store(false, Ordering::Relaxed);
            if runs {
                broker.flush(&member);
            }
        });
    }

    fn pause(&self) {
        self.member.paused.store(true, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.member.paused.store(false, Ordering::Relaxed);
        self.member.wake();
    }

    fn check(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn close(&self, _: Duration) -> BoxFuture<'static, ()> {
        if self.member.process.is_alive() {
            self.member.closed.store(true, Ordering::Relaxed);
            self.broker.remove(&self.member, true);
            self.member.wake();
        }
        Box::pin(std::future::ready(()))
    }
}
