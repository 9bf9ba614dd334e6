//! When an open document is announced again, because a log can lose what it had confirmed: with longer
//! and longer pauses, so that a service that was away is not drowned when it comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{document_store::numbers, environment::Timestamp};

/// The pause between announcements doubles so often.
const DOUBLINGS: u32 = 7;

/// How a document that stays open was announced again. It stands in the document, so that instances
/// share the work without talking to each other: whoever writes it first announces, and the version
/// guard makes the others look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedAgain {
    /// How often.
    #[serde(deserialize_with = "numbers::whole")]
    pub times: u32,
    /// When last.
    pub last: Timestamp,
}

/// How long a document waits between its announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause, after it was created.
    pub after: Duration,
    /// Whether each pause is twice the one before.
    pub double: bool,
}

impl Pauses {
    /// How long a document that was announced again so often waits for the next time.
    pub fn before_next(self, times: u32) -> Duration {
        let doublings = if self.double { times.min(DOUBLINGS) } else { 0 };
        self.after * 2u32.pow(doublings)
    }

    /// What stands in a document once it is announced again, which has been open `since` then; `None`
    /// where that is not due.
    pub fn announce_again(
        self,
        since: Timestamp,
        before: Option<AnnouncedAgain>,
        now: Timestamp,
    ) -> Option<AnnouncedAgain> {
        let (since, times) = before.map_or((since, 0), |before| (before.last, before.times));
        // Not even the first pause is waited out where the time is of another clock.
        let due = since.is_past(self.before_next(times), now) || since > now.after(self.after);
        due.then(|| AnnouncedAgain {
            times: times.saturating_add(1),
            last: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses {
        after: Duration::from_secs(30),
        double: true,
    };

    fn second(second: i64) -> Timestamp {
        Timestamp(1_000_000 + second * 1000)
    }

    #[test]
    fn an_open_document_is_announced_again_with_pauses_that_double() {
        let (mut again, mut announced) = (None, Vec::new());
        for now in 0..=30 * 15 {
            let due = PAUSES.announce_again(second(0), again, second(now));
            if due.is_some() {
                announced.push(now);
                again = due;
            }
        }
        assert_eq!(announced, [30, 90, 210, 450]);
        assert_eq!(again.map(|again| again.times), Some(4));
    }

    #[test]
    fn who_comes_second_finds_the_document_announced() {
        let announced = PAUSES.announce_again(second(0), None, second(30));
        assert!(announced.is_some());
        assert_eq!(PAUSES.announce_again(second(0), announced, second(31)), None);
    }

    #[test]
    fn a_process_that_was_just_started_does_not_wait_for_the_doubled_pause() {
        let often = Some(AnnouncedAgain {
            times: 6,
            last: second(100),
        });
        let first = Pauses {
            double: false,
            ..PAUSES
        };
        assert_eq!(PAUSES.announce_again(second(0), often, second(130)), None);
        assert_eq!(first.announce_again(second(0), often, second(129)), None);
        assert!(first.announce_again(second(0), often, second(130)).is_some());
    }

    #[test]
    fn a_clock_that_ran_ahead_does_not_silence_a_document() {
        assert!(PAUSES.announce_again(second(100_000), None, second(0)).is_some());
    }
}
