//! The figures to reach, judged from the runs of a table. Pure.

use serde::{Deserialize, Serialize};

use super::{
    judge::{Target, Told, judged},
    stack::Start,
};
use crate::{
    floor::{FloorResult, insert::Inserts},
    report::{Figure, group::Spread, number},
    run::Run,
};

/// What Watermill finished a second of the same saga, without any of our guarantees: measured
/// elsewhere, on such a machine (two processors with broker, mongod and generator).
const WATERMILL: (f64, f64) = (420.0, 560.0);
/// A backlog is counted where events are read, a little after the order was final.
const BACKLOG_SLACK: f64 = 1.1;

/// What is measured in turn, once in each cycle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cycle {
    /// As it is: closed loop, 1,000 customers, 1,000 stored orders.
    pub fast: Run,
    /// The same with so many callers that more of them gain nothing.
    pub saturated: Run,
    /// The same, all orders of one customer.
    pub one_customer: Run,
    /// The same, of 10,000 customers.
    pub many_customers: Run,
    /// The same on 100,000 stored orders.
    pub stored: Run,
    /// Open loop at 50 orders/s.
    pub calm: Run,
    /// Open loop at half of what `fast` reached first.
    pub half: Run,
    /// Closed loop on the embedded default.
    pub embedded: Run,
    /// The embedded default from its start.
    pub start: Start,
    /// The engines alone, in batches of 100.
    pub floor: FloorResult,
    /// The engines alone, one saga after the other: what a first version does, through the bare drivers.
    pub floor_single: FloorResult,
    /// Inserts through the bare driver: one caller at 50/s, and 64 callers.
    pub bare_insert: [Inserts; 2],
    /// The same behind a bare HTTP POST.
    pub bare_post: [Inserts; 2],
    /// The same at our Orders, without Customers.
    pub our_post: [Inserts; 2],
}

/// What is offered twice of what can be finished.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overload {
    /// The run.
    pub run: Run,
    /// Orders that may be open.
    pub limit: u64,
}

