//! What a failure of a handler means for the record.

use std::time::Duration;

use super::routes::HandlerError;
use crate::{
    environment::Environment,
    parking::{Failure, Fate},
};

/// First pause before an event is tried again; doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What is done about a record that is not handled.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It has failed.
    Failed(Failure),
    /// It has to wait behind an earlier one of its key.
    Behind,
    /// Nothing: it will be delivered again.
    Abandoned,
}

/// What a record has been through, this time included.
#[derive(Debug, Clone, Copy)]
pub struct Trials {
    /// How often it was tried.
    pub attempts: u32,
    /// How long ago that was the first time.
    pub age: Duration,
}

impl Trials {
    /// It was tried for the first time.
    pub const FIRST: Trials = Trials {
        attempts: 1,
        age: Duration::ZERO,
    };
}

/// Every cause is named, so a new one does not compile until its fate is chosen. What comes too early
/// is tried as long as it is younger than `patience`.
pub fn classify(
    error: HandlerError,
    trials: Trials,
    patience: Duration,
    environment: &Environment,
) -> Verdict {
    let retry = Fate::Retry(environment.jitter(retry_pause(trials.attempts)));
    let failed = |fate, reason: &str, error| {
        Verdict::Failed(Failure {
            fate,
            reason: reason.to_owned(),
            error,
        })
    };
    match error {
        HandlerError::Transient(message) => failed(retry, "transient", message),
        HandlerError::TooEarly { code, message } if trials.age < patience => failed(retry, code, message),
        HandlerError::TooEarly { code, message } => failed(Fate::Final, code, message),
        HandlerError::Poison { code, message } => failed(Fate::Final, code, message),
        HandlerError::Behind => Verdict::Behind,
        HandlerError::Abandoned => Verdict::Abandoned,
    }
}

/// The pause after so many tries.
pub fn retry_pause(tries: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_early_is_tried_for_a_while_and_then_parked() {
        let early = || HandlerError::TooEarly {
            code: "unknown-order",
            message: "none".into(),
        };
        let environment = Environment::real();
        let patience = Duration::from_secs(30);
        let fate = |age| {
            let trials = Trials { attempts: 9, age };
            match classify(early(), trials, patience, &environment) {
                Verdict::Failed(failure) => failure.fate,
                other => panic!("it has failed, not {other:?}"),
            }
        };
        assert!(matches!(
            fate(patience - Duration::from_millis(1)),
            Fate::Retry(_)
        ));
        assert_eq!(fate(patience), Fate::Final);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(retry_pause(1), FIRST_RETRY);
        assert_eq!(retry_pause(3), FIRST_RETRY * 4);
        assert_eq!(retry_pause(1000), LONGEST_RETRY);
    }
}
