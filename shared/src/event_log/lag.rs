//! How far a consumer group is behind.

use std::{sync::Arc, time::Duration};

use super::Partition;

/// How far a group is behind in one partition of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// Records that can be read and are not done. Counted in offsets: markers of transactions among them
    /// are counted too, but never those at the end.
    pub records: u64,
    /// The age of the oldest record that is not done, as the log has its time; `None` where there is none
    /// or, for a moment, where it was not delivered and nobody has asked for its time yet.
    pub oldest: Option<Duration>,
}

/// How often the log had lost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Records were gone before they were read.
    pub gaps: u64,
    /// Offsets went back: a topic was made anew, or a broker lost its end.
    pub resets: u64,
}
