//! A report for the terminal: a row a run, what all runs share once beneath, faults last and loud.

use std::fmt::Write;

use super::{
    column::{self, Column},
    facts::{self, Facts},
    group::{self, Group, Spread},
    number,
};
use crate::run::Run;

/// The width from which settings are wrapped.
const WIDTH: usize = 110;

/// A row of a group: its name, and which figure of the spread it tells.
type Told = (&'static str, fn(Spread) -> f64);

/// Rows of a run each, then medians and spreads, settings, versions, machine and faults.
pub fn table(runs: &[Run]) -> String {
    if runs.is_empty() {
        return "No run.\n".to_owned();
    }
    let mut told = String::new();
    let groups = group::groups(runs);
    for columns in [column::speed(), column::cost(runs), column::size(runs)] {
        told.push_str(&block(runs, &groups, &columns));
        told.push('\n');
    }
    told.push_str(&ratios(&groups));
    for (kind, of) in facts::KINDS {
        let facts = Facts::of(runs, of);
        if !facts.same.is_empty() {
            told.push_str(&wrapped(kind, &facts.same));
        }
        if !facts.differing.is_empty() {
            told.push_str(&differing(kind, runs, &facts.differing, of));
        }
    }
    let _ = writeln!(told, "began     {}\n", number::minute(&runs[0].began));
    if let Some(caveat) = facts::closed_loop(runs) {
        let _ = writeln!(told, "{caveat}");
    }
    told.push_str(&faults(runs));
    told
}

fn block(runs: &[Run], groups: &[Group<'_>], columns: &[Column]) -> String {
    let mut titles = vec![("", String::new())];
    titles.extend(
        columns
            .iter()
            .map(|column| (column.section, column.title.clone())),
    );
    let row = |name: &str, value: &dyn Fn(&Column) -> Option<f64>| -> Vec<String> {
        let cells = columns.iter().map(|column| column.told(value(column)));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    let rows = runs
        .iter()
        .map(|run| row(&run.name, &|column| column.value(run)))
        .collect();
    let mut summary = Vec::new();
    for group in groups.iter().filter(|group| group.runs.len() > 1) {
        let spreads: [Told; 3] = [
            ("median", |spread| spread.median),
            ("least", |spread| spread.least),
            ("most", |spread| spread.most),
        ];
        for (name, of) in spreads {
            summary.push(row(&format!("{} {name}", group.name), &|column| {
                group.spread(|run| column.value(run)).map(of)
            }));
        }
    }
    aligned(&titles, &[rows, summary])
}

/// Cells to the right, the first column to the left; a rule before each part that has rows.
fn aligned(titles: &[(&str, String)], parts: &[Vec<Vec<String>>]) -> String {
    let mut widths: Vec<usize> = titles.iter().map(|(_, title)| length(title)).collect();
    for row in parts.iter().flatten() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell));
        }
    }
    let begins = |at: usize| at == 0 || titles[at - 1].0 != titles[at].0;
    let gap = |at: usize| match at {
        0 => 0,
        _ if begins(at) => 4,
        _ => 2,
    };
    // A section's name stands over its columns: the last of them grows until it has room.
    for first in (0..titles.len()).filter(|&at| begins(at)) {
        let last = (first..titles.len())
            .take_while(|&at| at == first || !begins(at))
            .last()
            .unwrap_or(first);
        let room: usize = widths[first..=last].iter().sum::<usize>() + 2 * (last - first);
        widths[first] += length(titles[first].0).saturating_sub(room);
    }
    let line = |cells: &[String]| -> String {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[at] - length(cell));
            line.push_str(&" ".repeat(gap(at)));
            line.push_str(&if at == 0 {
                format!("{cell}{pad}")
            } else {
                format!("{pad}{cell}")
            });
        }
        format!("{}\n", line.trim_end())
    };
    let mut told = String::new();
    if titles.iter().any(|(section, _)| !section.is_empty()) {
        let mut sections = String::new();
        let mut column = 0;
        for at in 0..titles.len() {
            column += gap(at);
            if begins(at) && !titles[at].0.is_empty() {
                sections.push_str(&" ".repeat(column.saturating_sub(length(&sections))));
                sections.push_str(titles[at].0);
            }
            column += widths[at];
        }
        told.push_str(&sections);
        told.push('\n');
    }
    told.push_str(&line(
        &titles.iter().map(|(_, title)| title.clone()).collect::<Vec<_>>(),
    ));
    let all: usize = widths.iter().sum::<usize>() + (0..widths.len()).map(gap).sum::<usize>();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        told.push_str(&"─".repeat(all));
        told.push('\n');
        for row in part {
            told.push_str(&line(row));
        }
    }
    told
}

