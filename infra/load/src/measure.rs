//! A run: start, warm up, offer, wait until all is final, check, tell.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context;
use mongodb::Client as Mongo;
use shared::{environment::Environment, event_log::TailFrom};
use tokio::task::LocalSet;

use crate::{
    account::{Account, Spent},
    machine::{self, Work},
    observe, offer,
    progress::Progress,
    run::{Cost, Moment, Run},
    session::Session,
    setup::{self, Setup, System},
    workload::{Extent, Pace, Workload},
};

/// How often it is looked whether something has ended that should not have.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether all is final.
const LOOK_CLOSELY: Duration = Duration::from_millis(5);
/// After the offering, something has to happen within this time until all is final.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for somebody who wants it to end.
const HASTE: Duration = Duration::from_secs(5);
/// What is in the log twice follows within this time.
const AFTERMATH: Duration = Duration::from_millis(300);
/// To finish publishing.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Runs it, and ends all that was started for it. Blocks. With `stop` the offering ends; what is under
/// way is still waited for, a little. Leaves the histograms in the folder of the setup.
pub fn measure(setup: &Setup, stop: Arc<AtomicBool>) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let began = Environment::real().now().to_string();
    let _entered = runtime.enter();
    let mut system = setup::start(setup, &runtime, &stop)?;
    let local = LocalSet::new();
    let run = local.block_on(&runtime, run(setup, &mut system, stop))?;
    Ok(Run { began, ..run })
}

async fn run(setup: &Setup, system: &mut System, stop: Arc<AtomicBool>) -> anyhow::Result<Run> {
    let load = &setup.workload;
    let session = Session::open(system, load, stop).await?;
    let tail = system.log.tail(&system.topic, TailFrom::End).await?;
    let following = {
        let (session, log) = (Rc::clone(&session), system.log.clone());
        let (share, seed) = (load.duplicates, load.seed);
        tokio::task::spawn_local(async move { observe::follow(session, tail, &*log, share, seed).await })
    };
    let mongo = match &system.mongo {
        Some(uri) => Some(Mongo::with_uri_str(uri).await?),
        None => None,
    };
    let mut offering = {
        let (session, load) = (Rc::clone(&session), load.clone());
        tokio::task::spawn_local(async move { offer::offer(session, &load).await })
    };
    session.sleep(load.warm_up).await;

    let before = Snapshot::take(system, mongo.as_ref()).await?;
    session.measure();
    let timeline = Rc::new(RefCell::new(Vec::new()));
    let telling = tokio::task::spawn_local(tell(
        Rc::clone(&session),
        system.accounts.clone(),
        Progress::new(load),
        Rc::clone(&timeline),
    ));
    let mut faults = Vec::new();
    let begin = session.now();
    let end = match load.extent {
        Extent::Time(time) if !matches!(load.pace, Pace::Ramp { .. }) => begin + time,
        _ => Duration::MAX,
    };
    loop {
        let left = end.saturating_sub(session.now());
        if left.is_zero() {
            session.end();
        }
        // Once it is over only answers are missing.
        let look = if left.is_zero() { LOOK } else { left.min(LOOK) };
        match tokio::time::timeout(look, &mut offering).await {
            Ok(offered) => {
                offered??;
                break;
            }
            Err(_not_yet) => {}
        }
        if let Some(lost) = system.lost() {
            faults.push(lost);
            session.end();
        }
    }
    drain(&session, system, &mut faults).await;
    let after = Snapshot::take(system, mongo.as_ref()).await?;
    telling.abort();

    tokio::time::sleep(AFTERMATH).await;
    match session.wrong_credit().await {
        Ok(wrong) => faults.extend(wrong),
        Err(error) => faults.push(format!("credit cannot be asked for: {error:#}")),
    }
    following.abort();
    system.log.close(CLOSE_WITHIN).await;
    let versions = versions(mongo.as_ref(), &setup.place).await?;
    let mut ledger = session.ledger.borrow_mut();
    let mut timeline = timeline.take();
    timeline.push(moment(&mut ledger.end_moment(session.now()), &system.accounts));
    faults.extend(ledger.faults());

    for (name, timing) in [
        ("acknowledged", &ledger.acknowledged),
        ("completed", &ledger.completed),
    ] {
        let file = setup.folder.join(format!("{name}.hgrm"));
        std::fs::write(&file, timing.distribution())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let (sagas, last) = ledger.finished();
    let measured_seconds = last.saturating_sub(begin).as_secs_f64();
    let mut settings = system.settings.clone();
    settings.extend(told(load));
    settings.extend(session.notes.borrow().iter().cloned());
    Ok(Run {
        name: setup.name.clone(),
        began: String::new(),
        machine: machine::machine(),
        versions,
        settings,
        measured_seconds,
        counts: ledger.counts().clone(),
        sagas_per_second: if measured_seconds > 0.0 {
            sagas as f64 / measured_seconds
        } else {
            0.0
        },
        acknowledged: ledger.acknowledged.latency(),
        completed: ledger.completed.latency(),
        timeline,
        costs: after.costs(&before, &system.accounts, sagas),
        storage: after
            .work
            .map(|work| work.each(before.work.unwrap_or_default(), sagas)),
        faults,
    })
}

/// Waits until everything that was accepted is final.
async fn drain(session: &Session, system: &mut System, faults: &mut Vec<String>) {
    let mut since = session.now();
    let mut progress = session.ledger.borrow().progress();
    while session.ledger.borrow().backlog() > 0 {
        let now = session.now();
        let so_far = session.ledger.borrow().progress();
        if so_far != progress {
            (progress, since) = (so_far, now);
        }
        let patience = if session.is_stopped() { HASTE } else { PATIENCE };
        if now > since + patience {
            faults.push(format!("nothing became final within {patience:?}"));
            return;
        }
        if let Some(lost) = system.lost() {
            faults.push(lost);
            return;
        }
        tokio::time::sleep(LOOK_CLOSELY).await;
    }
}

/// Once a second, until it is aborted.
async fn tell(
    session: Rc<Session>,
    accounts: Vec<Account>,
    mut progress: Progress,
    timeline: Rc<RefCell<Vec<Moment>>>,
) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        second.tick().await;
        let mut ended = session.ledger.borrow_mut().end_moment(session.now());
        let moment = moment(&mut ended, &accounts);
        progress.second(&moment, !session.is_over());
        timeline.borrow_mut().push(moment);
    }
}

