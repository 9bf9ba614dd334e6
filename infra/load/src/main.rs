//! The program: `load run`, and the subcommands in `commands`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};
use fleet::Profile;
use load::{
    arrivals::Arrivals,
    measure, report,
    setup::{Attached, Place, Setup},
    workload::{Extent, Pace, Spread, Workload},
};
use shared::logging::{self, LogFormat};

mod commands;

/// Load on a running system: sagas per second, latency and what they cost, with every order checked
#[derive(Parser)]
#[command(
    name = "load",
    version,
    after_help = "\
Examples:
  cargo run --release -p load -- run                                    the ceiling: 64 callers for 20 s
  cargo run --release -p load -- run --rate 500 --for 60s               latency at 500 orders/s
  cargo run --release -p load -- run --rate 200 --ramp                  the highest rate that is kept up with
  cargo run --release -p load -- run --embedded --orders 100000
  cargo run --release -p load -- run --rejects 0.1 --cancels 0.05 --repeats 0.05 --duplicates 0.05
  cargo run --release -p load -- run --at-orders http://127.0.0.1:32002 \\
      --at-customers http://127.0.0.1:32001 --kafka 127.0.0.1:9092 --pid orders=4711"
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one load and tells what came of it
    ///
    /// Needs nothing that runs: it builds the services and starts them, a Kafka and a MongoDB, all on
    /// this machine and all new (the way `cargo run -p engines` does). Every order is followed in the
    /// log to its one final event. The result is in target/load/<name>/: a page (index.html), the
    /// figures (runs.json), histograms of latencies (*.hgrm), the logs of the services.
    ///
    /// A closed loop (--callers) finds the ceiling; its latencies say nothing, as callers wait with the
    /// system. For latencies set a rate: they count from when a request should have been sent.
    ///
    /// Ctrl-C ends the offering, and then everything that was started; twice: at once.
    /// Exit code: 0 all orders are right; 1 some are not; 2 it could not be run.
    #[command(verbatim_doc_comment)]
    Run(Box<RunArguments>),
    /// Measures what the engines alone carry: the same writes and records through the bare drivers
    ///
    /// Starts a Kafka and a MongoDB of its own. Tells sagas in batches, with what they cost, and single
    /// inserts, through the driver and behind a bare HTTP POST. A yardstick: none of it has a guarantee.
    #[command(verbatim_doc_comment)]
    Floor(commands::floor::Arguments),
    /// Measures the figures P1 to P9, with spread: every run in turn, A B A B, on the same engines
    ///
    /// About three minutes for each of the --pairs. The result is in target/load/table/: table.md,
    /// index.html, table.json with everything.
    ///
    /// Exit code: 0 all are reached; 1 some are not, or orders were not right; 2 it could not be run.
    #[command(verbatim_doc_comment)]
    Table(commands::series::TableArguments),
    /// Measures throughput, cost and latency while one thing grows: stored orders, customers, …
    ///
    /// About eight minutes for each of the --rounds. The result is in target/load/growth/: growth.md, index.html.
    #[command(verbatim_doc_comment)]
    Growth(commands::series::GrowthArguments),
    /// Runs half the ceiling for long, and tells whether memory, handles or latency creep
    ///
    /// Judged is the growth over the last two thirds. The result is in target/load/soak/.
    /// Exit code: 0 nothing creeps; 1 something does, or orders were not right; 2 it could not be run.
    #[command(verbatim_doc_comment)]
    Soak(commands::series::SoakArguments),
}

#[derive(Args)]
struct RunArguments {
    /// Names the run, and its folder
    #[arg(long, default_value = "run")]
    name: String,
    /// Where the result goes [default: target/load/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Callers of a closed loop, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 64, conflicts_with = "rate", help_heading = "Load", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    callers: u32,
    /// Orders a second of an open loop, whatever is answered
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = rate)]
    rate: Option<f64>,
    /// How the orders of an open loop are spaced
    #[arg(long, value_enum, default_value = "poisson", help_heading = "Load")]
    arrivals: Arrivals,
    /// A quarter faster with each step, from --rate on, until the backlog grows
    #[arg(long, requires = "rate", help_heading = "Load")]
    ramp: bool,
    /// How long a step of --ramp takes
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Load", value_parser = duration)]
    step: Duration,
    /// How long orders are offered
    #[arg(long = "for", value_name = "TIME", default_value = "20s", help_heading = "Load", value_parser = duration)]
    length: Duration,
    /// How many orders are offered, instead
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["length", "ramp"],
        help_heading = "Load"
    )]
    orders: Option<u64>,
    /// Before that; its orders are checked, but not measured
    #[arg(long, value_name = "TIME", default_value = "3s", help_heading = "Load", value_parser = duration)]
    warm_up: Duration,

    /// Customers
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Orders", value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// How orders are spread over them
    #[arg(long, value_enum, default_value = "uniform", help_heading = "Orders")]
    spread: Spread,
    /// Share of orders whose amount no customer has
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Orders", value_parser = share)]
    rejects: f64,
    /// Share of orders that are cancelled right after they were accepted
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Orders", value_parser = share)]
    cancels: f64,
    /// Share of orders that are sent once more under the same id
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Orders", value_parser = share)]
    repeats: f64,
    /// Share of records of which a copy is written into the log
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Orders", value_parser = share)]
    duplicates: f64,
    /// Final orders that are in the database before the run begins
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Orders")]
    stored: u64,
    /// Where choices come from
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Orders")]
    seed: u64,

    /// Both services in this process, on an embedded log and embedded databases
    #[arg(long, conflicts_with = "at_orders", help_heading = "System")]
    embedded: bool,
    /// Processes of each service
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "System", value_parser = clap::value_parser!(u8).range(1..=16))]
    instances: u8,
    /// A setting of the services, such as KAFKA_PARTITIONS=3; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE", help_heading = "System", value_parser = pair)]
    environment: Vec<(String, String)>,
    /// Where the binaries of the services are [default: built]
    #[arg(long, value_name = "DIR", help_heading = "System")]
    binaries: Option<PathBuf>,
    /// Keeps the data of Kafka and MongoDB, under target/engines/load-<name>
    #[arg(long, help_heading = "System")]
    keep: bool,

    /// Where Orders runs already
    #[arg(long, value_name = "URL,…", value_delimiter = ',', requires_all = ["at_customers", "kafka"], help_heading = "A system that runs already")]
    at_orders: Vec<String>,
    /// Where Customers does
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        requires = "at_orders",
        help_heading = "A system that runs already"
    )]
    at_customers: Vec<String>,
    /// Its Kafka
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        requires = "at_orders",
        help_heading = "A system that runs already"
    )]
    kafka: Option<String>,
    /// Its topic
    #[arg(long, value_name = "NAME", default_value = contracts::TOPIC, help_heading = "A system that runs already")]
    topic: String,
    /// Its MongoDB, for what that does and for --stored
    #[arg(
        long,
        value_name = "URI",
        requires = "at_orders",
        help_heading = "A system that runs already"
    )]
    mongo: Option<String>,
    /// A process whose costs are told, by name; may be given again
    #[arg(long = "pid", value_name = "NAME=PID", requires = "at_orders", help_heading = "A system that runs already", value_parser = process)]
    processes: Vec<(String, u32)>,
}

