//! Chaos: real processes on a real Kafka and a real MongoDB, struck by a schedule of faults while
//! clients are at work; then everything heals, and what is left has to be right to the cent.
//!
//! | file | |
//! | --- | --- |
//! | `schedule.rs` | what goes wrong, and when: a function of the seed |
//! | `faults.rs` | carrying out the schedule, healing |
//! | `load.rs`, `client.rs` | careful clients |
//! | `noise.rs`, `odd.rs` | copied and odd records, and what became of the odd ones |
//! | `cluster.rs`, `leaderless.rs` | one of several nodes is struck; a partition without a leader |
//! | `watch.rs` | recovery times, what processes hold (I13), what they log (I14) |
//! | `world.rs` | what all of these share |
//! | `judge.rs` | what the log and the databases say in the end |
//! | `report.rs` | what came out |
//!
//! The schedule and the requests of each client follow from the seed. How they fall together does
//! not: processes, threads and disks keep their own time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use contracts::TOPIC;
use engines::{Engine, EngineSettings, Engines};
use serde_json::json;
use tokio::runtime::Runtime;

pub mod client;
pub mod cluster;
pub mod faults;
mod judge;
pub mod leaderless;
pub mod load;
pub mod noise;
pub mod odd;
pub mod report;
pub mod schedule;
pub mod watch;
pub mod world;

use crate::audit::{self, AuditSettings};
use client::Client;
use fleet::{Instance, Launch, Profile, Service};
use load::Worker;
use report::Report;
use schedule::{INSTANCES, Shape, schedule};
use world::{World, lock};

/// Customers beside the probed ones.
const CUSTOMERS: usize = 24;
/// I5: everything is to be final so long after the last fault.
const FINAL_WITHIN: Duration = Duration::from_secs(30);
/// Between two progress lines.
const PROGRESS: Duration = Duration::from_secs(5);
/// Reading and judging all that is left takes seconds; beyond this an engine or its client hangs.
const JUDGED_WITHIN: Duration = Duration::from_secs(180);
/// After everything is final, connections that are not needed any more may be closed.
const CALM_DOWN: Duration = Duration::from_secs(3);

/// What to run.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// How long there is load and faults.
    pub length: Duration,
    /// Where schedule and requests come from.
    pub seed: u64,
    /// Clients.
    pub workers: usize,
    /// Brokers.
    pub brokers: u16,
    /// Members of the replica set.
    pub members: u16,
    /// A partition is without a leader now and then, and nothing else goes wrong.
    pub leaderless: bool,
}

impl RunSettings {
    fn shape(&self) -> Shape {
        Shape {
            brokers: self.brokers > 1,
            members: self.members > 1,
            leaderless: self.leaderless,
        }
    }

    /// What the services are started with, beside where the engines are.
    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            // Events about unknown orders are among what is put in; half a minute each is too long.
            ("PARK_AFTER", "5s"),
        ];
        if self.leaderless {
            // So few that what waits for the partition without a leader would soon take all places.
            environment.push(("MAX_IN_FLIGHT", "300"));
        }
        environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Runs, reports, cleans up. `stop` may be set at any time; then all that was started is ended and
