//! The table of P1 to P9: cycle after cycle, each with every run in turn, so that what is compared was
//! measured side by side on the same engines.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    CALLERS, COMPILED_AFTER, Ground, WARM_UP,
    bench::{Bench, Variant},
    ceiling,
    figures::{Cycle, Overload, figures},
    stack,
};
use crate::{
    arrivals::Arrivals,
    floor::{
        self, FloorSettings,
        insert::{self, Callers, Inserts},
    },
    measure,
    report::{self, Figure},
    run::Run,
    setup::{Place, Setup},
    workload::{Extent, Pace, Workload},
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct TableSettings {
    /// How often everything is measured, in turn.
    pub pairs: usize,
    /// How long each run is.
    pub length: Duration,
}

/// Callers past which more of them gain nothing.
const MANY_CALLERS: usize = 256;
/// Orders a second that leave the system idle in between.
const CALM: f64 = 50.0;
/// Stored orders of all runs but those that ask what more of them cost.
const FEW_STORED: u64 = 1_000;
const MANY_STORED: u64 = 100_000;
/// Open orders of an overloaded system.
const OVERLOAD_OPEN: u64 = 2_000;
/// More than are ever open where nobody validates.
const ANY_OPEN: &str = "10000000";

/// Measures all of it and writes a report; all is in the ground's folder. Blocks.
pub fn table(settings: &TableSettings, ground: &Ground) -> anyhow::Result<(Vec<Figure>, PathBuf)> {
    let table = Table {
        bench: Bench::start("table", ground)?,
        ground,
        length: settings.length,
    };
    table.run("warm-up", &[], ceiling(COMPILED_AFTER))?;
    let mut cycles: Vec<Cycle> = Vec::new();
    for number in 1..=settings.pairs {
        let rate = cycles.first().map(|first| half(&first.fast));
        cycles.push(table.cycle(number, rate)?);
    }
    let rates = cycles.iter().map(|cycle| cycle.fast.sagas_per_second);
    let fastest = rates.fold(0.0, f64::max);
    let overload = table.overload(2.0 * fastest)?;

    let figures = figures(&cycles, &overload);
    #[derive(Serialize)]
    struct Everything<'a> {
        cycles: &'a [Cycle],
        overload: &'a Overload,
    }
    let everything = Everything {
        cycles: &cycles,
        overload: &overload,
    };
    let json = serde_json::to_vec_pretty(&everything)?;
    std::fs::write(ground.folder.join("table.json"), json)?;
    let mut runs: Vec<Run> = Vec::new();
    let mut of_embedded = Vec::new();
    for cycle in cycles {
        let of_engines = [
            cycle.fast,
            cycle.saturated,
            cycle.one_customer,
            cycle.many_customers,
            cycle.stored,
            cycle.calm,
            cycle.half,
        ];
        runs.extend(of_engines);
        of_embedded.push(cycle.embedded);
    }
    runs.push(overload.run);
    // What all have in common is told beneath the table; the embedded ones have neither Kafka nor
    // mongod, and stand there only with what was wrong.
    let wrong = of_embedded.iter().filter(|run| !run.faults.is_empty());
    let told: Vec<Run> = runs.iter().chain(wrong).cloned().collect();
    std::fs::write(ground.folder.join("table.md"), report::markdown(&figures, &told))?;
    runs.extend(of_embedded);
    let page = report::write(&ground.folder, &runs)?;
    Ok((figures, page))
}

fn half(run: &Run) -> f64 {
    run.sagas_per_second / 2.0
}

struct Table<'a> {
    bench: Bench,
    ground: &'a Ground,
    length: Duration,
}

