//! How far a consumer group is behind.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Offset, Partition};

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

/// The records of a partition that were delivered and are not done, with a time of each.
#[derive(Debug)]
pub(super) struct UnderWay<T>(VecDeque<(Offset, T)>);

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy> UnderWay<T> {
    /// This record is delivered; after a rebalance perhaps once more.
    pub(super) fn delivered(&mut self, offset: Offset, time: T) {
        self.0.push_back((offset, time));
    }

    /// Everything before `next` is done.
    pub(super) fn done(&mut self, next: Offset) {
        while self.0.front().is_some_and(|(offset, _)| *offset < next) {
            self.0.pop_front();
        }
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<(Offset, T)> {
        self.0.front().copied()
    }

    /// The time of the oldest.
    pub(super) fn oldest(&self) -> Option<T> {
        self.0.front().map(|(_, time)| *time)
    }
}