/// the result is an error.
pub fn run(settings: &RunSettings, stop: Arc<AtomicBool>) -> anyhow::Result<Report> {
    let binaries = fleet::service_binaries(Profile::Release, &["chaos"])?;
    let folder = fleet::fresh_folder("chaos", &settings.seed.to_string())?;
    let planned = schedule(settings.seed, settings.length, settings.shape());
    let lines: String = planned.iter().map(|one| format!("{one}\n")).collect();
    std::fs::write(folder.join("schedule.txt"), lines)?;
    eprintln!(
        "chaos: seed {}, {} faults; logs in {}",
        settings.seed,
        planned.len(),
        folder.display()
    );

    let engines = engines::start(EngineSettings {
        name: format!("chaos-{}", settings.seed),
        fresh: true,
        brokers: settings.brokers,
        members: settings.members,
        ..EngineSettings::default()
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (kafka, mongo) = (
        engines.kafka_brokers().to_owned(),
        engines.mongodb_uri().to_owned(),
    );
    let nodes = Engine::ALL.into_iter().flat_map(|engine| engines.nodes(engine));
    let engine_logs: Vec<_> = nodes.map(|node| engines.log_of(node).to_owned()).collect();
    let engine_folder = engines.folder().to_owned();
    if settings.leaderless {
        runtime.block_on(cluster::make_topic(&engines))?;
    }
    let launch = Launch {
        binaries,
        environment: [
            ("KAFKA_BROKERS".into(), kafka.clone()),
            ("MONGODB_URI".into(), mongo.clone()),
        ]
        .into_iter()
        .chain(settings.environment())
        .collect(),
        logs: folder.clone(),
        guard: engines.guard(),
    };
    let world = prepare(settings, engines, &launch, stop)?;
    let result = storm(settings, &world, &runtime, &planned, (&kafka, &mongo), &folder);

    // All that was started ends here, whatever came out.
    for instance in world.all() {
        lock(instance).kill();
    }
    drop(lock(&world.engines).take());
    for log in engine_logs {
        if let Some(name) = log.file_name() {
            // To be looked at, where there is something to be looked at.
            let _ = std::fs::copy(&log, folder.join(name));
        }
    }
    // Does not wait for a thread that hangs in an engine's client.
    runtime.shutdown_background();
    let report = result?;
    report.write(&folder)?;
    if report.is_good() {
        // What is kept for looking at is the data of a run that went wrong.
        let _ = std::fs::remove_dir_all(engine_folder);
    }
    Ok(report)
}

/// The fleet, ready, with customers.
fn prepare(
    settings: &RunSettings,
    engines: Engines,
    launch: &Launch,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<World> {
    let mut instances = Vec::new();
    for service in Service::ALL {
        let mut of_service = Vec::new();
        for number in 0..=INSTANCES {
            let mut instance = Instance::new(service, number, launch)?;
            if number < INSTANCES {
                instance.start()?;
            }
            of_service.push(instance);
        }
        instances.push(of_service);
    }
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let customers = (0..CUSTOMERS).map(|_| watch::customer(&mut random)).collect();
    let probed = if settings.leaderless {
        (0..cluster::PARTITIONS)
            .map(|partition| cluster::customer_of(partition, &mut random))
            .collect()
    } else {
        vec![watch::customer(&mut random)]
    };
    let world = World::new(settings.seed, instances, engines, (customers, probed), stop);
    if !faults::wait_until_ready(&world) {
        bail!(
            "the services did not become ready; look at {}",
            launch.logs.display()
        );
    }
    let client = Client::new();
    let url = format!("{}/api/customers", world.instance(Service::Customers, 0).url);
    let limits = world
        .customers
        .iter()
        .map(|id| (*id, 500))
        .chain(world.probed.iter().map(|id| (*id, 1_000_000)));
    for (number, (id, limit)) in limits.enumerate() {
        let name = format!("Customer {number}");
        let new = json!({ "id": id, "name": name, "creditLimit": limit });
        let answer = client.post(&url, &new, &world.secret).context("a new customer")?;
        if answer.0 != 201 {
            bail!("a new customer was answered {answer:?}");
        }
    }
    Ok(world)
}

/// Load and faults, healing, waiting, looking.
fn storm(
    settings: &RunSettings,
    world: &World,
    runtime: &Runtime,
    planned: &[schedule::Planned],
    (kafka, mongo): (&str, &str),
    folder: &std::path::Path,
) -> anyhow::Result<Report> {
    let audit_settings = judge::quiet(kafka, mongo);
    let mongo = runtime.block_on(audit::connect(mongo))?;
    let fresh = (watch::held(world), runtime.block_on(watch::sessions(&mongo)));
    // The load's clock, which the schedule follows, starts here.
    let begin = world.begin.elapsed();
    let planned: Vec<_> = planned
        .iter()
        .map(|one| schedule::Planned {
            at: one.at + begin,
            ..*one
        })
        .collect();
    let probes: Vec<watch::Probes> = world.probed.iter().map(|_| watch::Probes::default()).collect();
    let (probing_done, progress_done) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut healed = false;
    let mut settled_after = None;
    let struck = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..settings.workers)
            .map(|number| scope.spawn(move || Worker::new(world, (number, settings.workers)).run()))
            .collect();
        for probe in probes.iter().enumerate() {
            let done = &probing_done;
            scope.spawn(move || watch::probe(world, probe, done));
        }
        scope.spawn(|| {
            if let Err(error) = runtime.block_on(noise::make(world, kafka, TOPIC)) {
                world.unexpected(format!("the noise cannot be made: {error:#}"));
            }
        });
        scope.spawn(|| progress(world, runtime, &mongo, settings.length + begin, &progress_done));
        let striking = scope.spawn(|| faults::carry_out(world, &planned));
        let left = (settings.length + begin).saturating_sub(world.begin.elapsed());
        world.sleep(left);
        world.no_more.store(true, Ordering::Relaxed);
        let struck = striking.join().unwrap_or_default();
        healed = !world.is_stopped() && faults::wait_until_ready(world);
        // Careful clients have the same time for their last answers as orders for their end.
        let since = Instant::now();
        while since.elapsed() < FINAL_WITHIN && !workers.iter().all(|worker| worker.is_finished()) {
            if !world.sleep(Duration::from_millis(20)) {
                break;
            }
        }
        world.give_up.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| drop(worker.join()));
        // The last faults, too, are over only when an order has gone all the way.
        let over = struck.iter().map(|fault| fault.until).fold(0.0, f64::max);
        let gone_all_the_way = |probes: &watch::Probes| lock(probes).iter().any(|(from, _)| *from >= over);
        while since.elapsed() < FINAL_WITHIN && !probes.iter().all(gone_all_the_way) {
            if !world.sleep(Duration::from_millis(20)) {
                break;
            }
        }
        probing_done.store(true, Ordering::Relaxed);
        settled_after = settle(world, runtime, &mongo, &audit_settings, since);
        progress_done.store(true, Ordering::Relaxed);
        struck
    });
    if world.is_stopped() {
        bail!("stopped; the logs so far are in {}", folder.display());
    }
    world.sleep(CALM_DOWN);
    let judged = runtime.block_on(async {
        let judged = judge::judge(world, &audit_settings, &mongo, (&struck, &probes));
        tokio::time::timeout(JUDGED_WITHIN, judged).await
    });
    let Ok(judged) = judged else {
        bail!("reading what the log and the databases say did not end within {JUDGED_WITHIN:?}");
    };
    let (mut audit, leaderless, sessions) = judged?;
    let found = &mut audit.differences;
    judge::i5_all_is_final_in_time(settled_after, healed, found);
    watch::i13_everything_is_given_back(world, &fresh.0, found);
    watch::i13_no_session_is_left(fresh.1, sessions, found);
    watch::i14_logs_are_clean(folder, &world.secret, found)?;
    found.extend(lock(&world.differences).clone());
    Ok(Report::new(
        settings,
        world,
        (struck, &probes),
        settled_after,
        (audit, leaderless),
    ))
}

