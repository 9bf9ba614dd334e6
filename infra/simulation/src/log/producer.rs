//! What a process publishes: in order within each partition, one record after the other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use shared::event_log::{Delivery, LogError, Position, Record};
use tokio::sync::oneshot;

use super::{Broker, Place};
use crate::{faults::Fault, lock, process::Process, wire::pause};

/// The records of one process that are on their way.
pub(super) struct Producer {
    broker: Arc<Broker>,
    process: Arc<Process>,
    queues: Mutex<BTreeMap<Place, VecDeque<Waiting>>>,
}

struct Waiting {
    record: Record,
    answer: oneshot::Sender<Result<Position, LogError>>,
}

fn unavailable(what: &str) -> LogError {
    LogError::Unavailable(what.into())
}

impl Producer {
    pub(super) fn new(broker: Arc<Broker>, process: Arc<Process>) -> Arc<Producer> {
        Arc::new(Producer {
            broker,
            process,
            queues: Mutex::default(),
        })
    }

    pub(super) fn publish(self: &Arc<Self>, record: Record) -> Delivery {
        let (answer, answered) = oneshot::channel();
        if self.process.is_alive() {
            if self.broker.wire.faults.strikes(Fault::CrashBeforeEffect) {
                self.crash("before its effect");
            } else if let Some(place) = self.broker.place(&record) {
                self.enqueue(place, Waiting { record, answer });
            } else {
                self.broker.observer.refused(&record);
                return Box::pin(async { Err(LogError::Refused("there is no such topic".into())) });
            }
        }
        Box::pin(async move {
            match answered.await {
                Ok(delivered) => delivered,
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn enqueue(self: &Arc<Self>, place: Place, waiting: Waiting) {
        let mut queues = lock(&self.queues);
        let begins = !queues.contains_key(&place);
        queues.entry(place.clone()).or_default().push_back(waiting);
        if begins {
            tokio::spawn(self.clone().send(place));
        }
    }

    /// Until nothing waits any more for this partition.
    async fn send(self: Arc<Self>, place: Place) {
        let wire = self.broker.wire.clone();
        loop {
            pause(wire.delay(Fault::SlowCall)).await;
            self.broker.outage.over().await;
            let patience = wire.faults.chance().millis(500, 60_000);
            let led = self.broker.is_led(&place);
            let timed_out =
                !self.broker.has_leader(&place) && tokio::time::timeout(patience, led).await.is_err();
            if !self.process.is_alive() && !wire.faults.strikes(Fault::EffectAfterDeath) {
                return;
            }
            if timed_out || wire.faults.strikes(Fault::PublishFailed) {
                // What stands behind it must not overtake it.
                for failed in lock(&self.queues).remove(&place).into_iter().flatten() {
                    let _ = failed.answer.send(Err(unavailable("not written")));
                }
                return;
            }
            let Some(Waiting { record, answer }) = self.next(&place) else {
                return;
            };
            if wire.faults.strikes(Fault::PublishOvertaken) {
                let _ = answer.send(Err(unavailable("the producer was replaced")));
                continue;
            }
            if let Some(why) = self.broker.refuses(&record) {
                self.broker.observer.refused(&record);
                let _ = answer.send(Err(LogError::Refused(why)));
                continue;
            }
            let position = self.broker.append(&place, record);
            if wire.faults.strikes(Fault::CrashAfterEffect) && self.process.is_alive() {
                self.crash("after its effect");
                return;
            }
            let lost = wire.faults.strikes(Fault::PublishAnswerLost);
            let back = wire.delay(Fault::SlowAnswer);
            tokio::spawn(async move {
                pause(back).await;
                let told = if lost {
                    Err(unavailable("no answer"))
                } else {
                    Ok(position)
                };
                // Nobody listens where the process is dead.
                let _ = answer.send(told);
            });
        }
    }

    fn next(&self, place: &Place) -> Option<Waiting> {
        let mut queues = lock(&self.queues);
        let next = queues.get_mut(place)?.pop_front();
        if next.is_none() {
            queues.remove(place);
        }
        next
    }

    fn crash(&self, when: &str) {
        let name = self.process.name();
        self.broker
            .wire
            .timeline
            .add(name, || format!("CRASH at publish, {when}"));
        self.process.kill();
    }
}