fn moment(ended: &mut Moment, accounts: &[Account]) -> Moment {
    let processes = accounts.iter().filter(|account| account.is_process());
    let each = |of: fn(&Account) -> u64| {
        let told = processes
            .clone()
            .map(|account| (account.name.clone(), of(account)));
        told.collect()
    };
    Moment {
        resident: each(Account::resident),
        handles: each(Account::handles),
        ..std::mem::take(ended)
    }
}

/// What was spent and done so far.
struct Snapshot {
    spent: Vec<Spent>,
    work: Option<Work>,
}

impl Snapshot {
    async fn take(system: &System, mongo: Option<&Mongo>) -> anyhow::Result<Snapshot> {
        let work = match mongo {
            Some(mongo) => Some(Work::of(mongo).await?),
            None => None,
        };
        Ok(Snapshot {
            spent: system.accounts.iter().map(Account::spent).collect(),
            work,
        })
    }

    fn costs(&self, before: &Snapshot, accounts: &[Account], sagas: u64) -> Vec<Cost> {
        let each = |time: Duration| time.as_secs_f64() * 1000.0 / sagas.max(1) as f64;
        let spent = self.spent.iter().zip(&before.spent);
        let told = accounts.iter().zip(spent).map(|(account, (after, before))| {
            let spent = after.since(*before);
            Cost {
                name: account.name.clone(),
                user_ms_per_saga: each(spent.user),
                system_ms_per_saga: each(spent.system),
                peak_resident_bytes: account.peak_resident(),
            }
        });
        told.collect()
    }
}

async fn versions(mongo: Option<&Mongo>, place: &setup::Place) -> anyhow::Result<Vec<(String, String)>> {
    let mut versions = vec![
        ("load".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (
            "rustc".to_owned(),
            env!("LOAD_RUSTC").trim_start_matches("rustc ").to_owned(),
        ),
    ];
    if let Some(mongo) = mongo {
        versions.push(("mongod".to_owned(), machine::mongo_version(mongo).await?));
    }
    if matches!(place, setup::Place::Engines { .. }) {
        versions.push(("Kafka".to_owned(), engines::KAFKA_VERSION.to_owned()));
    }
    if !matches!(place, setup::Place::Embedded) {
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        versions.push(("librdkafka".to_owned(), librdkafka));
    }
    Ok(versions)
}

/// A load, for people.
fn told(load: &Workload) -> Vec<(String, String)> {
    let percent = |share: f64| format!("{} %", share * 100.0);
    let loop_ = match load.pace {
        Pace::Closed { callers } => format!("closed, {callers} callers"),
        Pace::Open { rate, arrivals } => format!("open, {rate} orders/s, {arrivals:?} arrivals"),
        Pace::Ramp { from, step, .. } => format!("open, from {from} orders/s on faster every {step:?}"),
    };
    let mut told = vec![("loop", loop_)];
    if !matches!(load.pace, Pace::Ramp { .. }) {
        told.push((
            "extent",
            match load.extent {
                Extent::Time(time) => format!("{time:?}"),
                Extent::Orders(count) => format!("{count} orders"),
            },
        ));
    }
    told.extend([
        ("warm-up", format!("{:?}", load.warm_up)),
        ("customers", format!("{}, {:?}", load.customers, load.spread)),
        ("rejected", percent(load.rejects)),
        ("cancelled", percent(load.cancels)),
        ("repeated", percent(load.repeats)),
        ("records twice", percent(load.duplicates)),
        ("stored before", load.stored.to_string()),
        ("seed", load.seed.to_string()),
    ]);
    let owned = told.into_iter().map(|(name, value)| (name.to_owned(), value));
    owned.collect()
}
