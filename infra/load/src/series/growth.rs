//! What becomes of throughput, cost and latency while one thing grows and all others stay.

use std::{path::PathBuf, time::Duration};

use super::{
    COMPILED_AFTER, Ground,
    bench::{Bench, Variant},
    ceiling,
};
use crate::{
    report::{self, Axis, Point},
    workload::{Spread, Workload},
};

/// A point of an axis: where it stands, what is written there, and the run.
struct Size {
    at: f64,
    label: &'static str,
    environment: Vec<(&'static str, &'static str)>,
    instances: usize,
    workload: Workload,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct GrowthSettings {
    /// How often each axis is measured, from its first point to its last.
    pub rounds: usize,
    /// How long each run is.
    pub length: Duration,
}

/// Measures all axes and writes a report into the ground's folder. Blocks.
pub fn growth(settings: &GrowthSettings, ground: &Ground) -> anyhow::Result<PathBuf> {
    let bench = Bench::start("growth", ground)?;
    let run = |name: &str, size: &Size| {
        bench.run(&Variant {
            name,
            environment: &size.environment,
            instances: size.instances,
            workload: size.workload.clone(),
        })
    };
    run("warm-up", &Size::usual(COMPILED_AFTER))?;
    let mut axes = Vec::new();
    for (name, sizes) in sizes(settings.length) {
        let mut points: Vec<_> = sizes.iter().map(Size::point).collect();
        for round in 1..=settings.rounds {
            for (number, (size, point)) in sizes.iter().zip(&mut points).enumerate() {
                let axis = name.replace([' ', ',', '%'], "");
                let named = format!("{axis}-at-{}-{round}", number + 1);
                point.runs.push(run(&named, size)?);
            }
        }
        axes.push(Axis {
            name: name.to_owned(),
            points,
        });
    }
    report::growth(&ground.folder, &axes)
}

impl Size {
    fn usual(length: Duration) -> Size {
        Size {
            at: 0.0,
            label: "",
            environment: Vec::new(),
            instances: 1,
            workload: ceiling(length),
        }
    }

    /// Nothing measured there yet.
    fn point(&self) -> Point {
        Point {
            at: self.at,
            label: self.label.to_owned(),
            runs: Vec::new(),
        }
    }
}

fn sizes(length: Duration) -> Vec<(&'static str, Vec<Size>)> {
    let axis = |points: &[(f64, &'static str)], change: &dyn Fn(f64, &mut Size)| {
        let sizes = points.iter().map(|(at, label)| {
            let mut size = Size {
                at: *at,
                label,
                ..Size::usual(length)
            };
            change(*at, &mut size);
            size
        });
        sizes.collect::<Vec<_>>()
    };
    let stored = [
        (1e3, "1,000"),
        (1e4, "10,000"),
        (1e5, "100,000"),
        (1e6, "1,000,000"),
    ];
    let mut customers = axis(&[(1.0, "1"), (100.0, "100"), (1e5, "100,000")], &|at, size| {
        size.workload.customers = at as usize;
    });
    // Beyond the end of the axis: as many customers, but most orders are those of a few.
    let mut zipf = Size {
        at: 1e6,
        label: "100,000, Zipf",
        ..Size::usual(length)
    };
    zipf.workload.customers = 100_000;
    zipf.workload.spread = Spread::Zipf;
    customers.push(zipf);
    let mut partitions = axis(&[(1.0, "1"), (3.0, "3"), (12.0, "12")], &|_, _| {});
    for size in &mut partitions {
        size.environment.push(("KAFKA_PARTITIONS", size.label));
    }
    vec![
        (
            "stored orders",
            axis(&stored, &|at, size| size.workload.stored = at as u64),
        ),
        ("customers", customers),
        ("partitions", partitions),
        (
            "instances",
            axis(&[(1.0, "1"), (2.0, "2"), (4.0, "4")], &|at, size| {
                size.instances = at as usize;
            }),
        ),
        (
            "rejected, %",
            axis(&[(0.0, "0"), (10.0, "10"), (50.0, "50")], &|at, size| {
                size.workload.rejects = at / 100.0;
            }),
        ),
        (
            "records twice, %",
            axis(&[(0.0, "0"), (10.0, "10")], &|at, size| {
                size.workload.duplicates = at / 100.0;
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::CUSTOMERS, *};

    #[test]
    fn each_axis_grows_and_changes_one_thing_only() {
        for (name, sizes) in sizes(Duration::from_secs(1)) {
            assert!(sizes.is_sorted_by(|a, b| a.at < b.at), "{name}");
            for size in sizes {
                let load = size.workload;
                let changed = [
                    load.stored != 0,
                    load.customers != CUSTOMERS,
                    !size.environment.is_empty(),
                    size.instances != 1,
                    load.rejects != 0.0,
                    load.duplicates != 0.0,
                ];
                let count = changed.iter().filter(|changed| **changed).count();
                assert!(count <= 1, "{name} at {}: {changed:?}", size.label);
            }
        }
    }
}
