//! Latency by percentile.

use super::{
    super::{
        group::Group,
        number,
        svg::{Mark, Stroke, Svg, panel::Panel, ruler::Ruler},
    },
    Plot, WIDTH, series,
};
use crate::run::{Latency, Run};

/// A latency of a run, and its name.
type Kind = (&'static str, fn(&Run) -> &Latency);

/// How many times as long as the shortest the longest is when the axis changes to powers of ten.
const WIDE: f64 = 15.0;

/// The last percentile that is drawn.
const END: f64 = 99.99;

/// Without the legend.
const HEIGHT: f64 = 380.0;

/// Completed and acknowledged, all runs over each other; the typical run of a group is bold.
pub fn latency(groups: &[Group<'_>]) -> Option<Plot> {
    let kinds: [Kind; 2] = [
        ("completed", |run| &run.completed),
        ("acknowledged", |run| &run.acknowledged),
    ];
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let all: Vec<(f64, f64)> = runs()
        .flat_map(|run| kinds.iter().flat_map(|kind| curve((kind.1)(run))))
        .collect();
    let of = |pick: fn(&(f64, f64)) -> f64, best: fn(f64, f64) -> f64| all.iter().map(pick).reduce(best);
    let (low, high) = (of(|point| point.1, f64::min)?, of(|point| point.1, f64::max)?);
    let end = of(|point| point.0, f64::max)?.min(END);

    let shown: Vec<_> = kinds
        .iter()
        .filter(|kind| runs().any(|run| (kind.1)(run).count > 0))
        .collect();
    let mut legend = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        for kind in &shown {
            let stroke = if kind.0 == "completed" {
                Stroke::Bold
            } else {
                Stroke::Dashed
            };
            legend.push((
                series(at),
                Mark::Line(stroke),
                format!("{} {}", group.name, kind.0),
            ));
        }
    }
    let mut svg = Svg::new("Latency by percentile", WIDTH, HEIGHT + 20.0);
    let lines = svg.legend(70.0, 20.0, WIDTH, &legend) as f64;
    svg.grow(lines * 20.0);
    let panel = Panel {
        left: 70.0,
        top: 50.0 + lines * 20.0,
        width: WIDTH - 110.0,
        height: HEIGHT - 60.0,
        x: Ruler::percentile(end),
        y: if high / low.max(1e-6) >= WIDE {
            Ruler::log(low, high, number::millis)
        } else {
            Ruler::linear(high, 5, number::millis)
        },
    };
    panel.frame(
        &mut svg,
        "Milliseconds from the intended start, by share of orders that took no longer",
        true,
    );
    for (at, group) in groups.iter().enumerate() {
        let typical = group.typical();
        for run in group
            .runs
            .iter()
            .filter(|run| run.name != typical.name)
            .chain([&typical])
        {
            for (kind, of) in &shown {
                let stroke = match (*kind == "completed", run.name == typical.name) {
                    (true, true) => Stroke::Bold,
                    (true, false) => Stroke::Thin,
                    (false, true) => Stroke::Dashed,
                    (false, false) => Stroke::ThinDashed,
                };
                let name = format!("{} {kind}", run.name);
                let points = curve(of(run));
                svg.line(&panel.all(points.iter().copied()), series(at), stroke, &name);
                if run.name == typical.name {
                    for mark in [50.0, 90.0, 99.0, 99.9] {
                        if let Some(millis) = read(&points, mark) {
                            let told = format!("{name}, p{mark}: {}", number::millis(millis));
                            svg.point(panel.at(mark, millis), series(at), &told);
                        }
                    }
                }
            }
        }
    }
    Some(Plot {
        file: "latency".to_owned(),
        heading: "Latency by percentile".to_owned(),
        hint: "Each step to the right holds a tenth of the orders of the step before: the tail is drawn as large as the rest. \
               Solid: until the final event is in the log. Dotted: until the request is answered.",
        svg,
    })
}

/// The curve as far as its samples carry it: the slowest of a hundred says nothing about 99.9 %.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let points = if latency.curve.is_empty() {
        vec![
            (50.0, latency.p50),
            (90.0, latency.p90),
            (99.0, latency.p99),
            (99.9, latency.p999),
        ]
    } else {
        latency.curve.clone()
    };
    let carried = 100.0 * (1.0 - 1.0 / latency.count.max(1) as f64);
    points
        .into_iter()
        .filter(|(at, millis)| *at <= carried.min(END + 1e-9) && millis.is_finite() && *millis > 0.0)
        .collect()
}

/// The curve's value at a percentile within it.
fn read(points: &[(f64, f64)], percentile: f64) -> Option<f64> {
    let after = points.iter().position(|(at, _)| *at >= percentile)?;
    let (right, millis) = points[after];
    if right == percentile {
        return Some(millis);
    }
    let (left, before) = points[after.checked_sub(1)?];
    Some(before + (millis - before) * (percentile - left) / (right - left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_its_samples_end() {
        let latency = Latency {
            count: 100,
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
            p999: 4.0,
            ..Latency::default()
        };
        assert_eq!(curve(&latency).last(), Some(&(99.0, 3.0)));
        assert!(curve(&Latency::default()).is_empty());
    }

    #[test]
    fn a_curve_is_read_between_its_points() {
        let points = [(40.0, 1.0), (60.0, 2.0)];
        assert_eq!(read(&points, 50.0), Some(1.5));
        assert_eq!(read(&points, 60.0), Some(2.0));
        assert_eq!((read(&points, 30.0), read(&points, 99.0)), (None, None));
    }
}
