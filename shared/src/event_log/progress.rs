//! Whether something that should move does move.
//!
//! Pure: the caller tells the time, as a duration since whatever moment it likes, so that each adapter
//! can use its own clock and the simulation its virtual one.

use std::time::Duration;

/// For how long something may stand still before it counts as stuck. With the second or two that it
/// takes to learn that there is work to do, readiness says no within 10 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(7);

/// One thing that should move while there is work for it: a partition that is read, handlers that work
/// records off, a member that joins its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// It has had work to do and has not moved since then; `None` while it has nothing to do.
    still_since: Option<Duration>,
}

impl Progress {
    /// Whether there is work to do, as far as is known now.
    pub(super) fn has_work(&mut self, has_work: bool, now: Duration) {
        if has_work {
            self.still_since.get_or_insert(now);
        } else {
            self.still_since = None;
        }
    }

    /// It has moved. What is still to do, if anything, is counted from now.
    pub(super) fn moved(&mut self, now: Duration) {
        if let Some(since) = &mut self.still_since {
            *since = now;
        }
    }

    /// For how long it has been stuck, once that is longer than [`PATIENCE`].
    pub(super) fn stuck(&self, now: Duration) -> Option<Duration> {
        let still = now.saturating_sub(self.still_since?);
        (still >= PATIENCE).then_some(still)
    }
}

/// What a consumer says that takes no more and does nothing of what it has.
pub(super) fn handlers_stand_still(still: Duration) -> String {
    format!(
        "handlers make no progress: reading is paused and nothing was done for {} s",
        still.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_has_work_and_does_not_move_is_stuck_after_a_while() {
        let mut progress = Progress::default();
        progress.has_work(true, seconds(100));
        assert_eq!(progress.stuck(seconds(106)), None);
        // Being told again that there is work is no movement.
        progress.has_work(true, seconds(106));
        assert_eq!(progress.stuck(seconds(107)), Some(seconds(7)));
        assert_eq!(progress.stuck(seconds(160)), Some(seconds(60)));
    }

    #[test]
    fn what_moves_or_has_no_work_is_never_stuck() {
        let mut progress = Progress::default();
        assert_eq!(progress.stuck(seconds(1000)), None, "nothing was ever to do");
        for now in (0..100).step_by(5) {
            progress.has_work(true, seconds(now));
            progress.moved(seconds(now));
            assert_eq!(progress.stuck(seconds(now + 6)), None);
        }
        progress.has_work(false, seconds(100));
        assert_eq!(
            progress.stuck(seconds(1000)),
            None,
            "an idle time is no standstill"
        );
        // Nor is a movement without work the begin of one.
        progress.moved(seconds(1000));
        assert_eq!(progress.stuck(seconds(2000)), None);
    }

    #[test]
    fn work_after_an_idle_time_is_counted_from_its_own_begin() {
        let mut progress = Progress::default();
        progress.has_work(true, seconds(0));
        progress.has_work(false, seconds(1));
        progress.has_work(true, seconds(500));
        assert_eq!(progress.stuck(seconds(501)), None);
        assert_eq!(progress.stuck(seconds(507)), Some(seconds(7)));
    }
}
