//! What has to hold, a function each, named by the code in the table of [`Invariant`]. Each judges what
//! was seen and says what it expected and what it found.
//!
//! What is special here: I5 allows an order whose own events were parked until operators begin to clear
//! up, and a parked record is tried when it is due; I9 excuses no outbox because another partition has no
//! leader, and what was given up is not handled; I13 is about permits, and no actor dies.

use std::{collections::BTreeSet, fmt, time::Duration};

pub use invariants::Invariant;
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
        write!(f, "{invariant}: expected {expected}; found {found}")
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
            Invariant::UnknownFieldsStay,
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
            Invariant::TakenComesBack,
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
