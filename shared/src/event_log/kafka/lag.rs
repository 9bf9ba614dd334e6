//! Where a group stands in a partition: what librdkafka tells, what is under way here, and what
//! follows from both.
//!
//! Offsets alone do not tell what is left to do. Markers of transactions and aborted records take
//! offsets but are never handed over, so "committed" may stay below the end for ever. What librdkafka
//! has looked at without handing anything over counts as done too.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rdkafka::statistics;

use crate::event_log::{Lag, Offset, Partition, progress::Progress, under_way::UnderWay};

/// After a `resume` librdkafka begins again behind the last record handed over, but for a moment its
/// statistics still show how far it had read ahead before.
const SETTLES: Duration = Duration::from_secs(3);
/// A partition of which nothing came for so long is asked for its ends: librdkafka learns of them only
/// with what it fetches.
const QUIET: Duration = Duration::from_secs(2);

/// Of one assignment. Times are since any fixed moment.
#[derive(Default)]
pub(super) struct Standing {
    /// Delivered and not done, each with the time that the log has of it.
    under_way: UnderWay<SystemTime>,
    /// What the group had committed when the assignment began.
    committed: Option<Offset>,
    /// The place after the last record that was handed over.
    next: Option<Offset>,
    /// Nothing before it is left to be handed over, says librdkafka.
    looked: Option<Offset>,
    /// Where the next readable record will stand, as the last answer to a fetch had it.
    fetched_end: Option<Offset>,
    /// The same, as the broker said when it was asked.
    asked_end: Option<Offset>,
    /// The oldest record that the log still has.
    begin: Option<Offset>,
    /// A place where offsets jumped ahead, and when, until it is known why.
    jump: Option<(Offset, Offset, Duration)>,
    /// A first record in front of what was committed, until it is known why.
    before_committed: Option<Offset>,
    /// A record that is not read, with when it was written.
    first_unread: Option<(Offset, SystemTime)>,
    /// Whether what is unread is delivered.
    pub(super) reading: Progress,
    last_delivery: Duration,
    believes_from: Duration,
}

/// Something about the log that somebody should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upset {
    /// Records from the first offset up to the second are gone, and were never read.
    Gap(Offset, Offset),
    /// The log goes on at the second offset, in front of the first, where it was before.
    Back(Offset, Offset),
}

