//! How throughput and cost change when one thing grows and the rest stays.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{column, group::Spread, markdown::cell, number, page, plots, save, save_plots, svg::escape};
use crate::run::Run;

/// What grows.
#[derive(Debug, Clone)]
pub struct Axis {
    /// `stored orders`.
    pub name: String,
    /// From the smallest.
    pub points: Vec<Point>,
}

/// One size.
#[derive(Debug, Clone)]
pub struct Point {
    /// Where it stands on the axis.
    pub at: f64,
    /// What is written there: `10,000`, `Zipf`.
    pub label: String,
    /// At least one; of several, median and spread are told.
    pub runs: Vec<Run>,
}

/// Writes `growth.svg`, `growth.md`, `runs.json` and `index.html` into the folder; returns the page's path.
pub fn growth(folder: &Path, axes: &[Axis]) -> anyhow::Result<PathBuf> {
    let runs: Vec<Run> = axes
        .iter()
        .flat_map(|axis| &axis.points)
        .flat_map(|point| point.runs.iter().cloned())
        .collect();
    save(folder, "runs.json", &serde_json::to_string_pretty(&runs)?)?;
    save(folder, "growth.md", &table(axes))?;
    let plots = [plots::growth(axes)];
    save_plots(folder, &plots)?;

    let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
    let mut body = format!(
        "<header><h1>Growth</h1>\n<p>{}</p></header>\n",
        escape(&names.join(" · "))
    );
    body.push_str(&page::verdict(&runs));
    body.push_str(&page::durability(&runs));
    for plot in &plots {
        body.push_str(&page::figure(plot));
    }
    body.push_str("<section><h2>All points</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for (at, title) in TITLES.into_iter().enumerate() {
        let _ = write!(
            body,
            "<th{}>{title}</th>",
            if at < 2 { " style=\"text-align:left\"" } else { "" }
        );
    }
    body.push_str("</tr></thead>\n<tbody>\n");
    for row in rows(axes) {
        let cells = row
            .iter()
            .skip(2)
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect::<String>();
        let _ = writeln!(
            body,
            "<tr><th>{}</th><th>{}</th>{cells}</tr>",
            escape(&row[0]),
            escape(&row[1])
        );
    }
    body.push_str("</tbody>\n</table></div></section>\n");
    body.push_str(&page::circumstances(&runs));
    save(folder, "index.html", &page::whole("Load: growth", &body))
}

const TITLES: [&str; 8] = [
    "axis",
    "at",
    "sagas/s",
    "against the first",
    "CPU ms a saga",
    "against the first",
    "completed p50 ms",
    "completed p99 ms",
];

/// A GitHub table of all points.
pub fn table(axes: &[Axis]) -> String {
    let mut told = format!(
        "| {} |\n| --- | --- |{}\n",
        TITLES.join(" | "),
        " ---: |".repeat(TITLES.len() - 2)
    );
    for row in rows(axes) {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        let _ = writeln!(told, "| {} |", cells.join(" | "));
    }
    told
}

fn rows(axes: &[Axis]) -> Vec<[String; 8]> {
    let speed = |run: &Run| Some(run.sagas_per_second);
    let mut rows = Vec::new();
    for axis in axes {
        for point in &axis.points {
            let spread = |of: &dyn Fn(&Run) -> Option<f64>, point: &Point| {
                Spread::of(point.runs.iter().filter_map(of))
            };
            let told = |of: &dyn Fn(&Run) -> Option<f64>| match spread(of, point) {
                Some(spread) => match spread.range(number::quantity) {
                    Some(range) => format!("{} ({range})", number::quantity(spread.median)),
                    None => number::quantity(spread.median),
                },
                None => number::NONE.to_owned(),
            };
            let against = |of: &dyn Fn(&Run) -> Option<f64>| {
                let (first, this) = (
                    axis.points.first().and_then(|first| spread(of, first)),
                    spread(of, point),
                );
                match (first, this) {
                    (Some(first), Some(this)) => number::times(this.median / first.median),
                    _ => number::NONE.to_owned(),
                }
            };
            rows.push([
                axis.name.clone(),
                point.label.clone(),
                told(&speed),
                against(&speed),
                told(&column::cpu_total),
                against(&column::cpu_total),
                told(&|run| column::latency(&run.completed, |latency| latency.p50)),
                told(&|run| column::latency(&run.completed, |latency| latency.p99)),
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_series_is_told_as_plot_and_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/report-sample/growth");
        let axes = sample::axes();
        let page = growth(&folder, &axes).unwrap();
        let html = std::fs::read_to_string(page).unwrap();
        for axis in &axes {
            assert!(html.contains(&format!("{}: sagas per second", axis.name)));
        }
        let told = std::fs::read_to_string(folder.join("growth.md")).unwrap();
        assert_eq!(
            told.lines().count(),
            2 + axes.iter().map(|axis| axis.points.len()).sum::<usize>()
        );
        assert!(
            told.lines()
                .all(|line| line.matches('|').count() == TITLES.len() + 1),
            "{told}"
        );
    }

    #[test]
    fn no_series_is_told_too() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/report-sample/no-growth");
        assert!(growth(&folder, &[]).is_ok());
        assert!(
            growth(
                &folder,
                &[Axis {
                    name: "none".to_owned(),
                    points: Vec::new()
                }]
            )
            .is_ok()
        );
    }
}