/// All figures.
pub fn figures(cycles: &[Cycle], overload: &Overload) -> Vec<Figure> {
    use Target::{AtLeast, AtMost};
    let of = |quantity: &dyn Fn(&Cycle) -> f64| -> Vec<f64> { cycles.iter().map(quantity).collect() };
    let median = |quantity: &dyn Fn(&Cycle) -> f64| Spread::of(of(quantity)).map_or(f64::NAN, |it| it.median);
    let rate: Told = |value| format!("{}/s", number::quantity(value));
    let percent: Told = |share| format!("{} %", number::quantity(share * 100.0));
    let seconds: Told = |value| number::millis(value * 1000.0);
    let mut figures = Vec::new();
    let mut figure = |id: &str, what: &str, target, told: Told, values: Vec<f64>, note: String| {
        figures.push(judged((id, what), target, told, values, note));
    };

    let over_naive = |run: fn(&Cycle) -> &Run| {
        move |cycle: &Cycle| run(cycle).sagas_per_second / cycle.floor_single.sagas_per_second
    };
    let note = format!(
        "{} against {}; with 64 callers {}",
        rate(median(&|cycle| cycle.saturated.sagas_per_second)),
        rate(median(&|cycle| cycle.floor_single.sagas_per_second)),
        number::times(median(&over_naive(|cycle| &cycle.fast))),
    );
    let speedup = of(&over_naive(|cycle| &cycle.saturated));
    figure(
        "P1",
        "sagas/s at saturation against the naive saga, one by one through the bare drivers",
        AtLeast(10.0),
        number::times,
        speedup,
        note,
    );

    let floor = median(&|cycle| cpu_of(&cycle.floor.costs, &["mongod"]));
    let note = format!("floor: {}", number::millis(floor));
    let values = of(&|cycle| cpu(&cycle.saturated, &["mongod"]));
    figure(
        "P2",
        "mongod CPU a saga, at saturation",
        AtMost(0.4),
        number::millis,
        values,
        note,
    );
    let values = of(&|cycle| storage(&cycle.saturated));
    let note = format!(
        "floor: {}",
        number::quantity(median(&|cycle| cycle.floor.storage.fsyncs_per_saga))
    );
    figure("P2", "fsyncs a saga", AtMost(0.1), number::quantity, values, note);

    let values = of(&|cycle| cpu(&cycle.saturated, &["orders", "customers"]));
    figure(
        "P3",
        "orders + customers CPU a saga",
        AtMost(0.3),
        number::millis,
        values,
        format!(
            "with 64 callers {}",
            number::millis(median(&|cycle| cpu(&cycle.fast, &["orders", "customers"])))
        ),
    );
    let values = of(&|cycle| cpu(&cycle.saturated, &["broker"]));
    let floor = median(&|cycle| cpu_of(&cycle.floor.costs, &["broker"]));
    let note = format!("floor: {}", number::millis(floor));
    figure(
        "P3",
        "broker CPU a saga",
        AtMost(0.2),
        number::millis,
        values,
        note,
    );

    let values = of(&|cycle| cycle.our_post[0].latency.p50 / cycle.bare_post[0].latency.p50);
    let note = format!(
        "{}; bare POST {}, bare driver {}",
        number::millis(median(&|cycle| cycle.our_post[0].latency.p50)),
        number::millis(median(&|cycle| cycle.bare_post[0].latency.p50)),
        number::millis(median(&|cycle| cycle.bare_insert[0].latency.p50)),
    );
    let what = "POST p50 at 50/s against a bare durable insert behind HTTP";
    figure("P4", what, AtMost(1.3), number::times, values, note);
    let values = of(&|cycle| cycle.our_post[1].per_second / cycle.bare_post[1].per_second);
    let note = format!(
        "{}; bare POST {}, bare driver {}",
        rate(median(&|cycle| cycle.our_post[1].per_second)),
        rate(median(&|cycle| cycle.bare_post[1].per_second)),
        rate(median(&|cycle| cycle.bare_insert[1].per_second)),
    );
    let what = "POST throughput of 64 callers against the same";
    figure("P4", what, AtLeast(3.0), number::times, values, note);

    let values = of(&|cycle| cycle.calm.completed.p50);
    let acknowledged = median(&|cycle| cycle.calm.acknowledged.p50);
    let note = format!("acknowledged p50 {}", number::millis(acknowledged));
    figure(
        "P5",
        "order to final at 50 orders/s, p50",
        AtMost(8.0),
        number::millis,
        values,
        note,
    );
    let values = of(&|cycle| cycle.calm.completed.p99);
    figure(
        "P5",
        "the same, p99",
        AtMost(16.0),
        number::millis,
        values,
        String::new(),
    );
    let values = of(&|cycle| cycle.half.completed.p99);
    let note = format!("at {}", rate(median(&|cycle| cycle.half.sagas_per_second)));
    figure(
        "P5",
        "at half the ceiling, p99",
        AtMost(100.0),
        number::millis,
        values,
        note,
    );

    let values = of(&|cycle| cycle.one_customer.sagas_per_second / cycle.many_customers.sagas_per_second);
    let note = format!(
        "{} against {}",
        rate(median(&|cycle| cycle.one_customer.sagas_per_second)),
        rate(median(&|cycle| cycle.many_customers.sagas_per_second)),
    );
    let what = "sagas/s of one customer against 10,000 customers";
    figure("P6", what, AtLeast(0.8), number::times, values, note);

    let values = of(&|cycle| cpu(&cycle.stored, &SYSTEM) / cpu(&cycle.fast, &SYSTEM));
    let what = "CPU a saga on 10⁵ stored orders against 10³";
    figure("P7", what, AtMost(1.25), number::times, values, String::new());
    let values = of(&|cycle| memory(&cycle.stored) / memory(&cycle.fast));
    let note = format!(
        "{} in the larger service",
        number::bytes(median(&|cycle| memory(&cycle.stored)))
    );
    figure(
        "P7",
        "peak memory of a service, the same",
        AtMost(1.25),
        number::times,
        values,
        note,
    );

    let values = of(&|cycle| cycle.fast.sagas_per_second);
    let reached = median(&|cycle| cycle.fast.sagas_per_second);
    let note = format!(
        "{}–{} those of Watermill ({}–{}/s, measured elsewhere on such a machine); floor: {}, one by one {}",
        number::quantity(reached / WATERMILL.1),
        number::times(reached / WATERMILL.0),
        WATERMILL.0,
        WATERMILL.1,
        rate(median(&|cycle| cycle.floor.sagas_per_second)),
        rate(median(&|cycle| cycle.floor_single.sagas_per_second)),
    );
    figure(
        "P8",
        "sagas/s sustained, closed loop of 64",
        AtLeast(2000.0),
        rate,
        values,
        note,
    );
    figures.push(bounded(overload));

    let mut figure = |what: &str, target, told: Told, values: Vec<f64>, note: String| {
        figures.push(judged(("P9", what), target, told, values, note));
    };
    let values = of(&|cycle| cycle.embedded.sagas_per_second);
    figure(
        "embedded: sagas/s, durable",
        AtLeast(3000.0),
        rate,
        values,
        String::new(),
    );
    let values = of(&|cycle| cycle.start.seconds_to_ready);
    figure(
        "embedded: start to the first answer",
        AtMost(1.0),
        seconds,
        values,
        String::new(),
    );
    let values = of(&|cycle| cycle.start.idle_share);
    let note = format!(
        "memory: {} idle, {} at the ceiling with the generator",
        number::bytes(median(&|cycle| cycle.start.idle_resident_bytes as f64)),
        number::bytes(median(&|cycle| peak(&cycle.embedded))),
    );
    figure(
        "embedded: idle CPU of a core",
        AtMost(0.01),
        percent,
        values,
        note,
    );
    figures
}