impl Standing {
    /// An assignment that begins now.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            last_delivery: now,
            believes_from: now + SETTLES,
            ..Self::default()
        }
    }

    /// The first record of what follows after offsets went back: everything before it is done.
    pub(super) fn anew(offset: Offset, now: Duration) -> Self {
        Self {
            committed: Some(offset),
            next: Some(offset),
            ..Self::new(now)
        }
    }

    /// What the group has committed, before anything is delivered.
    pub(super) fn begins_at(&mut self, committed: Offset) {
        self.committed = Some(committed);
    }

    /// A record is handed over, written then. Says so where the offsets went back.
    pub(super) fn delivered(&mut self, offset: Offset, written: SystemTime, now: Duration) -> Option<Upset> {
        match (self.next, self.position()) {
            (Some(next), _) if offset < next => return Some(Upset::Back(next, offset)),
            (_, Some(position)) if offset > position => {
                self.jump.get_or_insert((position, offset, now));
            }
            (None, Some(position)) if offset < position => self.before_committed = Some(offset),
            _ => {}
        }
        self.under_way.delivered(offset, written);
        self.next = Some(offset + 1);
        self.last_delivery = now;
        self.reading.moved(now);
        None
    }

    /// Everything before `next` is done.
    pub(super) fn done(&mut self, next: Offset) {
        self.under_way.done(next);
    }

    /// What librdkafka read ahead is thrown away or fetched again.
    pub(super) fn paused_or_resumed(&mut self, now: Duration) {
        self.looked = None;
        self.believes_from = now + SETTLES;
        self.reading.has_work(false, now);
    }

    /// What librdkafka knows of the partition; -1001 and the like stand for "not yet".
    pub(super) fn heard(
        &mut self,
        partition: &statistics::Partition,
        paused: bool,
        now: Duration,
    ) -> Option<Upset> {
        let known = |offset: Offset| (offset >= 0).then_some(offset);
        self.fetched_end = known(partition.ls_offset)
            .or(known(partition.hi_offset))
            .or(self.fetched_end);
        // The queue is that of all partitions, which is as good: it is empty most of the time.
        if partition.fetchq_cnt == 0 && !paused && now >= self.believes_from {
            self.looked = known(partition.next_offset);
        }
        self.learned(known(partition.lo_offset), paused, now)
    }

    /// What a broker said when it was asked for the ends of the partition.
    pub(super) fn asked(&mut self, begin: Offset, end: Offset, paused: bool, now: Duration) -> Option<Upset> {
        self.asked_end = Some(end);
        self.learned(Some(begin), paused, now)
    }

    fn learned(&mut self, begin: Option<Offset>, paused: bool, now: Duration) -> Option<Upset> {
        self.begin = begin.or(self.begin);
        let upset = self.upset(now);
        self.reading.has_work(!paused && self.unread().is_some(), now);
        upset
    }

    fn upset(&mut self, now: Duration) -> Option<Upset> {
        let begin = self.begin?;
        if let Some(first) = self.before_committed
            && let (Some(end), Some(committed)) = (self.end(), self.committed)
        {
            self.before_committed = None;
            if end < committed {
                return Some(Upset::Back(committed, first));
            }
        }
        if let Some((from, to, when)) = self.jump {
            if begin > from {
                self.jump = None;
                return Some(Upset::Gap(from, begin.min(to)));
            }
            // What is told a little later is from after the jump, which then lies within what the log
            // has: markers, or records that compaction removed.
            if now >= when + SETTLES {
                self.jump = None;
            }
        }
        let position = self.position().filter(|position| *position < begin)?;
        self.next = Some(begin);
        Some(Upset::Gap(position, begin))
    }

    /// Where the next record is expected.
    fn position(&self) -> Option<Offset> {
        self.next.or(self.committed).max(self.looked)
    }

    fn end(&self) -> Option<Offset> {
        self.fetched_end.max(self.asked_end)
    }

    /// From where to where there is something to read.
    pub(super) fn unread(&self) -> Option<(Offset, Offset)> {
        let (position, end) = (self.position().or(self.begin)?, self.end()?);
        (position < end).then_some((position, end))
    }

    /// The first unread record, if nothing is under way before it and its age is not known.
    pub(super) fn of_unknown_age(&self) -> Option<Offset> {
        let (offset, _) = self.unread().filter(|_| !self.is_busy())?;
        let known = self.first_unread.is_some_and(|(known, _)| known == offset);
        (!known).then_some(offset)
    }

    /// When that record was written.
    pub(super) fn written(&mut self, offset: Offset, when: SystemTime) {
        self.first_unread = Some((offset, when));
    }

    /// Records are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.oldest().is_some()
    }

    /// Whether librdkafka may not know where the partition ends.
    pub(super) fn is_quiet(&self, now: Duration) -> bool {
        now.saturating_sub(self.last_delivery) >= QUIET
    }

    /// How far behind, once that is known.
    pub(super) fn lag(&self, topic: &Arc<str>, partition: Partition) -> Option<Lag> {
        let end = self.end()?;
        let unread = self.unread().map(|(offset, _)| offset);
        let unread = self.first_unread.filter(|(offset, _)| Some(*offset) == unread);
        let oldest = self.under_way.first().or(unread);
        let done = oldest
            .map(|(offset, _)| offset)
            .or(self.position())
            .or(self.begin)?;
        let now = SystemTime::now();
        Some(Lag {
            topic: Arc::clone(topic),
            partition,
            records: u64::try_from(end - done).unwrap_or(0),
            // Clocks of writers may be ahead.
            oldest: oldest.map(|(_, written)| now.duration_since(written).unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Statistics of a partition: what it has from where to where, and how far librdkafka has looked.
    fn known(begin: Offset, end: Offset, looked: Offset) -> statistics::Partition {
        statistics::Partition {
            lo_offset: begin,
            hi_offset: end,
            ls_offset: end,
            next_offset: looked,
            ..statistics::Partition::default()
        }
    }

    fn take(standing: &mut Standing, offsets: std::ops::Range<Offset>, now: u64) {
        for offset in offsets {
            assert_eq!(standing.delivered(offset, SystemTime::now(), seconds(now)), None);
        }
    }

    fn records(standing: &Standing) -> Option<u64> {
        standing.lag(&"t".into(), 0).map(|lag| lag.records)
    }

    #[test]
    fn markers_at_the_end_are_no_lag_and_no_standstill() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(0);
        take(&mut standing, 0..3, 1);
        // Three aborted records and a marker behind.
        standing.heard(&known(0, 7, 7), false, seconds(5));
        assert_eq!(records(&standing), Some(7), "three are under way");
        standing.done(3);
        assert_eq!(records(&standing), Some(0));
        assert_eq!(standing.reading.stuck(seconds(100)), None);
    }

    #[test]
    fn what_is_not_read_is_lag_and_in_time_a_standstill() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(4);
        standing.heard(&known(0, 9, 4), false, seconds(5));
        assert_eq!(records(&standing), Some(5));
        standing.heard(&known(0, 9, 4), false, seconds(12));
        assert_eq!(standing.reading.stuck(seconds(12)), Some(seconds(7)));
        assert_eq!(standing.unread(), Some((4, 9)));
        take(&mut standing, 4..9, 13);
        standing.heard(&known(0, 9, 9), false, seconds(14));
        assert_eq!(standing.reading.stuck(seconds(100)), None);
    }

    #[test]
    fn a_pause_leaves_the_lag_as_it_is_and_is_no_standstill_of_reading() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(0);
        take(&mut standing, 0..10, 1);
        standing.done(10);
        standing.paused_or_resumed(seconds(4));
        // It had read ahead and thrown that away; the broker says how much there is.
        standing.heard(&known(0, 10, 60), true, seconds(8));
        standing.asked(0, 90, true, seconds(20));
        assert_eq!(records(&standing), Some(80));
        assert_eq!(standing.reading.stuck(seconds(100)), None);
        // What it had looked at is not believed at once after the pause either.
        standing.paused_or_resumed(seconds(100));
        standing.heard(&known(0, 90, 60), false, seconds(101));
        assert_eq!(records(&standing), Some(80));
    }

    #[test]
    fn records_that_went_before_they_were_read_are_a_gap_and_jumps_within_the_log_are_none() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(10);
        take(&mut standing, 60..61, 1);
        assert_eq!(
            standing.heard(&known(0, 61, 61), false, seconds(2)),
            None,
            "from before the jump"
        );
        assert_eq!(
            standing.heard(&known(60, 61, 61), false, seconds(3)),
            Some(Upset::Gap(10, 60))
        );
        take(&mut standing, 70..71, 4);
        assert_eq!(standing.heard(&known(60, 71, 71), false, seconds(9)), None);
        // Retention that comes later concerns what was read.
        assert_eq!(standing.heard(&known(71, 71, 71), false, seconds(90)), None);
        standing.done(71);
        standing.asked(80, 90, true, seconds(100));
        assert_eq!(
            records(&standing),
            Some(10),
            "what is gone is no lag: 80 to 89 are left"
        );
    }

    #[test]
    fn offsets_that_went_back_are_told_and_what_follows_stands_for_itself() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(0);
        take(&mut standing, 0..100, 1);
        let back = standing.delivered(0, SystemTime::now(), seconds(2));
        assert_eq!(back, Some(Upset::Back(100, 0)));
        let mut standing = Standing::anew(0, seconds(2));
        take(&mut standing, 0..20, 2);
        standing.heard(&known(0, 20, 20), false, seconds(9));
        standing.done(20);
        assert_eq!(records(&standing), Some(0));
    }

    #[test]
    fn a_first_record_before_what_was_committed_is_a_reset_only_where_the_log_ends_before_it() {
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(100);
        take(&mut standing, 0..1, 1);
        assert_eq!(
            standing.heard(&known(0, 20, 1), false, seconds(2)),
            Some(Upset::Back(100, 0))
        );
        let mut standing = Standing::new(seconds(0));
        standing.begins_at(100);
        take(&mut standing, 95..96, 1);
        assert_eq!(standing.heard(&known(0, 120, 96), false, seconds(2)), None);
    }

    #[test]
    fn a_record_from_the_future_is_of_now() {
        let mut standing = Standing::new(seconds(0));
        let ahead = SystemTime::now() + seconds(3600);
        standing.delivered(0, ahead, seconds(1));
        standing.heard(&known(0, 1, 1), false, seconds(2));
        let lag = standing.lag(&"t".into(), 0).unwrap();
        assert_eq!((lag.records, lag.oldest), (1, Some(Duration::ZERO)));
    }
}
