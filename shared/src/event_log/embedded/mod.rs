//! The log in one process: durable in a data directory, or purely in memory; no server.
//!
//! What it promises beside the port:
//!
//! - A delivery that resolves is on the disk; publishes that arrive meanwhile share a commit.
//! - Consumers are told only what is durable, and by notification: an idle log does nothing.
//! - A rebalance moves as few partitions as possible, and takes a partition from one member before
//!   it gives it to another.
//! - Stored offsets ride along with the next publish, or follow after [`OFFSETS_LINGER`]; a crash
//!   within that time costs a redelivery, nothing else.
//!
//! When the disk fails, everything published until the failure is known is answered with an error,
//! so no later record of a key overtakes an earlier one that its publisher still believes in.
//!
//! There is no retention: every record is kept. A log that outgrows its disk has outgrown this
//! adapter.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
};

use super::{
    Delivery, EventLog, LogError, Offset, Record, Subscribed, Subscription, Tail, TailFrom, TopicSettings,
};
use crate::embedded::{Engine, EngineError};

mod append;
mod codec;
mod consumer;
mod groups;
mod pump;
mod tables;
mod tail;
#[cfg(test)]
mod tests;

use append::{Batch, Pending};
use consumer::GroupConsumer;
use groups::{Group, MemberId};

/// How long a stored offset may wait for a publish to ride along with.
pub const OFFSETS_LINGER: Duration = Duration::from_millis(100);
/// A consumer is told at most so many records of a partition beyond its stored offset. It bounds
/// what a consumer that falls behind holds in memory; one that never stores stops there.
pub const MAX_AHEAD: Offset = 4096;
/// At most so many records in one signal …
const MAX_BATCH_RECORDS: usize = 256;
/// … and about so many bytes.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The log. Services in one process share it as an `Arc`.
#[derive(Debug)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

/// Shared with consumers; pumps and tails hold it weakly, so a log that nobody holds closes.
#[derive(Debug)]
struct Inner {
    engine: Engine,
    state: Arc<Shared>,
}

/// What callbacks of the engine may hold: everything but the engine.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<Arc<str>, Topic>,
    groups: BTreeMap<String, Group>,
    /// Whom to wake when a topic grows.
    tails: BTreeMap<u64, (Arc<str>, Arc<Notify>)>,
    /// Published and not yet taken by a transaction.
    pending: Vec<Pending>,
    /// The last number given to a member, a tail or an assignment.
    last_number: u64,
}

#[derive(Debug, Clone)]
struct Topic {
    id: u32,
    max_record_bytes: usize,
    /// For each partition the offset after its last durable record.
    ends: Vec<Offset>,
    /// Where the next record without a key goes.
    next_spread: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Shares the partitions of a group out again and tells its members.
    fn rebalance(&mut self, group: &str) {
        let Self {
            topics,
            groups,
            last_number,
            ..
        } = self;
        if let Some(group) = groups.get_mut(group) {
            group.rebalance(topics, last_number);
        }
    }

    fn leave(&mut self, group: &str, member: MemberId) {
        if let Some(found) = self.groups.get_mut(group) {
            found.remove(member);
            self.rebalance(group);
        }
    }
}

impl EmbeddedLog {
    /// The log in `<directory>/log.redb`, made where it is missing.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, EngineError> {
        Self::on(Engine::open(&directory.as_ref().join("log.redb"))?)
    }

    /// A log that is gone with its last handle. It has no thread, so a simulation on one thread and
    /// paused time is deterministic.
    pub fn in_memory() -> Result<Self, EngineError> {
        Self::on(Engine::in_memory()?)
    }

    /// A log on a database of the caller's: whoever keeps that keeps the records, which is how a
    /// simulation restarts a process.
    pub fn on(engine: Engine) -> Result<Self, EngineError> {
        let (topics, offsets) = engine.read(|transaction| {
            Ok((
                tables::read_topics(transaction)?,
                tables::read_offsets(transaction)?,
            ))
        })?;
        let mut groups = BTreeMap::<String, Group>::new();
        for (group, topic, partition, next) in offsets {
            let name = topics
                .iter()
                .find(|(_, found)| found.id == topic)
                .map(|(name, _)| Arc::clone(name));
            if let Some(name) = name {
                groups.entry(group).or_default().restore((name, partition), next);
            }
        }
        let state = Arc::new(Shared(Mutex::new(State {
            topics,
            groups,
            ..State::default()
        })));
        Ok(Self {
            inner: Arc::new(Inner { engine, state }),
        })
    }
}

