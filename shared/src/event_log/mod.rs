//! The port to the log: topics of partitions, records in order, consumer groups.
//!
//! Two adapters: [`kafka`] for Apache Kafka and [`embedded`] for one process without a server.
//! What both promise:
//!
//! - Records of one key that are published one after the other stand in the log in that order.
//! - A delivery that resolves to a [`Position`] is durable.
//! - A group sees every record at least once; what was stored is not delivered again.
//! - Neither [`EventLog::publish`] nor [`EventLog::subscribe`] waits for a server that is not there:
//!   the adapter goes on trying, and [`EventLog::check`] tells what it waits for.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::UnboundedReceiver;

#[cfg(feature = "embedded")]
pub mod embedded;
mod header;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lag;
#[cfg(any(feature = "embedded", feature = "kafka"))]
mod progress;
#[cfg(any(feature = "embedded", feature = "kafka"))]
mod under_way;

pub use header::{Header, HeaderName};
pub use lag::{Lag, Losses};

/// Number of a partition within its topic, from 0.
pub type Partition = i32;
/// Place of a record within its partition, from 0.
pub type Offset = i64;

/// A topic as the services need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Its name.
    pub name: String,
    /// Partitions to create it with. A topic that exists keeps its own number.
    pub partitions: Partition,
    /// Copies of each partition to create it with, 0 for as many as fit the number of brokers; an
    /// adapter without servers ignores it.
    pub replication: i32,
    /// The largest record it has to take, in bytes.
    pub max_record_bytes: usize,
}

/// A record to append. Headers keep their order and may repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Topic to append to.
    pub topic: String,
    /// Decides the partition; records without one are spread.
    pub key: Option<Vec<u8>>,
    /// Payload; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Metadata beside the payload.
    pub headers: Vec<Header>,
}

/// Where a record stands. Writes itself as `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Where it stands.
    pub position: Position,
    /// The assignment under which it was delivered; see [`Assignment`].
    pub generation: u64,
    /// As published.
    pub key: Option<Vec<u8>>,
    /// As published.
    pub value: Option<Vec<u8>>,
    /// As published.
    pub headers: Vec<Header>,
}

impl ConsumedRecord {
    /// What it weighs: key, value and headers.
    pub fn bytes(&self) -> usize {
        let weight = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter();
        let headers = headers.map(|header| header.name.as_bytes().len() + weight(&header.value));
        weight(&self.key) + weight(&self.value) + headers.sum::<usize>()
    }

    /// The assignment under which it was delivered.
    pub fn assignment(&self) -> Assignment {
        Assignment {
            topic: self.position.topic.clone(),
            partition: self.position.partition,
            generation: self.generation,
        }
    }
}

/// One partition in this consumer's hands. Each time a partition is assigned (again) it gets a
/// higher generation, so what belongs to an earlier assignment can be told and dropped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// Which assignment of it this is.
    pub generation: u64,
}

/// What a group consumer is told, in order.
#[derive(Debug)]
pub enum Signal {
    /// These partitions are ours from now on.
    Assigned(Vec<Assignment>),
    /// These are no longer; what of them is under way will be delivered to somebody again.
    Revoked(Vec<Assignment>),
    /// Records, in order within each partition. Never empty.
    Records(Vec<ConsumedRecord>),
    /// The consumer cannot go on and will deliver nothing more.
    Failed(LogError),
}

/// A member of a consumer group to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The group.
    pub group: String,
    /// The topics.
    pub topics: Vec<String>,
}

/// The hand on a subscription; its [`Signal`]s come through the receiver given with it.
pub trait Consumer: Send + Sync + 'static {
    /// Everything of this partition before `next` is done: it need not be delivered to the group
    /// again. Durable soon after, at the latest when the partition is revoked or the consumer
    /// closed. Where the assignment is over, nothing happens.
    fn store(&self, assignment: &Assignment, next: Offset);
    /// Delivers no more records until [`Consumer::resume`]; a few may still be on their way.
    fn pause(&self);
    /// Delivers again.
    fn resume(&self);
    /// Whether the group can be reached, this member is in it, and whatever it has to read is read
    /// and worked off. A no comes within 10 s, with the reason. A member without partitions is well.
    fn check(&self) -> Result<(), LogError>;
    /// How far the group is behind in the partitions of this member, as far as it is known.
    fn lag(&self) -> Vec<Lag> {
        Vec::new()
    }
    /// How often the log had lost something since the subscription began.
    fn losses(&self) -> Losses {
        Losses::default()
    }
    /// Makes durable what was stored and leaves the group; at most about `deadline`.
    fn close(&self, deadline: Duration) -> BoxFuture<'static, ()>;
}

/// Signals of a subscription, and the hand on it.
pub struct Subscribed {
    /// What happens, in order. Ends when the consumer is closed.
    pub signals: UnboundedReceiver<Signal>,
    /// Stores, pauses, closes.
    pub consumer: Arc<dyn Consumer>,
}

/// From where to read a topic outside any group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFrom {
    /// The oldest record kept.
    Beginning,
    /// The next record that is appended after [`EventLog::tail`] has returned.
    End,
}

/// A reader of all partitions of a topic outside any group: for demos, audits and measurements.
/// Dropping the receiver ends it.
pub type Tail = UnboundedReceiver<ConsumedRecord>;

/// When the record is durable: where it stands.
pub type Delivery = BoxFuture<'static, Result<Position, LogError>>;

/// A log of topics.
pub trait EventLog: Send + Sync + 'static {
    /// Creates the topics that are missing and checks those that are there. Fails where the log
    /// cannot be reached; the caller tries again.
    fn prepare(&self, topics: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>>;

    /// Appends a record. The place in the order is taken when this is called, not when the answer
    /// is awaited. While the log is away the record waits; the answer is an error only where this
    /// record will never arrive by this call.
    fn publish(&self, record: Record) -> Delivery;

    /// Joins a consumer group. A group without a stored offset begins at the oldest record.
    fn subscribe(&self, subscription: Subscription) -> Result<Subscribed, LogError>;

    /// Reads a topic outside any group.
    fn tail(&self, topic: &str, from: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>>;

    /// Whether the log can be reached now.
    fn check(&self) -> BoxFuture<'_, Result<(), LogError>>;

    /// Waits, at most `deadline`, until what was published is confirmed.
    fn close(&self, deadline: Duration) -> BoxFuture<'_, ()>;
}

/// What can go wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It cannot be reached, or not all of it; trying again may help. A record whose delivery ends
    /// so may or may not stand in the log: publish it again.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The record (or the request) is not acceptable and never will be.
    #[error("the log refused it: {0}")]
    Refused(String),
}