fn ratios(groups: &[Group<'_>]) -> String {
    let mut told = String::new();
    for other in groups.iter().skip(1) {
        let Some(ratio) = groups[0].ratio(other, |run| Some(run.sagas_per_second)) else {
            continue;
        };
        let pairs = ratio.range(number::times).map_or(String::new(), |range| {
            format!(" ({range}, {} pairs)", ratio.count)
        });
        let _ = writeln!(
            told,
            "{}: {} the sagas/s of {}{pairs}.",
            groups[0].name,
            number::times(ratio.median),
            other.name
        );
    }
    if !told.is_empty() {
        told.push('\n');
    }
    told
}

/// A line a value, with the runs that have it.
fn differing(kind: &str, runs: &[Run], names: &[String], of: fn(&Run) -> facts::Pairs) -> String {
    let wide = names.iter().map(|name| length(name)).max().unwrap_or(0);
    let mut told = format!("{kind} that differ\n");
    for name in names {
        for (at, (value, who)) in facts::by_value(runs, name, of).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = writeln!(told, "          {name:<wide$}  {value}  ({who})");
        }
    }
    told
}

fn wrapped(kind: &str, pairs: &[(String, String)]) -> String {
    let mut told = String::new();
    let mut line = format!("{kind:<10}");
    for (at, (name, value)) in pairs.iter().enumerate() {
        let fact = format!("{name} {value}{}", if at + 1 < pairs.len() { "; " } else { "" });
        if length(&line) > 10 && length(&line) + length(&fact) > WIDTH {
            let _ = writeln!(told, "{}", line.trim_end());
            line = " ".repeat(10);
        }
        line.push_str(&fact);
    }
    let _ = writeln!(told, "{line}");
    told
}

fn faults(runs: &[Run]) -> String {
    let faults = facts::faults(runs);
    if faults.is_empty() {
        // Runs without orders, as those of bare drivers, prove nothing about them.
        let accepted: u64 = runs.iter().map(|run| run.counts.accepted).sum();
        return match accepted {
            0 => String::new(),
            _ => format!(
                "Every one of {} accepted orders became final exactly once.\n",
                number::count(accepted)
            ),
        };
    }
    let mut told = format!(
        "!!! {} FAULT{}: ",
        faults.len(),
        if faults.len() == 1 { "" } else { "S" }
    );
    told.push_str("these figures do not count.\n");
    for (run, fault) in faults {
        let _ = writeln!(told, "!!! {run}: {fault}");
    }
    told
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn faults_are_named_with_their_run() {
        let mut runs = sample::pairs(1);
        assert!(table(&runs).contains("accepted orders became final exactly once."));
        runs[1]
            .faults
            .push("order 7 was accepted and never became final".to_owned());
        let told = table(&runs);
        assert!(
            told.contains("!!! 1 FAULT: these figures do not count."),
            "{told}"
        );
        assert!(
            told.contains("!!! naive-1: order 7 was accepted and never became final"),
            "{told}"
        );
        assert!(!told.contains("exactly once"), "{told}");
    }

    #[test]
    fn lines_of_a_block_end_where_its_rule_ends() {
        let told = table(&sample::pairs(3));
        let lines: Vec<&str> = told.lines().take_while(|line| !line.is_empty()).collect();
        assert!(
            lines.iter().skip(1).all(|line| length(line) == length(lines[2])),
            "{told}"
        );
        assert_eq!(lines.len(), 2 + 1 + 6 + 1 + 6, "{told}");
    }

    #[test]
    fn what_all_runs_share_is_told_once() {
        let told = table(&sample::pairs(3));
        assert_eq!(told.matches("64 callers").count(), 1, "{told}");
        assert_eq!(told.matches("profile").count(), 1, "{told}");
    }

    #[test]
    fn no_run_is_no_table() {
        assert_eq!(table(&[]), "No run.\n");
    }
}