impl Table<'_> {
    fn cycle(&self, number: usize, rate: Option<f64>) -> anyhow::Result<Cycle> {
        let name = |what: &str| format!("{what}-{number}");
        let ceiling = ceiling(self.length);
        let fast = self.run(&name("fast"), &[], ceiling.clone())?;
        let callers = |callers| Workload {
            pace: Pace::Closed { callers },
            ..ceiling.clone()
        };
        let saturated = self.run(&name("saturated"), &[], callers(MANY_CALLERS))?;
        let customers = |customers| Workload {
            customers,
            ..ceiling.clone()
        };
        let one_customer = self.run(&name("one-customer"), &[], customers(1))?;
        let many_customers = self.run(&name("many-customers"), &[], customers(10_000))?;
        let stored = Workload {
            stored: MANY_STORED,
            ..ceiling.clone()
        };
        let stored = self.run(&name("stored-100k"), &[], stored)?;
        let open = |rate| Workload {
            pace: Pace::Open {
                rate,
                arrivals: Arrivals::Poisson,
            },
            ..ceiling.clone()
        };
        let calm = self.run(&name("calm"), &[], open(CALM))?;
        let half = self.run(&name("half"), &[], open(rate.unwrap_or(half(&fast))))?;
        let embedded = self.embedded(&name("embedded"))?;
        let folder = self.ground.folder.join(name("stack"));
        let start = stack::start(&self.ground.stack, &folder)?;
        let engines = self.bench.engines();
        let floor = |batch| {
            eprintln!("load: the engines alone, in batches of {batch} …");
            let settings = FloorSettings {
                batch,
                in_flight: 2,
                length: self.length / 2,
            };
            floor::sagas(&engines, &settings)
        };
        let (floor, floor_single) = (floor(100)?, floor(1)?);
        eprintln!("load: bare inserts …");
        let mongo = &engines.mongo;
        Ok(Cycle {
            fast,
            saturated,
            one_customer,
            many_customers,
            stored,
            calm,
            half,
            embedded,
            start,
            floor,
            floor_single,
            bare_insert: self.both(|callers, length| insert::bare_insert(mongo, callers, length))?,
            bare_post: self.both(|callers, length| insert::bare_post(mongo, callers, length))?,
            our_post: self.posts(&name("posts"))?,
        })
    }

    fn run(&self, name: &str, environment: &[(&str, &str)], workload: Workload) -> anyhow::Result<Run> {
        let stored = workload.stored.max(FEW_STORED);
        self.bench.run(&Variant {
            name,
            environment,
            instances: 1,
            workload: Workload { stored, ..workload },
        })
    }

    fn both(
        &self,
        ask: impl Fn(Callers, Duration) -> anyhow::Result<Inserts>,
    ) -> anyhow::Result<[Inserts; 2]> {
        let length = self.length / 5;
        let calm = ask(Callers::Calm(CALM), length)?;
        Ok([calm, ask(Callers::Busy(CALLERS), length)?])
    }

    fn posts(&self, name: &str) -> anyhow::Result<[Inserts; 2]> {
        let variant = Variant {
            name,
            environment: &[("MAX_OPEN_ORDERS", ANY_OPEN)],
            instances: 1,
            workload: ceiling(self.length),
        };
        self.bench.orders_alone(&variant, |url| {
            self.both(|callers, length| insert::posts(url, callers, length))
        })
    }

    fn embedded(&self, name: &str) -> anyhow::Result<Run> {
        eprintln!("load: {name} …");
        let folder = self.ground.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let setup = Setup {
            name: name.to_owned(),
            folder: folder.clone(),
            place: Place::Embedded,
            environment: Vec::new(),
            workload: ceiling(self.length),
        };
        let run = measure(&setup, Arc::clone(&self.ground.stop))?;
        // Every cycle leaves as much as it wrote.
        let _ = std::fs::remove_dir_all(folder.join("data"));
        Ok(run)
    }

    fn overload(&self, rate: f64) -> anyhow::Result<Overload> {
        let workload = Workload {
            pace: Pace::Open {
                rate,
                arrivals: Arrivals::Poisson,
            },
            extent: Extent::Time(self.length),
            warm_up: WARM_UP,
            ..ceiling(self.length)
        };
        let limit = OVERLOAD_OPEN.to_string();
        let run = self.run("overload", &[("MAX_OPEN_ORDERS", &limit)], workload)?;
        Ok(Overload {
            run,
            limit: OVERLOAD_OPEN,
        })
    }
}