impl Inner {
    /// Queues a transaction that takes everything pending: records and stored offsets.
    fn submit_pending(&self, then: Option<oneshot::Sender<Result<(), LogError>>>) {
        let batch = Arc::new(Mutex::new(Batch::default()));
        let (of_job, state) = (Arc::clone(&batch), Arc::clone(&self.state));
        let for_done = Arc::clone(&self.state);
        self.engine.submit(
            move |transaction| {
                let mut batch = of_job.lock().unwrap_or_else(PoisonError::into_inner);
                *batch = Batch::take(&mut state.lock());
                batch.append(transaction)
            },
            move |outcome| {
                let outcome = outcome.map_err(LogError::from);
                let batch = std::mem::take(&mut *batch.lock().unwrap_or_else(PoisonError::into_inner));
                batch.finish(&for_done, &outcome);
                if let Some(then) = then {
                    // Whoever asked may have gone.
                    drop(then.send(outcome));
                }
            },
        );
    }

    /// As [`Inner::submit_pending`]; resolves when everything published and stored until now is durable.
    fn flush(&self) -> impl Future<Output = Result<(), LogError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.submit_pending(Some(answer));
        async move {
            answered
                .await
                .unwrap_or_else(|_| Err(EngineError::stopped().into()))
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Pumps and tails find the log gone and end.
        let state = self.state.lock();
        state.groups.values().for_each(Group::wake_all);
        state.tails.values().for_each(|(_, wake)| wake.notify_one());
    }
}

impl EventLog for EmbeddedLog {
    fn prepare(&self, topics: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>> {
        if let Some(wrong) = topics.iter().find(|topic| topic.partitions < 1) {
            let refused = LogError::Refused(format!(
                "topic {} with {} partitions",
                wrong.name, wrong.partitions
            ));
            return Box::pin(async { Err(refused) });
        }
        let state = Arc::clone(&self.inner.state);
        let written = self.inner.engine.write(move |transaction| {
            let prepared = tables::create_topics(transaction, &topics)?;
            Ok(prepared)
        });
        Box::pin(async move {
            let prepared = written.await?;
            let mut state = state.lock();
            for (name, topic) in prepared {
                let max_record_bytes = topic.max_record_bytes;
                state.topics.entry(name).or_insert(topic).max_record_bytes = max_record_bytes;
            }
            // Somebody may have subscribed before the topic was there.
            let groups: Vec<String> = state.groups.keys().cloned().collect();
            groups.iter().for_each(|group| state.rebalance(group));
            Ok(())
        })
    }

    fn publish(&self, record: Record) -> Delivery {
        let (pending, answered) = match Pending::new(record) {
            Ok(pending) => pending,
            Err(refused) => return Box::pin(async { Err(refused) }),
        };
        let first = pending.enqueue(&mut self.inner.state.lock());
        match first {
            Ok(true) => self.inner.submit_pending(None),
            // The transaction that will take the one before takes this one too.
            Ok(false) => {}
            Err(refused) => return Box::pin(async { Err(refused) }),
        }
        Box::pin(append::delivery(answered))
    }

    fn subscribe(&self, subscription: Subscription) -> Result<Subscribed, LogError> {
        let runtime = runtime()?;
        let Subscription { group, topics } = subscription;
        let (signals, receiver) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        let member = {
            let mut state = self.inner.state.lock();
            let member = state.next_number();
            let topics = topics.iter().map(|topic| Arc::from(topic.as_str())).collect();
            let joined = state.groups.entry(group.clone()).or_default();
            joined.join(member, topics, signals.clone(), Arc::clone(&wake));
            state.rebalance(&group);
            member
        };
        runtime.spawn(pump::run(
            Arc::downgrade(&self.inner),
            group.clone(),
            member,
            signals,
            wake,
        ));
        let consumer = Arc::new(GroupConsumer::new(Arc::clone(&self.inner), group, member));
        Ok(Subscribed {
            signals: receiver,
            consumer,
        })
    }

    fn tail(&self, topic: &str, from: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>> {
        let tail = runtime().and_then(|runtime| tail::start(&self.inner, topic, from, &runtime));
        Box::pin(async { tail })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(self.inner.engine.check().await?) })
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        let flushed = self.inner.flush();
        Box::pin(async move {
            match tokio::time::timeout(deadline, flushed).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::error!("closing the log: {error}"),
                Err(_) => log::error!("closing the log: not everything is durable within {deadline:?}"),
            }
        })
    }
}

impl From<EngineError> for LogError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::InUse { .. }
            | EngineError::NewerSchema { .. }
            | EngineError::Unavailable(_)
            | EngineError::OutcomeUnknown(_)
            | EngineError::Unfit(_) => Self::Unavailable(error.to_string()),
        }
    }
}

fn runtime() -> Result<Handle, LogError> {
    Handle::try_current()
        .map_err(|error| LogError::Refused(format!("consuming needs a tokio runtime: {error}")))
}
