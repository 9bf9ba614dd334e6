//! What has to hold, a function each, named as in the list of invariants. Each judges what was seen
//! and says what it expected and what it found.
//!
//! | | |
//! | --- | --- |
//! | I1, always | no negative reserved sum; a reservation only where the credit was available |
//! | I2 | what a customer has reserved is the sum of its held reservations |
//! | I3 | held reservations and shipped orders, one to one, of equal amounts |
//! | I4 | every order answered 2xx exists; every stored order was sent; none twice |
//! | I5 | every order is final within 30 s after the last fault, and after operators begin to clear up where its own events were parked; a parked record is tried when it is due |
//! | I6 | shipped only with a held reservation, cancelled only with a reason; final never changes |
//! | I7 | every announced event is in the log; duplicates are the same to the byte |
//! | I8 | first occurrences of an order's events stand in causal order; nothing overtakes a failed record of the same order |
//! | I9 | no outbox left, nor one whose partition has a leader while another has none; no lag, dead letters are exactly the poison; what was given up is not handled |
//! | I10 | no effect without its cause in the log |
//! | I11 | the log, replayed through the pure rules, gives the same decisions |
//! | I12 | what was read after a 2xx never goes backwards |
//! | I13 | every permit is given back; no actor has died |
//! | I15 | an order is final within I5's bound unless its own events have failed: none waits for another's failure |
//! | I16 | every answer is true: 2xx is stored, "nothing was stored" is not |
//! | I17 | with several instances and no fault, no event is published twice |
//! | I19 | a field that somebody adds to a document stays there |
//!
//! I14 (log lines) and I18 (an instance that makes no progress is not ready) are left to the tests of
//! the logging and of the adapters: the simulation's port to the log has no reader that could die.

use std::{collections::BTreeSet, fmt, time::Duration};

use shared::{document_store::DocumentKey, event_log::Offset};

use crate::seen::Seen;

pub mod always;
mod credit;
mod events;
mod orders;
mod reads;
mod replay;

pub use credit::{i2, i3};
pub use events::{i7, i8, i9, i9_led, i10, i17};
pub use orders::{FINAL_WITHIN, i4, i5, i6, i15, i16, i16_not_stored, i16_stored};
pub use reads::i12;
pub use replay::i11;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Credit is not reserved beyond what is available.
    I1,
    /// The reserved sum is right.
    I2,
    /// Reservations and shipped orders match.
    I3,
    /// What was acknowledged exists, what exists was sent.
    I4,
    /// Everything becomes final in time.
    I5,
    /// Final is final.
    I6,
    /// Nothing announced is lost or altered.
    I7,
    /// Causes stand before effects.
    I8,
    /// Nothing is left over.
    I9,
    /// Every effect has its cause.
    I10,
    /// The rules give the same decisions.
    I11,
    /// Reading never goes backwards.
    I12,
    /// What was taken is given back.
    I13,
    /// No order waits for another's failure.
    I15,
    /// Answers are true.
    I16,
    /// Nothing is published twice without need.
    I17,
    /// Fields that a service does not know stay.
    I19,
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What it says of this case.
    pub expected: String,
    /// What is the case.
    pub found: String,
}

impl Violation {
    /// This was expected, that was found.
    pub fn new(invariant: Invariant, expected: impl Into<String>, found: impl Into<String>) -> Violation {
        Violation {
            invariant,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            invariant,
            expected,
            found,
        } = self;
        write!(f, "{invariant:?}: expected {expected}; found {found}")
    }
}

/// Everything at rest, to be judged.
#[derive(Debug, Clone, Default)]
pub struct AtRest {
    /// What has happened.
    pub seen: Seen,
    /// When the last fault was over.
    pub healed: Duration,
    /// Documents with events that are not marked as published.
    pub outboxes: Vec<DocumentKey>,
    /// Parked records that are not dealt with.
    pub parked: usize,
    /// By consumer group, records that are not done.
    pub lag: Vec<(&'static str, Offset)>,
    /// By process, commands whose permit is not given back.
    pub permits: Vec<(String, usize)>,
    /// Events that the log refuses for good.
    pub refused: BTreeSet<String>,
    /// Events that stand in outboxes.
    pub waiting: BTreeSet<String>,
    /// The log takes no dead letters.
    pub no_letters: bool,
    /// Nothing went wrong.
    pub calm: bool,
    /// Fields that somebody had added to documents and that are gone.
    pub missing_fields: Vec<String>,
}

/// A field that somebody has added to a document is still there.
pub fn i19(rest: &AtRest) -> Result<(), Violation> {
    match rest.missing_fields.first() {
        None => Ok(()),
        Some(missing) => Err(Violation::new(
            Invariant::I19,
            "every field that was added by hand is still there",
            format!("{missing} is gone"),
        )),
    }
}

/// Every permit is given back.
pub fn i13(rest: &AtRest) -> Result<(), Violation> {
    match rest.permits.iter().find(|(_, missing)| *missing > 0) {
        None => Ok(()),
        Some((process, missing)) => Err(Violation::new(
            Invariant::I13,
            "every permit is given back once all is quiet",
            format!("{missing} permits of {process} are not"),
        )),
    }
}

/// Judges everything at rest; what was judged at once is part of what was seen.
pub fn judge(rest: &AtRest) -> Vec<Violation> {
    let judges = [i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i13, i16, i17, i19];
    let at_rest = judges.iter().filter_map(|judge| judge(rest).err());
    rest.seen.violations.iter().cloned().chain(at_rest).collect()
}

/// All of these, or the first that fails.
fn all<T>(
    of: impl IntoIterator<Item = T>,
    judge: impl Fn(T) -> Result<(), Violation>,
) -> Result<(), Violation> {
    of.into_iter().try_for_each(judge)
}
