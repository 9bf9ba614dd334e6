//! What has to hold, exactly, once everything is quiet; I1 and I12 at every moment. Reports, README and
//! mutants name an invariant by its code.
//!
//! Who checks it: the [`Simulation`] after each seed, [`Chaos`] by
//! its audit or during its run, or only [`Tests`] beside the code concerned.

use std::fmt;

use serde::{Serialize, Serializer};

/// Who looks whether an invariant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checker {
    /// `infra/simulation`: services on one thread, under seeded faults.
    Simulation,
    /// `infra/chaos`: real processes under faults, and the audit of any running system.
    Chaos,
    /// Tests of the crate concerned.
    Tests,
}

use Checker::{Chaos, Simulation, Tests};

macro_rules! invariants {
    ($($code:ident $name:ident $promise:literal $($checker:ident)+,)+) => {
        /// One of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = concat!(stringify!($code), ": ", $promise, ".")] $name),+
        }

        impl Invariant {
            /// All of them, in the order of their codes.
            pub const ALL: &[Invariant] = &[$(Invariant::$name),+];

            /// Its code, such as `I1`.
            pub const fn code(self) -> &'static str {
                match self { $(Invariant::$name => stringify!($code)),+ }
            }

            /// What holds, in a sentence.
            pub const fn promise(self) -> &'static str {
                match self { $(Invariant::$name => $promise),+ }
            }

            /// Who looks.
            pub const fn checked_by(self) -> &'static [Checker] {
                match self { $(Invariant::$name => &[$($checker),+]),+ }
            }
        }
    };
}

invariants! {
    I1 WithinCredit "credit is never over-reserved" Simulation Chaos,
    I2 ReservedIsSumOfHeld "reserved is the sum of the held reservations" Simulation Chaos,
    I3 HeldIsShipped "held reservations are shipped orders, one to one" Simulation Chaos,
    I4 StoredIsSent "every acknowledged order exists, every order was sent" Simulation Chaos,
    I5 FinalInTime "every order is final in time" Simulation Chaos,
    I6 FinalStays "a final order has its reason and never changes" Simulation Chaos,
    I7 AnnouncedIsInLog "every event is in the log, duplicates are equal" Simulation Chaos,
    I8 CauseBeforeEffect "events stand in causal order" Simulation Chaos,
    I9 NothingLeft "no outbox, no lag, dead letters are the poison" Simulation Chaos,
    I10 EffectHasCause "no effect without its cause in the log" Simulation Chaos,
    I11 ReplayAgrees "replaying the log gives the same decisions" Simulation Chaos,
    I12 ReadsGoForward "what was read never goes backwards" Simulation Chaos,
    I13 TakenComesBack "memory, handles and permits come back" Simulation Chaos,
    I14 LogLinesClean "no secret, no control character in the logs" Chaos Tests,
    I15 NoneWaitsForOthers "no order waits for another's failure" Simulation Chaos,
    I16 AnswersAreTrue "every answer is true" Simulation Tests,
    I17 PublishedOnce "with several instances and no fault no event is published twice" Simulation Tests,
    I18 StuckIsNotReady "an instance that makes no progress is not ready, and says why" Tests,
    I19 UnknownFieldsStay "a field that somebody adds to a document stays there" Simulation Tests,
}

impl Invariant {
    /// Those that this one looks at.
    pub fn of(checker: Checker) -> impl Iterator<Item = Invariant> {
        let all = Invariant::ALL.iter().copied();
        all.filter(move |invariant| invariant.checked_by().contains(&checker))
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for Invariant {
    /// The code.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_count_up_without_a_gap() {
        let codes = Invariant::ALL.iter().map(ToString::to_string);
        let expected = (1..=19).map(|number| format!("I{number}"));
        assert_eq!(codes.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}
