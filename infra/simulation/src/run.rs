//! One seed: services, clients and faults for a while; then peace until all is quiet; then judgement.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use customers::Customers;
use futures_util::future::join_all;
use orders::Orders;
use shared::{
    contracts::{CustomerId, TOPIC},
    logging::LogFormat,
    service::Service,
    settings::ServiceSettings,
};
use tokio::time::Instant;

use crate::{
    chance::Chance,
    clients::{Client, Cluster},
    faults::{Fault, Faults},
    havoc::{HAVOC_LASTS, Havoc},
    instance::{Instance, Victim, World},
    invariants::{AtRest, Invariant, Violation, judge},
    log::Broker,
    operator,
    process::Process,
    seen::Observer,
    store::Database,
    stranger,
    timeline::{Line, Timeline},
    wire::Wire,
};

/// How long after the last fault everything may take to become quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// Quiet for so long is quiet.
const QUIET_FOR: Duration = Duration::from_secs(3);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// What does not hold; empty: all is well.
    pub violations: Vec<Violation>,
    /// How often each kind of fault has happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Orders that were stored.
    pub orders: usize,
    /// How long after the last fault the last order became final.
    pub recovery: Duration,
    /// Events that stood in the log more than once.
    pub duplicates: u64,
    /// What happened, where it was recorded.
    pub lines: Vec<Line>,
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static PLAYING: RefCell<bool> = const { RefCell::new(false) };
}

/// A panic in a seed belongs to its outcome; elsewhere it is told as ever.
fn collect_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if PLAYING.with_borrow(|playing| *playing) {
                PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            } else {
                usual(panic);
            }
        }));
    });
}

/// Plays a seed, on this thread.
pub fn run(seed: u64, records: bool) -> Outcome {
    collect_panics();
    PLAYING.set(true);
    PANICS.take();
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing")
    });
    let mut outcome = system.block_on(play(seed, records));
    drop(system);
    PLAYING.set(false);
    for panic in PANICS.take() {
        outcome
            .violations
            .push(Violation::new(Invariant::I13, "no panic", panic));
    }
    outcome
}

