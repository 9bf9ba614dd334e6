//! What an audit finds: each difference in a line, and how much was checked. An invariant that was
//! checked on nothing says so; silence is not taken for success.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// What has to hold, once everything is quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Invariant {
    /// No customer has less than nothing reserved; a reservation is made only within the credit.
    I1,
    /// What a customer has reserved is the sum of the held reservations.
    I2,
    /// Held reservations and shipped orders belong together, one to one, with equal amounts.
    I3,
    /// Every order that was acknowledged exists; every order that exists was sent.
    I4,
    /// Every order becomes final in time.
    I5,
    /// A final order has its reason and never changes.
    I6,
    /// Every event is in the log at least once; duplicates are equal to the byte.
    I7,
    /// The events of an order stand in causal order.
    I8,
    /// Nothing is left: no outbox, no lag; the dead letters are exactly the poison.
    I9,
    /// Nothing happened without its cause in the log.
    I10,
    /// Replaying the log gives the same decisions.
    I11,
    /// What was read after an acknowledgement never goes backwards.
    I12,
    /// Memory, file handles and permits return to where they were.
    I13,
    /// No secret and no raw control character of a request is in the log output.
    I14,
    /// No order waits for what is wrong with something else.
    I15,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Invariant; 15] = {
        use Invariant::*;
        [I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I13, I14, I15]
    };

    /// In a few words.
    pub fn promise(self) -> &'static str {
        match self {
            Invariant::I1 => "credit is never over-reserved",
            Invariant::I2 => "reserved is the sum of the held reservations",
            Invariant::I3 => "held reservations are shipped orders, one to one",
            Invariant::I4 => "every acknowledged order exists, every order was sent",
            Invariant::I5 => "every order is final in time",
            Invariant::I6 => "a final order has its reason and never changes",
            Invariant::I7 => "every event is in the log, duplicates are equal",
            Invariant::I8 => "events stand in causal order",
            Invariant::I9 => "no outbox, no lag, dead letters are the poison",
            Invariant::I10 => "no effect without its cause in the log",
            Invariant::I11 => "replaying the log gives the same decisions",
            Invariant::I12 => "what was read never goes backwards",
            Invariant::I13 => "memory, handles and permits come back",
            Invariant::I14 => "no secret, no control character in the logs",
            Invariant::I15 => "no order waits for another's failure",
        }
    }
}

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
        write!(f, "{:?} {}: {}", self.invariant, self.about, self.text)
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
        let checked = Invariant::ALL.into_iter().filter(|one| self.checked(*one) > 0);
        let lines = checked.map(|invariant| {
            let verdict = match self.found(invariant) {
                0 => "holds ".to_owned(),
                found => format!("BROKEN {found} times"),
            };
            let name = format!("{invariant:?}");
            let promise = invariant.promise();
            format!(
                "{name:<4}{verdict} ({} checks)  {promise}\n",
                self.checked(invariant)
            )
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
            differences.check(Invariant::I2, number, Some("is wrong".into()));
        }
        differences.check(Invariant::I3, "order", None);
        assert_eq!((differences.iter().count(), differences.total()), (KEPT, 250));
        assert_eq!(differences.found(Invariant::I3), 0);
        assert!(
            differences
                .summary()
                .contains("I2  BROKEN 250 times (250 checks)")
        );
        assert!(!differences.summary().contains("I5"), "not checked, not told");
    }
}
