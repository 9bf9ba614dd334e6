//! The figures to reach, as a table for a README.

use std::fmt::Write;

use super::{
    facts::{self, Facts},
    number,
};
use crate::run::Run;

/// One figure: what was to be reached and what was.
#[derive(Debug, Clone)]
pub struct Figure {
    /// `P1`.
    pub id: String,
    /// What is measured.
    pub what: String,
    /// What was to be reached: `≥ 10×`.
    pub target: String,
    /// The median.
    pub measured: String,
    /// The smallest and the largest.
    pub spread: String,
    /// Whether the target is reached.
    pub reached: bool,
    /// What is to be said about it.
    pub note: String,
}

/// A GitHub table, and beneath it when, on what and with which settings it was measured. What differs
/// between the runs is left out there: it is what the table compares.
pub fn markdown(figures: &[Figure], runs: &[Run]) -> String {
    let mut told = "| | figure | target | measured | spread | reached | |\n".to_owned();
    told.push_str("| --- | --- | ---: | ---: | ---: | :---: | --- |\n");
    for figure in figures {
        let reached = if figure.reached { "yes" } else { "**no**" };
        let cells = [
            &figure.id,
            &figure.what,
            &figure.target,
            &format!("**{}**", figure.measured),
            &figure.spread,
            &reached.to_owned(),
            &figure.note,
        ];
        let _ = writeln!(told, "| {} |", cells.map(|text| cell(text)).join(" | "));
    }
    let Some(first) = runs.first() else { return told };
    let machine = &first.machine;
    let _ = write!(
        told,
        "\nMeasured {} on {} × {}, {}, {}.",
        number::minute(&first.began),
        machine.cores,
        machine.processor,
        number::bytes(machine.memory_bytes as f64),
        machine.system
    );
    let versions = Facts::of(runs, facts::versions).same;
    if !versions.is_empty() {
        let _ = write!(told, " {}.", facts::line(&versions));
    }
    let settings = Facts::of(runs, facts::settings).same;
    let (durable, others): (Vec<_>, Vec<_>) = settings.into_iter().partition(facts::is_durability);
    if !durable.is_empty() {
        let _ = write!(told, " Durability: **{}**.", facts::line(&durable));
    }
    if !others.is_empty() {
        let _ = write!(told, " Settings: {}.", facts::line(&others));
    }
    told.push('\n');
    let faults = facts::faults(runs);
    if !faults.is_empty() {
        let _ = writeln!(
            told,
            "\n**{} faults: these figures do not count.**\n",
            faults.len()
        );
        for (run, fault) in faults {
            let _ = writeln!(told, "- {run}: {fault}");
        }
    }
    told
}

/// Text as it may stand in a cell.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    fn figure(id: &str, reached: bool) -> Figure {
        Figure {
            id: id.to_owned(),
            what: "sagas/s against the naive profile".to_owned(),
            target: "≥ 10×".to_owned(),
            measured: "12.3×".to_owned(),
            spread: "11.8–12.9".to_owned(),
            reached,
            note: "a | b".to_owned(),
        }
    }

    #[test]
    fn what_was_not_reached_is_told_as_plainly() {
        let told = markdown(&[figure("P1", true), figure("P2", false)], &sample::pairs(2));
        assert!(
            told.contains(
                "| P1 | sagas/s against the naive profile | ≥ 10× | **12.3×** | 11.8–12.9 | yes | a \\| b |"
            ),
            "{told}"
        );
        assert!(told.contains("| **no** |"), "{told}");
        assert!(told.contains("Measured 2026-11-25 11:29 UTC on 2 × "), "{told}");
        assert!(
            told.contains("Durability: **MongoDB w:majority, journaled"),
            "{told}"
        );
        assert!(!told.contains("profile fast"), "{told}");
    }

    #[test]
    fn faults_follow_the_table() {
        let mut runs = sample::pairs(1);
        runs[0].faults.push("order 7 is lost".to_owned());
        assert!(markdown(&[], &runs).contains("- fast-1: order 7 is lost"));
    }
}
