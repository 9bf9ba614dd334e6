use super::*;
use crate::{
    report::sample,
    run::{Latency, Moment, Storage},
};

fn inserts(p50: f64, per_second: f64) -> Inserts {
    Inserts {
        per_second,
        latency: Latency {
            p50,
            ..Latency::default()
        },
    }
}

fn cycle(fast_rate: f64) -> Cycle {
    let runs = sample::pairs(1);
    let mut fast = runs[0].clone();
    fast.sagas_per_second = fast_rate;
    let mut stored = fast.clone();
    for cost in &mut stored.costs {
        cost.user_ms_per_saga *= 1.3;
        cost.system_ms_per_saga *= 1.3;
    }
    let floor = FloorResult {
        batch: 100,
        in_flight: 2,
        measured_seconds: 5.0,
        sagas_per_second: 5000.0,
        costs: fast.costs.clone(),
        storage: Storage {
            fsyncs_per_saga: 0.03,
            journal_bytes_per_saga: 0.0,
            documents_written_per_saga: 5.0,
        },
    };
    Cycle {
        one_customer: fast.clone(),
        many_customers: fast.clone(),
        calm: fast.clone(),
        half: fast.clone(),
        embedded: fast.clone(),
        start: Start {
            seconds_to_ready: 0.3,
            idle_share: 0.004,
            idle_resident_bytes: 20 << 20,
        },
        floor_single: FloorResult {
            sagas_per_second: 150.0,
            ..floor.clone()
        },
        floor,
        bare_insert: [inserts(2.0, 2000.0), inserts(2.0, 2000.0)],
        bare_post: [inserts(2.2, 1800.0), inserts(2.2, 1800.0)],
        our_post: [inserts(2.2, 9000.0), inserts(4.4, 9000.0)],
        saturated: fast.clone(),
        fast,
        stored,
    }
}

fn overload(backlog: u64, refused: u64) -> Overload {
    let mut run = sample::pairs(1).remove(0);
    run.timeline = vec![Moment {
        backlog,
        ..Moment::default()
    }];
    run.counts.refused = refused;
    Overload { run, limit: 1000 }
}

fn find<'a>(figures: &'a [Figure], what: &str) -> &'a Figure {
    figures
        .iter()
        .find(|figure| figure.what.contains(what))
        .unwrap_or_else(|| panic!("no figure {what}"))
}

#[test]
fn a_figure_is_judged_by_the_median_of_ratios_within_each_cycle() {
    let cycles = [cycle(1400.0), cycle(3000.0), cycle(1800.0)];
    let figures = figures(&cycles, &overload(900, 5));
    let speedup = find(&figures, "naive");
    assert_eq!((&*speedup.measured, &*speedup.target), ("12.0×", "≥ 10×"));
    assert!(
        speedup.reached && speedup.spread.starts_with("9.33"),
        "{speedup:?}"
    );
    let sustained = find(&figures, "sustained");
    assert!(!sustained.reached, "the median is below: {sustained:?}");
    assert!(find(&figures, "POST p50").reached && find(&figures, "64 callers").reached);
    let stored = find(&figures, "stored orders");
    assert!(!stored.reached && stored.measured == "1.30×", "{stored:?}");
    for id in 1..=9 {
        assert!(figures.iter().any(|figure| figure.id == format!("P{id}")));
    }
}

#[test]
fn what_was_not_measured_is_not_reached() {
    let mut without = cycle(2500.0);
    without.saturated.costs.clear();
    without.saturated.storage = None;
    let figures = figures(&[without], &overload(0, 1));
    for what in ["mongod CPU", "fsyncs", "broker CPU"] {
        let figure = find(&figures, what);
        assert!(!figure.reached && figure.measured == number::NONE, "{figure:?}");
    }
}

#[test]
fn a_backlog_is_bounded_where_it_stays_within_and_something_was_refused_and_all_became_final() {
    assert!(bounded(&overload(1000, 7)).reached);
    assert!(!bounded(&overload(1200, 7)).reached, "beyond");
    assert!(!bounded(&overload(1000, 0)).reached, "never at its bound");
    let mut lost = overload(1000, 7);
    lost.run.counts.shipped -= 1;
    assert!(!bounded(&lost).reached, "one is missing");
}
