//! What a failure of a handler means for the record.

use std::time::Duration;

use super::routes::HandlerError;
use crate::{
    environment::Environment,
    parking::{Failure, Fate, LONGEST_PAUSE},
};

/// First pause before an event is tried again; doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// What is done about a record that is not handled.
#[derive(Debug, PartialEq)]
pub enum Diagnosis {
    /// It has failed.
    Failed(Failure),
    /// Nothing: it will be delivered again.
    Abandoned,
}

/// What a consumer does not give up on, and for how long.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    pub group: &'a str,
    /// How long what comes too early is tried.
    pub patience: Duration,
    pub environment: &'a Environment,
}

/// Every cause is named, so a new one does not compile until its fate is chosen. `attempts` were made,
/// this one included. What comes too early is tried until it has waited for `patience` between them:
/// the pauses are counted, since a clock may jump.
pub fn classify(error: HandlerError, attempts: u32, desk: &Patience<'_>) -> Diagnosis {
    let Patience {
        group,
        patience,
        environment,
    } = *desk;
    let retry = Fate::Retry(environment.jitter(retry_pause(attempts)));
    let failed = |fate, reason: &str, error| {
        Diagnosis::Failed(Failure {
            fate,
            reason: reason.to_owned(),
            error,
            group: group.to_owned(),
        })
    };
    match error {
        HandlerError::Transient(message) => failed(retry, "transient", message),
        HandlerError::TooEarly { code, message } if waited(attempts) < patience => {
            failed(retry, code, message)
        }
        HandlerError::TooEarly { code, message } => failed(Fate::Final, code, message),
        HandlerError::Poison { code, message } => failed(Fate::Final, code, message),
        HandlerError::Abandoned => Diagnosis::Abandoned,
    }
}

/// How long it has waited between so many tries.
fn waited(attempts: u32) -> Duration {
    (1..attempts).map(retry_pause).sum()
}

/// The pause after so many tries.
pub fn retry_pause(tries: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(1 << tries.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_early_is_tried_for_a_while_and_then_parked() {
        let early = || HandlerError::TooEarly {
            code: "unknown-parcel",
            message: "none".into(),
        };
        let environment = Environment::real();
        let desk = Patience {
            group: "g",
            patience: Duration::from_secs(30),
            environment: &environment,
        };
        let fate = |attempts| match classify(early(), attempts, &desk) {
            Diagnosis::Failed(failure) => failure.fate,
            other => panic!("it has failed, not {other:?}"),
        };
        // 0.1 s + 0.2 s + … + 12.8 s are 25.5 s.
        assert!(matches!(fate(1), Fate::Retry(_)));
        assert!(matches!(fate(9), Fate::Retry(_)));
        assert_eq!(fate(10), Fate::Final);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(retry_pause(1), FIRST_RETRY);
        assert_eq!(retry_pause(3), FIRST_RETRY * 4);
        assert_eq!(retry_pause(1000), LONGEST_PAUSE);
    }
}
