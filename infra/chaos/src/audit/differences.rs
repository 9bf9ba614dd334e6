//! What an audit finds: each difference in a line, and how much was checked. An invariant that was
//! checked on nothing says so; silence is not taken for success.

use std::{collections::BTreeMap, fmt};

pub use invariants::Invariant;
use serde::Serialize;

/// Something that does not fit together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it breaks.
    pub invariant: Invariant,
    /// What it is about, with its id: `order 0190…`.
    pub about: String,
    /// What should be, what is, and where to look.
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.about, self.text)
    }
}

/// Differences that are kept for each invariant; more are counted.
const KEPT: usize = 100;

/// All that was found, and how much was checked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Differences {
    kept: Vec<Difference>,
    found: BTreeMap<Invariant, u64>,
    checked: BTreeMap<Invariant, u64>,
}

impl Differences {
    /// One check of this invariant; `fault` says what is wrong, if anything is.
    pub fn check(&mut self, invariant: Invariant, about: impl fmt::Display, fault: Option<String>) {
        *self.checked.entry(invariant).or_default() += 1;
        let Some(text) = fault else { return };
        let found = self.found.entry(invariant).or_default();
        *found += 1;
        if *found <= KEPT as u64 {
            let about = about.to_string();
            self.kept.push(Difference {
                invariant,
                about,
                text,
            });
        }
    }

    /// Adds what another part of the check found.
    pub fn extend(&mut self, other: Differences) {
        self.kept.extend(other.kept);
        for (invariant, count) in other.found {
            *self.found.entry(invariant).or_default() += count;
        }
        for (invariant, count) in other.checked {
            *self.checked.entry(invariant).or_default() += count;
        }
    }

    /// How many checks were made.
    pub fn checked(&self, invariant: Invariant) -> u64 {
        self.checked.get(&invariant).copied().unwrap_or(0)
    }

    /// How many of them failed.
    pub fn found(&self, invariant: Invariant) -> u64 {
        self.found.get(&invariant).copied().unwrap_or(0)
    }

    /// How many failed in all.
    pub fn total(&self) -> u64 {
        self.found.values().sum()
    }

    /// The first of each invariant, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.kept.iter()
    }

    /// A line for each invariant that was checked.
    pub fn summary(&self) -> String {
        let lines = self.checked.iter().map(|(invariant, checks)| {
            let verdict = match self.found(*invariant) {
                0 => "holds ".to_owned(),
                found => format!("BROKEN {found} times"),
            };
            let promise = invariant.promise();
            format!("{invariant:<4}{verdict} ({checks} checks)  {promise}\n")
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_be_read_is_counted() {
        let mut differences = Differences::default();
        for number in 0..250 {
            differences.check(Invariant::ReservedIsSumOfHeld, number, Some("is wrong".into()));
        }
        differences.check(Invariant::HeldIsShipped, "order", None);
        assert_eq!((differences.iter().count(), differences.total()), (KEPT, 250));
        assert_eq!(differences.found(Invariant::HeldIsShipped), 0);
        assert!(
            differences
                .summary()
                .contains("I2  BROKEN 250 times (250 checks)")
        );
        assert!(!differences.summary().contains("I5"), "not checked, not told");
    }
}
