//! What changed while a run went on.

use super::{
    super::{
        group::Group,
        number,
        svg::{Colour, Mark, Stroke, Svg, panel::Panel, ruler::Ruler},
    },
    Plot, WIDTH, file_part, process,
};
use crate::run::{Moment, Run};

/// More points than this are not seen: they are drawn as means (rates) or maxima (the rest).
const POINTS: usize = 240;

/// Name, colour, stroke and value of a line.
type Line = (&'static str, Colour, Stroke, fn(&Moment) -> u64);

const RATES: [Line; 4] = [
    ("offered", "load", Stroke::Dashed, |moment| moment.offered),
    ("accepted", "s5", Stroke::Bold, |moment| moment.accepted),
    ("finished", "s0", Stroke::Bold, |moment| moment.finished),
    ("503", "s1", Stroke::Bold, |moment| moment.refused),
];

/// What was sampled of each process: title, values, how they are told, and in which unit.
type Sampled = (
    &'static str,
    fn(&Moment) -> &[(String, u64)],
    fn(f64) -> String,
    f64,
);

/// Rates, backlog and 99th percentile of the typical run of each group.
pub fn time(groups: &[Group<'_>]) -> Vec<Plot> {
    groups
        .iter()
        .filter(|group| group.typical().timeline.len() > 1)
        .map(one)
        .collect()
}

fn one(group: &Group<'_>) -> Plot {
    let run = group.typical();
    let end = run.timeline.iter().map(|moment| moment.at).fold(0.0, f64::max);
    let lines: Vec<Line> = RATES
        .into_iter()
        .filter(|(_, _, _, of)| run.timeline.iter().any(|moment| of(moment) > 0))
        .collect();
    let rates: Vec<Vec<(f64, f64)>> = lines
        .iter()
        .map(|(_, _, _, of)| {
            thin(&run.timeline, |part, seconds| {
                part.iter().map(|moment| of(moment) as f64).sum::<f64>() / seconds
            })
        })
        .collect();
    let backlog = thin(&run.timeline, |part, _| {
        most(part.iter().map(|moment| moment.backlog as f64))
    });
    let slow = thin(&run.timeline, |part, _| {
        // Where nothing was finished there is no percentile either.
        most(
            part.iter()
                .filter(|moment| moment.finished > 0)
                .map(|moment| moment.p99),
        )
    });

    let mut svg = Svg::new(format!("Throughput and backlog of {}", run.name), WIDTH, 520.0);
    let legend: Vec<_> = lines
        .iter()
        .map(|line| (line.1, Mark::Line(line.2), line.0.to_owned()))
        .collect();
    svg.legend(300.0, 26.0, WIDTH, &legend);
    let panel = |top: f64, height: f64, y: Ruler| Panel {
        left: 80.0,
        top,
        width: WIDTH - 110.0,
        height,
        x: Ruler::time(end),
        y,
    };
    let high = |points: &[(f64, f64)]| most(points.iter().map(|point| point.1));

    let highest = most(rates.iter().map(|points| high(points)));
    let above = panel(38.0, 190.0, Ruler::linear(highest, 5, number::quantity));
    above.frame(&mut svg, "Orders per second", false);
    for ((name, colour, stroke, _), points) in lines.iter().zip(&rates) {
        svg.line(&above.all(points.iter().copied()), colour, *stroke, name);
    }
    let middle = panel(276.0, 80.0, Ruler::linear(high(&backlog), 2, number::quantity));
    middle.frame(&mut svg, "Backlog: accepted and not yet final", false);
    let points = middle.all(backlog);
    svg.area(&points, middle.bottom(), "broker", "backlog");
    svg.line(&points, "broker", Stroke::Bold, "backlog");
    let below = panel(404.0, 80.0, Ruler::linear(high(&slow), 2, number::millis));
    below.frame(&mut svg, "99th percentile of those finished in that second", true);
    svg.line(&below.all(slow), "s0", Stroke::Bold, "99th percentile");

    let several = group.runs.len() > 1;
    let which = if several {
        format!("{}, the median of {}", run.name, group.runs.len())
    } else {
        run.name.clone()
    };
    Plot {
        file: format!("time-{}", file_part(group.name)),
        heading: format!("Throughput and backlog: {which}"),
        hint: "A backlog that grows means that orders are accepted faster than they are finished.",
        svg,
    }
}

/// Resident memory and open handles of the typical run of each group, where they were sampled.
pub fn memory(groups: &[Group<'_>]) -> Vec<Plot> {
    groups
        .iter()
        .filter_map(|group| resources(group.typical(), group.name))
        .collect()
}

fn resources(run: &Run, group: &str) -> Option<Plot> {
    let kinds: [Sampled; 2] = [
        (
            "Resident memory",
            |moment| &moment.resident,
            |size| number::bytes(size * 1024.0 * 1024.0),
            1024.0 * 1024.0,
        ),
        ("Open handles", |moment| &moment.handles, number::quantity, 1.0),
    ];
    let sampled: Vec<_> = kinds
        .into_iter()
        .filter(|(_, of, ..)| {
            run.timeline
                .iter()
                .filter(|moment| !of(moment).is_empty())
                .count()
                > 1
        })
        .collect();
    if sampled.is_empty() {
        return None;
    }
    let end = run.timeline.iter().map(|moment| moment.at).fold(0.0, f64::max);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in run
        .timeline
        .iter()
        .flat_map(|moment| moment.resident.iter().chain(&moment.handles))
    {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut svg = Svg::new(format!("Memory and handles of {}", run.name), WIDTH, 330.0);
    let legend: Vec<_> = names
        .iter()
        .map(|name| (process(name), Mark::Line(Stroke::Bold), (*name).to_owned()))
        .collect();
    svg.legend(80.0, 20.0, WIDTH, &legend);
    let share = WIDTH / sampled.len() as f64;
    for (at, (title, of, format, unit)) in sampled.iter().enumerate() {
        let value = |moment: &Moment, name: &str| {
            let (_, value) = of(moment).iter().find(|(known, _)| known == name)?;
            Some(*value as f64 / unit)
        };
        let lines: Vec<(&str, Vec<(f64, f64)>)> = names
            .iter()
            .map(|name| {
                let sampled =
                    |part: &[Moment], _: f64| most(part.iter().filter_map(|moment| value(moment, name)));
                (*name, thin(&run.timeline, sampled))
            })
            .collect();
        let highest = most(
            lines
                .iter()
                .flat_map(|(_, points)| points.iter().map(|point| point.1)),
        );
        let panel = Panel {
            left: at as f64 * share + 80.0,
            top: 68.0,
            width: share - 110.0,
            height: 220.0,
            x: Ruler::time(end),
            y: Ruler::linear(highest, 5, format),
        };
        panel.frame(&mut svg, title, true);
        for (name, points) in lines {
            svg.line(&panel.all(points), process(name), Stroke::Bold, name);
        }
    }
    Some(Plot {
        file: format!("memory-{}", file_part(group)),
        heading: format!("Memory and handles: {}", run.name),
        hint: "Lines that stay flat: nothing leaks.",
        svg,
    })
}

/// At most about [`POINTS`] parts of the timeline, each told by its end and one value; `of` is given
/// the part and its seconds.
fn thin(timeline: &[Moment], of: impl Fn(&[Moment], f64) -> f64) -> Vec<(f64, f64)> {
    let size = timeline.len().div_ceil(POINTS).max(1);
    let mut begin = 0.0;
    let mut points = Vec::new();
    let mut from = 0;
    for to in (size..timeline.len()).step_by(size).chain([timeline.len()]) {
        let Some(end) = timeline[from..to].last().map(|moment| moment.at) else {
            continue;
        };
        // A run ends within a second: what is left over says too little of a rate.
        if to < timeline.len() || end - begin >= 0.5 || points.is_empty() {
            points.push((end, of(&timeline[from..to], end - begin)));
        }
        (from, begin) = (to, end);
    }
    points
}

/// The largest number; not a number if there is none.
fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_timeline_is_drawn_with_few_points() {
        let timeline: Vec<Moment> = (1..=1800)
            .map(|at| Moment {
                at: f64::from(at),
                backlog: at as u64,
                ..Moment::default()
            })
            .collect();
        let points = thin(&timeline, |part, _| {
            most(part.iter().map(|moment| moment.backlog as f64))
        });
        assert!(points.len() <= POINTS);
        assert_eq!(points.last(), Some(&(1800.0, 1800.0)));
    }

    #[test]
    fn a_rate_is_by_the_second_where_the_last_entry_is_shorter() {
        let moment = |at, finished| Moment {
            at,
            finished,
            ..Moment::default()
        };
        let rate = |part: &[Moment], seconds: f64| {
            part.iter().map(|moment| moment.finished as f64).sum::<f64>() / seconds
        };
        let points = thin(&[moment(1.0, 100), moment(2.0, 100), moment(2.5, 50)], rate);
        assert_eq!(points, [(1.0, 100.0), (2.0, 100.0), (2.5, 100.0)]);
        let points = thin(&[moment(1.0, 100), moment(1.01, 9)], rate);
        assert_eq!(points, [(1.0, 100.0)]);
        assert!(thin(&[], rate).is_empty());
    }
}