fn main() -> ExitCode {
    let done = match Program::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Floor(arguments) => commands::floor::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Table(arguments) => commands::series::table(&arguments),
        Command::Growth(arguments) => commands::series::growth(&arguments),
        Command::Soak(arguments) => commands::series::soak(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("load: {error:#}");
        ExitCode::from(2)
    })
}

fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    // Engines that come and go are part of a run; RUST_LOG tells more.
    logging::start(LogFormat::Text, log::LevelFilter::Error);
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop))?;
    let setup = setup(arguments)?;
    let run = measure(&setup, stop)?;
    let good = run.faults.is_empty();
    let runs = [run];
    let page = report::write(&setup.folder, &runs)?;
    print!("{}", report::table(&runs));
    eprintln!("load: more in {}", page.display());
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn setup(arguments: &RunArguments) -> anyhow::Result<Setup> {
    let name = arguments.name.clone();
    ensure!(
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
        "a name has letters, digits, '-', '_' and '.' only"
    );
    let place = if let Some(kafka) = &arguments.kafka {
        Place::Attached(Attached {
            orders: arguments.at_orders.clone(),
            customers: arguments.at_customers.clone(),
            kafka: kafka.clone(),
            topic: arguments.topic.clone(),
            mongo: arguments.mongo.clone(),
            processes: arguments.processes.clone(),
        })
    } else if arguments.embedded {
        Place::Embedded
    } else {
        Place::Engines {
            instances: arguments.instances.into(),
            binaries: match &arguments.binaries {
                Some(binaries) => binaries.clone(),
                None => fleet::service_binaries(Profile::Release, &["load"])?,
            },
            keep: arguments.keep,
        }
    };
    let folder = match &arguments.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            folder.clone()
        }
        None => fleet::fresh_folder("load", &name)?,
    };
    let arrivals = arguments.arrivals;
    let pace = match (arguments.rate, arguments.ramp) {
        (None, _) => Pace::Closed {
            callers: arguments.callers as usize,
        },
        (Some(rate), false) => Pace::Open { rate, arrivals },
        (Some(from), true) => Pace::Ramp {
            from,
            arrivals,
            step: arguments.step,
        },
    };
    Ok(Setup {
        name,
        folder: absolute(&folder)?,
        place,
        environment: arguments.environment.clone(),
        workload: Workload {
            pace,
            extent: match arguments.orders {
                Some(count) => Extent::Orders(count),
                None => Extent::Time(arguments.length),
            },
            warm_up: arguments.warm_up,
            customers: arguments.customers as usize,
            spread: arguments.spread,
            rejects: arguments.rejects,
            cancels: arguments.cancels,
            repeats: arguments.repeats,
            duplicates: arguments.duplicates,
            stored: arguments.stored,
            seed: arguments.seed,
        },
    })
}

fn absolute(folder: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(folder)?)
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
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if stop.swap(true, Ordering::Relaxed) {
                        // What was started is ended by the engines' watchdog.
                        std::process::exit(130);
                    }
                    eprintln!("load: ending what was started … (once more: at once)");
                }
            });
        })?;
    Ok(())
}

/// `500ms`, `90s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed.ok_or_else(|| "give a time such as 500ms, 90s, 2m or 1h".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "give a share from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1e6).contains(rate));
    rate.ok_or_else(|| "give orders a second, from 0.01 to 1000000".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn process(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = pair(text)?;
    let pid = pid.parse().map_err(|_| "give NAME=PID")?;
    Ok((name, pid))
}
