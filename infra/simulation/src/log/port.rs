//! The log as one process sees it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use shared::event_log::{
    Delivery, EventLog, LogError, Record, Subscribed, Subscription, Tail, TailFrom, TopicSettings,
};
use tokio::sync::mpsc;

use super::{
    Broker, Membership, consumed,
    consumer::{self, Hand},
    producer::Producer,
};
use crate::{lock, process::Process};

/// A process's hand on the log.
pub struct LogPort {
    broker: Arc<Broker>,
    process: Arc<Process>,
    producer: Arc<Producer>,
    membership: Mutex<Option<Arc<Membership>>>,
}

impl LogPort {
    /// For this process.
    pub fn new(broker: Arc<Broker>, process: Arc<Process>) -> LogPort {
        LogPort {
            producer: Producer::new(broker.clone(), process.clone()),
            broker,
            process,
            membership: Mutex::default(),
        }
    }

    /// The membership of this process, once it has subscribed.
    pub fn membership(&self) -> Option<Arc<Membership>> {
        lock(&self.membership).clone()
    }
}

impl EventLog for LogPort {
    fn prepare(&self, topics: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>> {
        let broker = self.broker.clone();
        self.broker.wire.carry(&self.process, "prepare", move || {
            if broker.outage.lasts() {
                return Err(LogError::Unavailable("the log is away".into()));
            }
            broker.prepare(&topics);
            Ok(())
        })
    }

    fn publish(&self, record: Record) -> Delivery {
        self.producer.publish(record)
    }

    fn subscribe(&self, subscription: Subscription) -> Result<Subscribed, LogError> {
        let (sender, signals) = mpsc::unbounded_channel();
        let Subscription { group, topics } = subscription;
        let member = Membership::new(self.process.clone(), group, topics, sender);
        *lock(&self.membership) = Some(member.clone());
        tokio::spawn(consumer::run(self.broker.clone(), member.clone()));
        let consumer = Arc::new(Hand {
            broker: self.broker.clone(),
            member,
        });
        Ok(Subscribed { signals, consumer })
    }

    /// What stands there now: nobody follows a topic in the simulation.
    fn tail(&self, topic: &str, from: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>> {
        let (sender, tail) = mpsc::unbounded_channel();
        if from == TailFrom::Beginning {
            for (position, record) in self.broker.records(topic) {
                let _ = sender.send(consumed(position, 0, &record));
            }
        }
        Box::pin(std::future::ready(Ok(tail)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        let broker = self.broker.clone();
        self.broker.wire.carry(&self.process, "check", move || {
            if broker.outage.lasts() {
                Err(LogError::Unavailable("the log is away".into()))
            } else {
                Ok(())
            }
        })
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