/// Waits until nothing is open, in an outbox or unread; how long that took.
fn settle(
    world: &World,
    runtime: &Runtime,
    mongo: &mongodb::Client,
    settings: &AuditSettings,
    since: Instant,
) -> Option<f64> {
    loop {
        let left = runtime.block_on(watch::left(mongo));
        if left == Some((0, 0)) && unread(settings) == Some(0) {
            return Some(since.elapsed().as_secs_f64());
        }
        if since.elapsed() > FINAL_WITHIN || !world.sleep(Duration::from_millis(100)) {
            return None;
        }
        faults::replace_lost(world);
    }
}

fn unread(settings: &AuditSettings) -> Option<i64> {
    let groups = [&settings.customers_group, &settings.orders_group];
    groups
        .into_iter()
        .map(|group| audit::topic::lag(&settings.kafka, &settings.topic, group).ok())
        .map(|lag| lag.map(|lag| lag.iter().sum::<i64>()))
        .sum()
}

fn progress(world: &World, runtime: &Runtime, mongo: &mongodb::Client, length: Duration, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) && !world.is_stopped() {
        let since = Instant::now();
        while since.elapsed() < PROGRESS && !done.load(Ordering::Relaxed) {
            if !world.sleep(Duration::from_millis(100)) {
                return;
            }
        }
        if world.begin.elapsed() < length {
            faults::replace_lost(world);
        }
        let open = match runtime.block_on(watch::left(mongo)) {
            Some((open, _)) => open.to_string(),
            None => "?".to_owned(),
        };
        let counts = &world.counts;
        eprintln!(
            "chaos: {} of {}:{:02}  sagas {}  open {open}  faults {}  client errors {}",
            watch::elapsed(world.begin),
            length.as_secs() / 60,
            length.as_secs() % 60,
            counts.acknowledged.load(Ordering::Relaxed),
            counts.faults.load(Ordering::Relaxed),
            counts.errors(),
        );
    }
}
