//! The program: `chaos run` and `chaos audit`.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use chaos::{
    audit::{self, Audit, AuditSettings, database::Databases},
    run::{self, RunSettings},
};
use clap::{Args, Parser, Subcommand};

/// Whether the promises hold when things go wrong.
#[derive(Parser)]
#[command(
    name = "chaos",
    version,
    after_help = "\
Examples:
  cargo run --release -p chaos -- run --for 2m
  cargo run --release -p chaos -- run --for 10m --seed 7
  cargo run --release -p chaos -- run --for 5m --brokers 3 --members 3
  cargo run --release -p chaos -- run --for 3m --brokers 3 --leaderless
  cargo run -p chaos -- audit --kafka 127.0.0.1:9092 --mongo 'mongodb://127.0.0.1:27017/?replicaSet=rs0'"
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills, freezes and restarts everything under load, then checks every invariant
    ///
    /// Beside the orders of careful clients, the topic gets copies of records and odd records of every
    /// kind, under the keys of the same customers: each has to have its fate, and no order may wait for
    /// one. With several brokers and members, whichever leads is struck, one at a time.
    ///
    /// Needs nothing that runs: it builds the services, starts a Kafka and a MongoDB of its own (the
    /// way `cargo run -p engines` does) and two processes of each service. Report and all logs are
    /// under target/chaos/<seed>/; after a run that went wrong the data of the engines are kept under
    /// target/engines/chaos-<seed>/. Ctrl-C ends everything that was started.
    ///
    /// Exit code: 0 all holds; 1 something does not; 2 it could not be run.
    #[command(verbatim_doc_comment)]
    Run(RunArguments),
    /// Checks every order, reservation, customer and event of a running system against each other
    ///
    /// Only reads, and joins no consumer group. What does not fit together is told in a line each:
    /// the invariant, which id, what was expected, where to look. What was touched within --grace is
    /// under way and no difference.
    ///
    /// Exit code: 0 clean; 1 differences; 2 wrong arguments, or an engine cannot be reached.
    #[command(verbatim_doc_comment)]
    Audit(AuditArguments),
}

#[derive(Args)]
struct RunArguments {
    /// How long there is load and faults: 90s, 2m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "2m", value_parser = duration)]
    length: Duration,
    /// Runs the schedule of that seed [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Clients at work
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Brokers; of three, two have to have a record before it is confirmed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    brokers: u16,
    /// Members of MongoDB's replica set
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    members: u16,
    /// One partition of three is without a leader for 25 to 60 s now and then, and nothing else goes
    /// wrong: orders of the others have to go on. Needs three brokers
    #[arg(long)]
    leaderless: bool,
}

impl RunArguments {
    /// What runs the same again.
    fn again(&self, seed: u64) -> String {
        let mut again = format!("chaos run --seed {seed} --for {}s", self.length.as_secs());
        for (name, number) in [("brokers", self.brokers), ("members", self.members)] {
            if number > 1 {
                again += &format!(" --{name} {number}");
            }
        }
        if self.leaderless {
            again += " --leaderless";
        }
        again
    }
}

#[derive(Args)]
struct AuditArguments {
    /// Kafka's address
    #[arg(
        long,
        env = "KAFKA_BROKERS",
        value_name = "HOST:PORT,…",
        hide_env_values = true
    )]
    kafka: String,
    /// MongoDB's address: a replica set that has the databases of both services
    #[arg(long, env = "MONGODB_URI", value_name = "URI", hide_env_values = true)]
    mongo: String,
    /// Topic of the events
    #[arg(long, env = "KAFKA_TOPIC", value_name = "NAME", default_value = contracts::TOPIC, hide_env_values = true)]
    topic: String,
    /// Database of Customers
    #[arg(long, value_name = "NAME", default_value = "customers")]
    customers_database: String,
    /// Database of Orders
    #[arg(long, value_name = "NAME", default_value = "orders")]
    orders_database: String,
    /// Consumer group of Customers
    #[arg(long, value_name = "NAME", default_value = "customer-service")]
    customers_group: String,
    /// Consumer group of Orders
    #[arg(long, value_name = "NAME", default_value = "order-service")]
    orders_group: String,
    /// What was touched within this time is under way
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    grace: Duration,
    /// How far the clocks of the services' machines may be apart
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    clock_skew: Duration,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match Program::parse().command {
        Command::Run(arguments) => chaos(&arguments),
        Command::Audit(arguments) => audit(arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("chaos: {error:#}");
        ExitCode::from(2)
    })
}

fn chaos(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    if arguments.leaderless && arguments.brokers < 3 {
        bail!("--leaderless needs a broker for each of three partitions: --brokers 3");
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop))?;
    let settings = RunSettings {
        length: arguments.length,
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        workers: arguments.workers.into(),
        brokers: arguments.brokers,
        members: arguments.members,
        leaderless: arguments.leaderless,
    };
    let report = run::run(&settings, stop).with_context(|| format!("seed {}", settings.seed))?;
    print!("{report}");
    if report.is_good() {
        return Ok(ExitCode::SUCCESS);
    }
    let seed = settings.seed;
    let again = arguments.again(seed);
    eprintln!("chaos: seed {seed} failed; logs in target/chaos/{seed}/, again: {again}");
    Ok(ExitCode::FAILURE)
}

/// SIGINT and SIGTERM are heard on a thread of their own, which ends with the process.
fn stop_on_signal(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        anyhow::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                eprintln!("chaos: stopping, and ending what was started …");
                stop.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

fn audit(arguments: AuditArguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    let settings = AuditSettings {
        kafka: arguments.kafka,
        mongo: arguments.mongo,
        topic: arguments.topic,
        databases: Databases {
            customers: arguments.customers_database,
            orders: arguments.orders_database,
        },
        customers_group: arguments.customers_group,
        orders_group: arguments.orders_group,
        grace: arguments.grace,
        skew: arguments.clock_skew,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let audit = runtime.block_on(audit::audit(&settings, None))?;
    if json {
        println!("{}", serde_json::to_string_pretty(&audit)?);
    } else {
        print!("{}", told(&audit));
    }
    Ok(match audit.differences.total() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn told(audit: &Audit) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for difference in audit.differences.iter() {
        let _ = writeln!(text, "{difference}");
    }
    let summary = &audit.summary;
    let outcomes: Vec<_> = summary
        .outcomes
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let _ = writeln!(
        text,
        "{} orders ({}), {} under way, {} reservations, {} customers",
        summary.orders,
        outcomes.join(", "),
        summary.under_way,
        summary.reservations,
        summary.customers
    );
    let _ = writeln!(
        text,
        "{} records, {} duplicates, {} of other writers, {} without a value, {} poison, {} dead letters, {} parked, {} not read yet",
        summary.records,
        summary.duplicates,
        summary.foreign,
        summary.tombstones,
        summary.poison,
        summary.dead_letters,
        summary.parked,
        summary.lag
    );
    if summary.log_cut {
        let _ = writeln!(
            text,
            "the oldest records are gone: causes were not looked for in the log"
        );
    }
    let _ = write!(text, "{}", audit.differences.summary());
    let _ = match audit.differences.total() {
        0 => writeln!(text, "clean"),
        1 => writeln!(text, "1 difference"),
        many => writeln!(text, "{many} differences"),
    };
    text
}

/// `90s`, `2m`, `1h`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed.ok_or_else(|| "give a time such as 90s, 2m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "5", "-1s", "s", "2 minutes", "1e999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
