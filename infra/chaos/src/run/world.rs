//! What all threads of a run share: the fleet, the engines, what was sent, what was counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use engines::Engines;
use fleet::{Instance, Service};
use shared::environment::{Environment, Timestamp};
use uuid::Uuid;

use super::{odd::PutIn, schedule::INSTANCES};
use crate::audit::{Ledger, differences::Differences, log::Place};

/// How late a thread that waits notices that all is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Everything.
pub struct World {
    /// When the load began.
    pub begin: Instant,
    /// The same, as documents tell the time.
    pub began_at: Timestamp,
    /// Of the run.
    pub seed: u64,
    /// What no log may show.
    pub secret: String,
    /// By service, then by number; the last one comes and goes.
    pub instances: Vec<Vec<Mutex<Instance>>>,
    /// Where the instances answer.
    urls: Vec<Vec<String>>,
    /// Kafka and MongoDB.
    pub engines: Mutex<Option<Engines>>,
    /// Customers; the first few are busy ones.
    pub customers: Vec<Uuid>,
    /// Customers with credit for everything, whom nobody but the probes order for. Where a partition
    /// loses its leader, one of each partition.
    pub probed: Vec<Uuid>,
    /// All orders that were sent.
    pub ledger: Mutex<Ledger>,
    /// The odd records that were put in, by where they stand.
    pub odd: Mutex<BTreeMap<Place, PutIn>>,
    /// What clients found.
    pub differences: Mutex<Differences>,
    /// What should not have happened and is no invariant's.
    pub unexpected: Mutex<Vec<String>>,
    /// When an engine was in trouble last.
    pub engine_trouble: Mutex<Option<Instant>>,
    /// What clients met.
    pub counts: Counts,
    /// No more new orders; what is under way is finished.
    pub no_more: AtomicBool,
    /// Give up what is still unanswered.
    pub give_up: AtomicBool,
    /// Everything is to end now.
    pub stop: Arc<AtomicBool>,
}

/// What clients met.
#[derive(Debug, Default)]
pub struct Counts {
    /// Orders that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Repeated requests that were answered as the first.
    pub repeated: AtomicU64,
    /// No connection, or a broken one.
    pub broken: AtomicU64,
    /// No answer in time, or a 408.
    pub timeouts: AtomicU64,
    /// 503.
    pub unavailable: AtomicU64,
    /// Records that were copied.
    pub copies: AtomicU64,
    /// Odd records that were put in.
    pub odd: AtomicU64,
    /// Of these, those of which nobody knows where they stand, or whether they do.
    pub odd_without_place: AtomicU64,
    /// Faults that have begun.
    pub faults: AtomicU64,
}

impl Counts {
    /// Errors of all kinds.
    pub fn errors(&self) -> u64 {
        [&self.broken, &self.timeouts, &self.unavailable]
            .into_iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

impl World {
    /// A world whose load begins now.
    pub fn new(
        seed: u64,
        instances: Vec<Vec<Instance>>,
        engines: Engines,
        (customers, probed): (Vec<Uuid>, Vec<Uuid>),
        stop: Arc<AtomicBool>,
    ) -> World {
        let urls = instances
            .iter()
            .map(|of_service| of_service.iter().map(|instance| instance.url.clone()).collect())
            .collect();
        let instances = instances
            .into_iter()
            .map(|of_service| of_service.into_iter().map(Mutex::new).collect())
            .collect();
        World {
            begin: Instant::now(),
            began_at: Environment::real().now(),
            seed,
            secret: format!("chaos-secret-{seed}"),
            instances,
            urls,
            engines: Mutex::new(Some(engines)),
            customers,
            probed,
            ledger: Mutex::default(),
            odd: Mutex::default(),
            differences: Mutex::default(),
            unexpected: Mutex::default(),
            engine_trouble: Mutex::default(),
            counts: Counts::default(),
            no_more: AtomicBool::new(false),
            give_up: AtomicBool::new(false),
            stop,
        }
    }

    /// Where some instance of a service should answer; the one that comes and goes is not asked.
    pub fn url(&self, service: Service, random: &mut fastrand::Rng) -> &str {
        &self.urls[service as usize][random.usize(..INSTANCES)]
    }

    /// An instance.
    pub fn instance(&self, service: Service, number: usize) -> MutexGuard<'_, Instance> {
        lock(&self.instances[service as usize][number])
    }

    /// All instances, those without a process too.
    pub fn all(&self) -> impl Iterator<Item = &Mutex<Instance>> {
        self.instances.iter().flatten()
    }

    /// Notes what should not have happened.
    pub fn unexpected(&self, what: String) {
        eprintln!("chaos: {what}");
        lock(&self.unexpected).push(what);
    }

    /// Waits; `false` where everything is to end.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
        false
    }

    /// Whether everything is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An engine is in trouble at this moment.
    pub fn engine_in_trouble(&self) {
        *lock(&self.engine_trouble) = Some(Instant::now());
    }

    /// Whether an engine was in trouble within this time.
    pub fn had_engine_trouble(&self, within: Duration) -> bool {
        lock(&self.engine_trouble).is_some_and(|when| when.elapsed() < within)
    }
}

/// A thread that panicked has told so; what it held is still good to be told of.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
