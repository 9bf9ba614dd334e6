//! Runs as they might be, for tests and for looking at what is drawn.

use super::growth::{Axis, Point};
use crate::run::{Cost, Counts, Latency, Machine, Moment, Run, Storage};

/// `fast-1`, `naive-1`, `fast-2`, …: interleaved, slightly different each time.
pub fn pairs(count: u64) -> Vec<Run> {
    (1..=count)
        .flat_map(|at| {
            [
                run(&format!("fast-{at}"), "fast", at, 2034.0, 20),
                run(&format!("naive-{at}"), "naive", at + 50, 163.0, 20),
            ]
        })
        .collect()
}

/// Half an hour at half the ceiling, with memory and handles.
pub fn soak() -> Run {
    let mut run = run("soak", "fast", 7, 1000.0, 1800);
    for (name, value) in &mut run.settings {
        if name == "loop" {
            *value = "open, 1000 orders/s, Poisson arrivals".to_owned();
        }
    }
    for (at, moment) in run.timeline.iter_mut().enumerate() {
        let grown = (1.0 - (-(at as f64) / 120.0).exp()) * 40.0;
        let sizes = [
            ("mongod", 420.0),
            ("broker", 610.0),
            ("orders", 64.0),
            ("customers", 48.0),
            ("load", 30.0),
        ];
        moment.resident = sizes
            .map(|(name, base)| (name.to_owned(), ((base + grown) * 1_048_576.0) as u64))
            .to_vec();
        let handles = [
            ("mongod", 210),
            ("broker", 480),
            ("orders", 96),
            ("customers", 61),
            ("load", 88),
        ];
        moment.handles = handles
            .map(|(name, count)| (name.to_owned(), count + (at % 5) as u64))
            .to_vec();
    }
    run
}

/// Four axes, three runs a point.
pub fn axes() -> Vec<Axis> {
    let axis = |name: &str, points: &[(f64, &str, f64)]| Axis {
        name: name.to_owned(),
        points: points
            .iter()
            .map(|(at, label, rate)| Point {
                at: *at,
                label: (*label).to_owned(),
                runs: (1..=3)
                    .map(|number| {
                        run(
                            &format!("{name} {label}-{number}"),
                            "fast",
                            number + *at as u64,
                            *rate,
                            10,
                        )
                    })
                    .collect(),
            })
            .collect(),
    };
    vec![
        axis(
            "stored orders",
            &[
                (1e3, "1,000", 2050.0),
                (1e4, "10,000", 2040.0),
                (1e5, "100,000", 1930.0),
                (1e6, "1,000,000", 1700.0),
            ],
        ),
        axis(
            "customers",
            &[
                (1.0, "1 (hot)", 1800.0),
                (100.0, "100", 2040.0),
                (1e5, "100,000", 1980.0),
            ],
        ),
        axis(
            "partitions",
            &[(1.0, "1", 1500.0), (3.0, "3", 1980.0), (12.0, "12", 2040.0)],
        ),
        axis(
            "rejected, %",
            &[(0.0, "0", 2040.0), (10.0, "10", 2050.0), (50.0, "50", 2200.0)],
        ),
    ]
}

/// A run whose figures follow from its rate, with noise from a seed.
fn run(name: &str, profile: &str, seed: u64, rate: f64, seconds: u64) -> Run {
    let noise = |at: u64| 1.0 + ((seed * 7919 + at * 104_729) % 97) as f64 / 970.0 - 0.05;
    let slow = 2034.0 / rate;
    let rate = rate * noise(1);
    let final_orders = (rate * seconds as f64) as u64;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut backlog = 0.0_f64;
    let timeline = (0..seconds)
        .map(|at| {
            let offered = rate
                * if slow > 5.0 && at < seconds * 3 / 4 {
                    1.3
                } else {
                    1.0
                };
            let finished = rate * (noise(at + 10) * 0.6 + 0.4);
            backlog = (backlog + offered - finished).max(rate * 0.01);
            Moment {
                at: (at + 1) as f64,
                offered: offered as u64,
                accepted: (offered * 0.995) as u64,
                refused: if slow > 5.0 && at > 8 {
                    (offered * 0.04) as u64
                } else {
                    0
                },
                finished: finished as u64,
                backlog: backlog as u64,
                p99: 22.0 * slow * noise(at + 30),
                ..Moment::default()
            }
        })
        .collect();
    let costs = [
        ("mongod", 0.24, 0.09, 480),
        ("broker", 0.11, 0.05, 640),
        ("orders", 0.12, 0.03, 66),
        ("customers", 0.07, 0.02, 51),
        ("load", 0.06, 0.03, 34),
    ]
    .into_iter()
    .enumerate()
    .map(|(at, (name, user, system, memory))| Cost {
        name: name.to_owned(),
        user_ms_per_saga: user * slow * noise(at as u64 + 60),
        system_ms_per_saga: system * slow * noise(at as u64 + 70),
        peak_resident_bytes: (memory as f64 * 1_048_576.0 * noise(at as u64 + 80)) as u64,
    })
    .collect();
    Run {
        name: name.to_owned(),
        began: "2026-11-25T11:29:15Z".to_owned(),
        machine: Machine {
            processor: "AMD EPYC 7R13".to_owned(),
            cores: 2,
            memory_bytes: 8_254_390_272,
            system: "Linux 6.1.0".to_owned(),
        },
        versions: vec![
            pair("load", "0.1.0"),
            pair("Kafka", "4.1.0"),
            pair("MongoDB", "6.0.5"),
            pair("librdkafka", "2.12.1"),
        ],
        settings: vec![
            pair("MongoDB", "w:majority, journaled"),
            pair("Kafka", "acks=all, idempotent"),
            pair("profile", profile),
            pair("customers", "1,000 uniform"),
            pair("partitions", "3"),
            pair("loop", "closed, 64 callers"),
            pair("rejected", "5 %"),
            pair("repeated", "1 %"),
        ],
        measured_seconds: seconds as f64,
        counts: Counts {
            offered: final_orders + 12,
            accepted: final_orders,
            refused: 12,
            shipped: final_orders - final_orders / 20,
            cancelled: final_orders / 20,
            repeated: final_orders / 100,
            ..Counts::default()
        },
        sagas_per_second: rate,
        acknowledged: latency(final_orders, 1.9 * slow.sqrt() * noise(2), 0.35),
        completed: latency(final_orders, 6.4 * slow * noise(3), 0.45),
        timeline,
        costs,
        storage: Some(Storage {
            fsyncs_per_saga: 0.041 * slow * noise(4),
            journal_bytes_per_saga: 1890.0 * slow.sqrt() * noise(5),
            documents_written_per_saga: 5.2,
        }),
        faults: Vec::new(),
    }
}

/// Grows by the same factor with each nine.
fn latency(count: u64, median: f64, growth: f64) -> Latency {
    let at = |nines: f64| median * (growth * (nines - 0.301) + 0.1 * (nines - 0.301).powi(2)).exp();
    Latency {
        count,
        p50: at(0.301),
        p90: at(1.0),
        p99: at(2.0),
        p999: at(3.0),
        max: at((count as f64).log10()),
        curve: (0..=50)
            .map(|step| f64::from(step) / 10.0)
            .map(|nines| (100.0 * (1.0 - 10f64.powf(-nines)), at(nines)))
            .collect(),
    }
}