/// All but the generator.
const SYSTEM: [&str; 4] = ["mongod", "broker", "orders", "customers"];

fn cpu(run: &Run, names: &[&str]) -> f64 {
    cpu_of(&run.costs, names)
}

/// Not a number where one of them is missing, so that nothing is told of it.
fn cpu_of(costs: &[crate::run::Cost], names: &[&str]) -> f64 {
    let each = names
        .iter()
        .map(|name| costs.iter().find(|cost| cost.name == *name));
    each.map(|cost| cost.map_or(f64::NAN, crate::run::Cost::cpu_ms_per_saga))
        .sum()
}

fn storage(run: &Run) -> f64 {
    run.storage
        .as_ref()
        .map_or(f64::NAN, |storage| storage.fsyncs_per_saga)
}

/// Of the larger service.
fn memory(run: &Run) -> f64 {
    let services = run.costs.iter();
    let services = services.filter(|cost| ["orders", "customers"].contains(&cost.name.as_str()));
    let most = services.map(|cost| cost.peak_resident_bytes).max();
    most.map_or(f64::NAN, |bytes| bytes as f64)
}

fn peak(run: &Run) -> f64 {
    let most = run.costs.iter().map(|cost| cost.peak_resident_bytes).max();
    most.map_or(f64::NAN, |bytes| bytes as f64)
}

/// Offered twice of what can be finished: refused, and what was accepted has become final.
fn bounded(Overload { run, limit }: &Overload) -> Figure {
    let backlog = run
        .timeline
        .iter()
        .map(|moment| moment.backlog)
        .max()
        .unwrap_or(0);
    let counts = &run.counts;
    let all_final = counts.shipped + counts.cancelled == counts.accepted && run.faults.is_empty();
    Figure {
        id: "P8".to_owned(),
        what: "backlog while twice the ceiling is offered".to_owned(),
        target: format!("≤ {}", number::count(*limit)),
        measured: number::count(backlog),
        spread: String::new(),
        reached: backlog as f64 <= *limit as f64 * BACKLOG_SLACK && counts.refused > 0 && all_final,
        note: format!(
            "{} offered, {} refused by 503, {} accepted, {}",
            number::count(counts.offered),
            number::count(counts.refused),
            number::count(counts.accepted),
            if all_final {
                "all of them final"
            } else {
                "**not all of them final**"
            }
        ),
    }
}

#[cfg(test)]
mod tests;
