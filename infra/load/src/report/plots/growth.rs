//! How throughput and cost change along an axis: small multiples, a row an axis.

use super::{
    super::{
        column,
        group::Spread,
        growth::{Axis, Point},
        number,
        svg::{Colour, Mark, Stroke, Svg, panel::Panel, ruler::Ruler},
    },
    Plot, WIDTH, process,
};
use crate::run::Run;

const ROW: f64 = 240.0;
const HEAD: f64 = 30.0;
/// Half the length of the lines at the ends of a spread.
const CAP: f64 = 5.0;

/// Left sagas per second, right CPU time per saga in all and by process; bars show the spread.
pub fn growth(axes: &[Axis]) -> Plot {
    let all: Vec<Run> = axes
        .iter()
        .flat_map(|axis| &axis.points)
        .flat_map(|point| point.runs.clone())
        .collect();
    let names = column::processes(&all);
    let mut svg = Svg::new(
        "Throughput and cost along each axis",
        WIDTH,
        HEAD + axes.len() as f64 * ROW,
    );
    let mut legend = vec![("ink", Mark::Line(Stroke::Bold), "all processes".to_owned())];
    legend.extend(
        names
            .iter()
            .map(|name| (process(name), Mark::Line(Stroke::Thin), name.clone())),
    );
    svg.legend(80.0, 20.0, WIDTH, &legend);
    for (at, axis) in axes.iter().enumerate() {
        let top = HEAD + at as f64 * ROW + 40.0;
        let places: Vec<(f64, String)> = axis
            .points
            .iter()
            .map(|point| (point.at, point.label.clone()))
            .collect();
        let panel = |column: f64, quantity: &dyn Fn(&Run) -> Option<f64>, format: fn(f64) -> String| {
            let most = axis
                .points
                .iter()
                .filter_map(|point| Some(spread(point, quantity)?.most))
                .fold(0.0, f64::max);
            Panel {
                left: column * WIDTH / 2.0 + 80.0,
                top,
                width: WIDTH / 2.0 - 130.0,
                height: ROW - 80.0,
                x: Ruler::places(&places),
                y: Ruler::linear(most, 5, format),
            }
        };
        let speed = |run: &Run| Some(run.sagas_per_second);
        let left = panel(0.0, &speed, number::quantity);
        left.frame(&mut svg, &format!("{}: sagas per second", axis.name), true);
        line(&mut svg, &left, axis, &speed, "s0", "sagas/s");

        let right = panel(1.0, &column::cpu_total, number::millis);
        right.frame(&mut svg, &format!("{}: CPU time per saga", axis.name), true);
        for name in &names {
            let points = right.all(axis.points.iter().filter_map(|point| {
                Some((point.at, spread(point, |run| column::cpu(run, &[name]))?.median))
            }));
            svg.line(&points, process(name), Stroke::Thin, name);
        }
        line(&mut svg, &right, axis, &column::cpu_total, "ink", "CPU ms a saga");
    }
    Plot {
        file: "growth".to_owned(),
        heading: "Throughput and cost along each axis".to_owned(),
        hint: "Medians; the bars show the smallest and the largest of the runs at that point.",
        svg,
    }
}

fn spread(point: &Point, quantity: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
    Spread::of(point.runs.iter().filter_map(quantity))
}

fn line(
    svg: &mut Svg,
    panel: &Panel,
    axis: &Axis,
    quantity: &dyn Fn(&Run) -> Option<f64>,
    colour: Colour,
    name: &str,
) {
    let points: Vec<(&Point, Spread)> = axis
        .points
        .iter()
        .filter_map(|point| Some((point, spread(point, quantity)?)))
        .collect();
    let medians = points.iter().map(|(point, spread)| (point.at, spread.median));
    svg.line(&panel.all(medians), colour, Stroke::Bold, name);
    for (point, spread) in points {
        let ends = [panel.at(point.at, spread.least), panel.at(point.at, spread.most)];
        svg.line(&ends, colour, Stroke::Bold, name);
        for (x, y) in ends {
            svg.line(&[(x - CAP, y), (x + CAP, y)], colour, Stroke::Bold, name);
        }
        let range = spread
            .range(number::quantity)
            .map_or(String::new(), |range| format!(" ({range})"));
        let told = format!(
            "{} {}: {} {name}{range}",
            axis.name,
            point.label,
            number::quantity(spread.median)
        );
        svg.point(panel.at(point.at, spread.median), colour, &told);
    }
}
