//! CPU time per saga, stacked by process.

use super::{
    super::{
        column,
        group::Group,
        number,
        svg::{Mark, Svg, ruler::Ruler, width},
    },
    Plot, WIDTH, process,
};

const BAR: f64 = 22.0;
const STEP: f64 = 28.0;

/// A bar a run, a part a process, from the engines to the generator.
pub fn cost(groups: &[Group<'_>]) -> Option<Plot> {
    let runs: Vec<_> = groups
        .iter()
        .flat_map(|group| &group.runs)
        .filter(|run| !run.costs.is_empty())
        .collect();
    let most = runs
        .iter()
        .filter_map(|run| column::cpu_total(run))
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for cost in runs.iter().flat_map(|run| &run.costs) {
        if !names.contains(&cost.name.as_str()) {
            names.push(&cost.name);
        }
    }
    let left = 30.0
        + runs
            .iter()
            .map(|run| width(&run.name))
            .fold(40.0, f64::max)
            .min(260.0);
    let right = WIDTH - 90.0;
    let ruler = Ruler::linear(most, 6, number::quantity);
    let top = 48.0;
    let drawn: Vec<&Group<'_>> = groups
        .iter()
        .filter(|group| group.runs.iter().any(|run| !run.costs.is_empty()))
        .collect();
    let bottom = top + runs.len() as f64 * STEP + (drawn.len() - 1) as f64 * 12.0 + 4.0;
    let mut svg = Svg::new("CPU time per saga by process", WIDTH, bottom + 34.0);
    let legend: Vec<_> = names
        .iter()
        .map(|name| (process(name), Mark::Area, (*name).to_owned()))
        .collect();
    svg.legend(left, 20.0, WIDTH, &legend);
    let x = |value: f64| left + ruler.place(value) * (right - left);
    for (value, label) in &ruler.marks {
        svg.rule((x(*value), top - 6.0), (x(*value), bottom), "grid");
        svg.text(x(*value), bottom + 19.0, "middle", "", &format!("{label} ms"));
    }
    let mut y = top;
    for group in drawn {
        for run in group.runs.iter().filter(|run| !run.costs.is_empty()) {
            svg.text(left - 10.0, y + BAR / 2.0 + 4.5, "end", "name", &run.name);
            let mut sum = 0.0;
            for cost in &run.costs {
                let cpu = cost.cpu_ms_per_saga();
                let (from, to) = (x(sum), x(sum + cpu));
                let told = number::quantity(cpu);
                let name = format!(
                    "{} {}: {} ms a saga, {} of it in the kernel",
                    run.name,
                    cost.name,
                    told,
                    number::quantity(cost.system_ms_per_saga)
                );
                svg.bar(from, y, (to - from).max(0.0), BAR, process(&cost.name), &name);
                if to - from > width(&told) + 6.0 {
                    svg.text((from + to) / 2.0, y + BAR / 2.0 + 4.0, "middle", "inbar", &told);
                }
                sum += cpu;
            }
            svg.text(
                x(sum) + 8.0,
                y + BAR / 2.0 + 4.5,
                "start",
                "name",
                &number::millis(sum),
            );
            y += STEP;
        }
        y += 12.0;
    }
    Some(Plot {
        file: "cost".to_owned(),
        heading: "CPU time per saga".to_owned(),
        hint: "User and kernel time of each process during the run, from the operating system, divided by the orders that became final.",
        svg,
    })
}
