//! The way of a call from a process to a server and back: delays, lost answers, and the death of the
//! process at any point of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    faults::{Fault, Faults},
    lock,
    process::Process,
    timeline::Timeline,
};

/// What carries calls in this seed.
#[derive(Debug)]
pub struct Wire {
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// Where it is told.
    pub timeline: Arc<Timeline>,
}

impl Wire {
    /// Carries a call of a process: `effect` is what the server does. A dead process never gets an
    /// answer, and nothing that it calls has an effect; what it had sent before may still arrive.
    pub fn carry<T: Send + 'static>(
        self: &Arc<Self>,
        process: &Arc<Process>,
        what: &'static str,
        effect: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let (answer, answered) = oneshot::channel();
        if process.is_alive() {
            if self.faults.strikes(Fault::CrashBeforeEffect) {
                self.crash(process, what, "before its effect");
            } else {
                let crash = self.faults.strikes(Fault::CrashAfterEffect);
                let there = self.delay(Fault::SlowCall);
                let back = self.delay(Fault::SlowAnswer);
                let (wire, process) = (self.clone(), process.clone());
                tokio::spawn(async move {
                    pause(there).await;
                    if !process.is_alive() && !wire.faults.strikes(Fault::EffectAfterDeath) {
                        return;
                    }
                    let result = effect();
                    if crash && process.is_alive() {
                        wire.crash(&process, what, "after its effect");
                        return;
                    }
                    pause(back).await;
                    // Nobody listens any more where the process is dead or has given up.
                    let _ = answer.send(result);
                });
            }
        }
        Box::pin(async move {
            match answered.await {
                Ok(result) => result,
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn crash(&self, process: &Process, what: &str, when: &str) {
        self.timeline
            .add(process.name(), || format!("CRASH at {what}, {when}"));
        process.kill();
    }

    /// Short as a rule; long where that strikes.
    pub fn delay(&self, slow: Fault) -> Duration {
        let chance = self.faults.chance();
        if self.faults.strikes(slow) {
            chance.millis(20, 4_000)
        } else if self.faults.is_active() {
            chance.millis(0, 3)
        } else {
            Duration::ZERO
        }
    }
}

/// Sleeps; not at all where there is nothing to sleep.
pub async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// A server that is away for a while.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Away for so long, from now on.
    pub fn begin(&self, duration: Duration) {
        *lock(&self.0) = Some(Instant::now() + duration);
    }

    /// Back again.
    pub fn end(&self) {
        *lock(&self.0) = None;
    }

    /// Whether it is away now.
    pub fn lasts(&self) -> bool {
        lock(&self.0).is_some_and(|until| until > Instant::now())
    }

    /// Waits until it is back.
    pub async fn over(&self) {
        loop {
            let until = *lock(&self.0);
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }
}