async fn play(seed: u64, records: bool) -> Outcome {
    let chance = Chance::new(seed);
    let timeline = Timeline::begin(records);
    let faults = Arc::new(Faults::new(chance.fork()));
    let wire = Arc::new(Wire {
        faults: faults.clone(),
        timeline: timeline.clone(),
    });
    let observer = Observer::new(timeline.clone());
    let world = Rc::new(World {
        broker: Broker::new(observer.clone(), wire.clone()),
        wire,
        observer: observer.clone(),
        chance: chance.fork(),
        begin: Instant::now(),
    });
    let orders_database = Database::new(Orders::DEFAULTS.group, observer.clone());
    let customers_database = Database::new(Customers::DEFAULTS.group, observer.clone());
    let orders = instances::<Orders>(&world, &orders_database, 1 + chance.below(3));
    let customers = instances::<Customers>(&world, &customers_database, 1 + chance.below(3));
    let cluster = Cluster::new(world.clone(), orders.clone(), customers.clone());
    let havoc = Rc::new(Havoc {
        world: world.clone(),
        databases: vec![orders_database.clone(), customers_database.clone()],
        victims: victims(&orders).chain(victims(&customers)).collect(),
        groups: vec![Orders::DEFAULTS.group, Customers::DEFAULTS.group],
    });

    let ids: Vec<_> = (0..1 + chance.below(4))
        .map(|_| CustomerId(chance.uuid()))
        .collect();
    let clients = (0..1 + chance.below(4)).map(|_| Client::new(cluster.clone(), chance.fork(), ids.clone()));
    let clients = actix::spawn(join_all(clients.map(Client::run).collect::<Vec<_>>()));
    actix::spawn(stranger::run(world.clone(), chance.fork()));
    actix::spawn(operator::run(orders.clone(), world.clone(), chance.fork()));
    actix::spawn(operator::run(customers.clone(), world.clone(), chance.fork()));
    actix::spawn(havoc.clone().run());
    let (least, most) = HAVOC_LASTS;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(0);
    tokio::time::sleep(chance.millis(millis(least), millis(most))).await;

    havoc.heal();
    let healed = timeline.now();
    let at_rest = || {
        let permits = orders.iter().map(|instance| instance.permits());
        let permits = permits.chain(customers.iter().map(|instance| instance.permits()));
        let groups = havoc.groups.iter();
        AtRest {
            seen: observer.with(|seen| seen.clone()),
            healed,
            parked: orders_database.parked() + customers_database.parked(),
            outboxes: [orders_database.outboxes(), customers_database.outboxes()].concat(),
            lag: groups
                .map(|group| (*group, world.broker.lag(group, TOPIC)))
                .collect(),
            permits: permits.collect(),
        }
    };
    let quiet = || {
        clients.is_finished()
            && observer.with(|seen| seen.orders.values().all(|order| order.status.is_final()))
            && orders_database.parked() + customers_database.parked() == 0
            && orders_database.outboxes().is_empty()
            && customers_database.outboxes().is_empty()
            && havoc
                .groups
                .iter()
                .all(|group| world.broker.lag(group, TOPIC) == 0)
    };
    until_quiet(&quiet).await;
    let recovered = observer.with(|seen| seen.last_final);
    Client::new(cluster.clone(), chance.fork(), ids.clone())
        .find_all_well()
        .await;
    until_quiet(&quiet).await;
    let mut rest = at_rest();
    rest.seen.last_final = recovered;
    timeline.add("THE END", || "judged".into());
    let violations = judge(&rest);
    let outcome = Outcome {
        seed,
        violations,
        faults: faults.counts(),
        orders: rest.seen.orders.len(),
        recovery: rest.seen.last_final.saturating_sub(healed),
        duplicates: rest.seen.duplicates,
        lines: timeline.take(),
    };
    let all = havoc.victims.iter().filter_map(|victim| victim.process());
    all.for_each(|process: Arc<Process>| process.kill());
    outcome
}

async fn until_quiet(quiet: impl Fn() -> bool) {
    let deadline = Instant::now() + QUIET_WITHIN;
    let mut since = None;
    while Instant::now() < deadline {
        if quiet() {
            let since = *since.get_or_insert_with(Instant::now);
            if since.elapsed() >= QUIET_FOR {
                return;
            }
        } else {
            since = None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn instances<S: Service>(world: &Rc<World>, database: &Arc<Database>, count: usize) -> Vec<Rc<Instance<S>>> {
    let instance = |number| {
        let instance = Instance::<S>::new(number, settings::<S>(), database.clone(), world.clone());
        actix::spawn(instance.clone().run());
        instance
    };
    (1..=count).map(instance).collect()
}

fn victims<S: Service>(instances: &[Rc<Instance<S>>]) -> impl Iterator<Item = Rc<dyn Victim>> {
    instances
        .iter()
        .map(|instance| instance.clone() as Rc<dyn Victim>)
}

fn settings<S: Service>() -> ServiceSettings {
    ServiceSettings {
        admin_addr: ([127, 0, 0, 1], 0).into(),
        park_after: Duration::from_secs(5),
        http_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http_workers: 1,
        topic: TOPIC.to_owned(),
        partitions: 3,
        replication: 1,
        group: S::DEFAULTS.group.to_owned(),
        database: S::DEFAULTS.database.to_owned(),
        log_format: LogFormat::Text,
        max_in_flight: 64,
        request_timeout: Duration::from_secs(3),
        max_open_orders: 50_000,
        max_open_orders_per_customer: 5_000,
        reannounce_after: Duration::from_secs(5),
        write_profile: Default::default(),
        drain_delay: Duration::ZERO,
        shutdown_timeout: Duration::from_secs(10),
    }
}
