//! What a member of a group has in hand.

use std::collections::VecDeque;

use super::Offset;

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
