//! What the engines alone carry: the writes and records of sagas through the bare drivers, without our
//! services. No service can be faster than this floor on the same machine; how near it comes is what
//! it adds.
//!
//! [`sagas()`] does for batches of orders what the services do for each: the same documents and
//! statements, made by the rules of the services, and the same records, confirmed by all replicas and
//! read once. Nothing is handed from process to process, nothing is checked, and nothing would survive
//! a crash in order: it is a yardstick, no program to imitate.
//!
//! [`insert`] is the yardstick of one request: an order stored durably, and nothing else.

pub mod insert;
mod batch;
mod records;
mod statements;

use std::{
    cell::Cell,
    fmt::Write as _,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use mongodb::Client as Mongo;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use crate::{
    account::{Account, Spent, Who},
    machine::Work,
    run::{Cost, Storage},
};
use batch::Worker;
use records::Records;
pub(crate) use records::remove_topics;

/// Before it is measured: connections, statistics of the planner, the broker's compiler.
const WARM_UP: Duration = Duration::from_secs(1);
/// For the last records to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Customers in all, as in the runs that it is compared with.
const CUSTOMERS: usize = 1000;

/// The engines.
#[derive(Debug, Clone)]
pub struct Engines {
    /// Kafka's address.
    pub kafka: String,
    /// MongoDB's URI.
    pub mongo: String,
    /// Process ids whose costs are told, by name: `mongod`, `broker`.
    pub processes: Vec<(String, u32)>,
}

/// How the engines are used.
#[derive(Debug, Clone, Copy)]
pub struct FloorSettings {
    /// Sagas that share each write.
    pub batch: usize,
    /// Batches under way at a time.
    pub in_flight: usize,
    /// How long.
    pub length: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FloorResult {
    /// Sagas that share each write.
    pub batch: usize,
    /// Batches under way at a time.
    pub in_flight: usize,
    /// Seconds during which was measured.
    pub measured_seconds: f64,
    /// Sagas with all their records confirmed, divided by that.
    pub sagas_per_second: f64,
    /// What each process cost; `load` is the client.
    pub costs: Vec<Cost>,
    /// What mongod did for it.
    pub storage: Storage,
}

/// Measures it in databases and a topic of its own, which are removed afterwards. Blocks.
pub fn sagas(engines: &Engines, settings: &FloorSettings) -> anyhow::Result<FloorResult> {
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, run(engines, *settings))
}

/// All on one thread, as the generator is.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

async fn run(engines: &Engines, settings: FloorSettings) -> anyhow::Result<FloorResult> {
    ensure!(
        settings.batch > 0 && settings.in_flight > 0,
        "a floor has batches of one saga at least"
    );
    let name = format!("floor-{}", Uuid::new_v4().simple());
    let mongo = Mongo::with_uri_str(&engines.mongo).await?;
    let records = Rc::new(Records::open(&engines.kafka, &name).await?);
    let customers = CUSTOMERS.div_ceil(settings.in_flight).max(settings.batch);
    let (sagas, over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let mut working = JoinSet::new();
    batch::prepare(&engines.mongo, &name).await?;
    for _ in 0..settings.in_flight {
        let mut worker = Worker::new(&mongo, &name, Rc::clone(&records), customers).await?;
        let (sagas, over) = (Rc::clone(&sagas), Rc::clone(&over));
        working.spawn_local(async move {
            while !over.get() {
                worker.sagas(settings.batch).await?;
                sagas.set(sagas.get() + settings.batch as u64);
            }
            anyhow::Ok(())
        });
    }
    let accounts = accounts(engines);
    let snapshot = async || {
        let spent: Vec<Spent> = accounts.iter().map(Account::spent).collect();
        anyhow::Ok((sagas.get(), spent, Work::of(&mongo).await?, Instant::now()))
    };
    let measured = async {
        tokio::time::sleep(WARM_UP).await;
        let before = snapshot().await?;
        tokio::time::sleep(settings.length).await;
        let after = snapshot().await?;
        over.set(true);
        anyhow::Ok((before, after))
    };
    let worked = async {
        while let Some(ended) = working.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let ((before, after), ()) = tokio::try_join!(measured, worked)?;
    let (count, seconds) = (after.0 - before.0, (after.3 - before.3).as_secs_f64());
    ensure!(count > 0, "no saga was finished in {seconds:.1} s");
    records.all_read(3 * sagas.get(), READ_WITHIN).await?;
    batch::remove(&mongo, &name).await?;
    records.remove_topic().await?;

    let each = |time: Duration| time.as_secs_f64() * 1000.0 / count as f64;
    let spent = after
        .1
        .iter()
        .zip(&before.1)
        .map(|(after, before)| after.since(*before));
    let cost = |(account, spent): (&Account, Spent)| Cost {
        name: account.name.clone(),
        user_ms_per_saga: each(spent.user),
        system_ms_per_saga: each(spent.system),
        peak_resident_bytes: account.peak_resident(),
    };
    Ok(FloorResult {
        batch: settings.batch,
        in_flight: settings.in_flight,
        measured_seconds: seconds,
        sagas_per_second: count as f64 / seconds,
        costs: accounts.iter().zip(spent).map(cost).collect(),
        storage: after.2.each(before.2, count),
    })
}

fn accounts(engines: &Engines) -> Vec<Account> {
    let load = ("load".to_owned(), std::process::id());
    let all = engines.processes.iter().chain(std::iter::once(&load));
    all.map(|(name, pid)| Account {
        name: name.clone(),
        who: Who::Processes(vec![*pid]),
    })
    .collect()
}

impl FloorResult {
    /// In a line, for people.
    pub fn told(&self) -> String {
        let mut told = format!(
            "batches of {}, {} in flight: {:.0} sagas/s; CPU ms a saga:",
            self.batch, self.in_flight, self.sagas_per_second
        );
        for cost in &self.costs {
            let all = cost.user_ms_per_saga + cost.system_ms_per_saga;
            let _ = write!(told, " {} {all:.3}", cost.name);
        }
        let _ = write!(told, "; {:.3} fsyncs a saga", self.storage.fsyncs_per_saga);
        told
    }
}
