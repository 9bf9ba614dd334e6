//! `load floor`.

use std::time::Duration;

use clap::Args;
use engines::{Engine, EngineSettings, Engines};
use load::floor::{
    self, FloorSettings,
    insert::{self, Callers, Inserts},
};

use crate::duration;

/// Requests a second of a calm caller.
const CALM: f64 = 50.0;
/// Callers that are not.
const BUSY: usize = 64;

#[derive(Args)]
pub struct Arguments {
    /// Sagas that share each write; may be given again
    #[arg(long, value_name = "N", default_values_t = [100, 1], value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: Vec<u32>,
    /// Batches under way at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,
    /// How long each of them is measured
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = duration)]
    length: Duration,
}

/// Measures, and tells.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engines = engines::start(EngineSettings {
        name: "load-floor".to_owned(),
        fresh: true,
        throw_away: true,
        ..EngineSettings::default()
    })?;
    let at = at(&engines);
    for batch in &arguments.batch {
        let settings = FloorSettings {
            batch: *batch as usize,
            in_flight: arguments.in_flight.into(),
            length: arguments.length,
        };
        println!("{}", floor::sagas(&at, &settings)?.told());
    }
    type Way = fn(&str, Callers, Duration) -> anyhow::Result<Inserts>;
    let ways: [(&str, Way); 2] = [
        ("bare driver", insert::bare_insert),
        ("bare POST", insert::bare_post),
    ];
    for (name, way) in ways {
        let calm = way(&at.mongo, Callers::Calm(CALM), arguments.length)?;
        let busy = way(&at.mongo, Callers::Busy(BUSY), arguments.length)?;
        println!(
            "an insert, {name}: p50 {:.2} ms, p99 {:.2} ms at {CALM}/s; {:.0}/s with {BUSY} callers",
            calm.latency.p50, calm.latency.p99, busy.per_second
        );
    }
    Ok(())
}

fn at(engines: &Engines) -> floor::Engines {
    let pids = [("mongod", Engine::Mongo), ("broker", Engine::Kafka)];
    let pids = pids
        .into_iter()
        .filter_map(|(name, engine)| Some((name.to_owned(), engines.pid(engine)?)));
    floor::Engines {
        kafka: engines.kafka_brokers().to_owned(),
        mongo: engines.mongodb_uri().to_owned(),
        processes: pids.collect(),
    }
}
