//! Where a group stands in a partition: what librdkafka's statistics say, and what is under way here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{Message as _, message::BorrowedMessage, statistics};

use crate::event_log::{Lag, Offset, Partition, UnderWay};

/// Of one assignment.
#[derive(Default)]
pub(super) struct Standing {
    under_way: UnderWay<SystemTime>,
    /// Everything before is done.
    done: Option<Offset>,
    /// Where the next record of the partition will stand, as last heard.
    end: Option<Offset>,
}

impl Standing {
    /// A record is handed over. Its age is that of the log; writers' clocks decide nothing here.
    pub(super) fn delivered(&mut self, message: &BorrowedMessage<'_>) {
        let written = message.timestamp().to_millis();
        let written = written.and_then(|millis| u64::try_from(millis).ok());
        let written = written.map(|millis| UNIX_EPOCH + Duration::from_millis(millis));
        self.under_way
            .delivered(message.offset(), written.unwrap_or_else(SystemTime::now));
    }

    /// Everything before `next` is done.
    pub(super) fn done(&mut self, next: Offset) {
        self.under_way.done(next);
        self.done = Some(next);
    }

    /// What librdkafka knows of the partition; -1001 and the like stand for "not yet".
    pub(super) fn heard(&mut self, partition: &statistics::Partition) {
        if partition.hi_offset >= 0 {
            self.end = Some(partition.hi_offset);
        }
        // Before anything is done here: what the group has done, else the oldest record.
        let begin = [partition.committed_offset, partition.lo_offset];
        self.done = self.done.or(begin.into_iter().find(|offset| *offset >= 0));
    }

    /// How far behind, once that is known.
    pub(super) fn lag(&self, topic: &Arc<str>, partition: Partition) -> Option<Lag> {
        let (end, done) = (self.end?, self.done?);
        let now = SystemTime::now();
        Some(Lag {
            topic: Arc::clone(topic),
            partition,
            records: u64::try_from(end - done).unwrap_or(0),
            oldest: self
                .under_way
                .oldest()
                .map(|written| now.duration_since(written).unwrap_or_default()),
        })
    }
}
