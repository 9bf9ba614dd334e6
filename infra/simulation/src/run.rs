//! One seed: services, clients and faults for a while; then peace until all is quiet; then judgement.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::{CustomerId, OrderId, OrderStatus, TOPIC};
use customers::{Customers, domain::ReservationState};
use futures_util::future::join_all;
use orders::{
    Orders,
    domain::{LOST_AFTER, Order},
};
use shared::{
    document_store::DocumentKey,
    envelope::OutboxEvent,
    event_log::{Offset, Record},
    events::dead_letter_topic,
    logging::LogFormat,
    saga::Pauses,
    service::Service,
    settings::{OwnSettings, ServiceSettings},
};
use tokio::time::Instant;

use crate::{
    chance::Chance,
    clients::{Client, Cluster},
    faults::{Fault, Faults, Kind},
    havoc::{HAVOC_LASTS, Havoc},
    instance::{Instance, Victim, World},
    invariants::{AtRest, FINAL_WITHIN, Invariant, Violation, i9_led, i15, judge},
    log::{Broker, Refusal, Unfit},
    operator,
    process::Process,
    seen::{Observer, Seen},
    store::Database,
    stranger,
    timeline::{Line, Timeline},
    wire::Wire,
};

/// How long after the last fault every instance runs and has its partitions, and has read what is parked.
const ALL_ARE_BACK: Duration = Duration::from_secs(12);
/// How long after the last fault everything may take to become quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(90);
/// Quiet for so long is quiet.
const QUIET_FOR: Duration = Duration::from_secs(3);
/// When an order that stays open is announced again.
const REANNOUNCE_AFTER: Duration = Duration::from_secs(5);
/// Partitions that the topic begins with.
const PARTITIONS: usize = 3;
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
            .push(Violation::new(Invariant::TakenComesBack, "no panic", panic));
    }
    outcome
}

async fn play(seed: u64, records: bool) -> Outcome {
    let chance = Chance::new(seed);
    let kind = Kind::of(seed);
    let timeline = Timeline::begin(records);
    let faults = Arc::new(Faults::new(kind, chance.fork()));
    let wire = Arc::new(Wire {
        faults: faults.clone(),
        timeline: timeline.clone(),
    });
    let observer = Observer::new(timeline.clone());
    let world = Rc::new(World {
        broker: Broker::new(observer.clone(), wire.clone()),
        wire,
        observer: observer.clone(),
        kind,
        clears_up: Cell::new(false),
        chance: chance.fork(),
        begin: Instant::now(),
    });
    refuse_for_good(&world, &chance);
    let orders_database = Database::new(Orders::DEFAULTS.group, observer.clone());
    let customers_database = Database::new(Customers::DEFAULTS.group, observer.clone());
    let count = || match kind {
        Kind::Calm => 2,
        Kind::Usual | Kind::LostTail => 1 + chance.below(3),
    };
    let of_orders = orders::settings::Settings {
        reannounce_after: REANNOUNCE_AFTER,
        ..OwnSettings::unset()
    };
    let stage = Stage {
        orders: instances::<Orders>(&of_orders, &world, &orders_database, count()),
        customers: instances::<Customers>(&(), &world, &customers_database, count()),
        databases: vec![orders_database, customers_database],
        world: world.clone(),
    };
    let Stage {
        orders, customers, ..
    } = &stage;
    let cluster = Cluster::new(world.clone(), orders.clone(), customers.clone());
    let havoc = Rc::new(Havoc {
        world: world.clone(),
        databases: stage.databases.clone(),
        spoilt: RefCell::default(),
        victims: victims(orders).chain(victims(customers)).collect(),
        groups: GROUPS.to_vec(),
    });

    let ids: Vec<_> = (0..1 + chance.below(4))
        .map(|_| CustomerId(chance.uuid()))
        .collect();
    let client = || Client::new(cluster.clone(), chance.fork(), ids.clone());
    let clients: Vec<_> = (0..1 + chance.below(4)).map(|_| client()).collect();
    let clients = actix::spawn(join_all(clients.into_iter().map(Client::run)));
    actix::spawn(stranger::run(world.clone(), chance.fork()));
    actix::spawn(operator::run(orders.clone(), world.clone(), chance.fork()));
    actix::spawn(operator::run(customers.clone(), world.clone(), chance.fork()));
    actix::spawn(havoc.clone().run());
    let (least, most) = HAVOC_LASTS;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(0);
    tokio::time::sleep(chance.millis(millis(least), millis(most))).await;

    havoc.heal();
    let clocks_were_set = faults.counts().contains_key(&Fault::ClockJump);
    let punctual_from = (!clocks_were_set).then(|| timeline.now() + ALL_ARE_BACK);
    observer.with(|seen| seen.punctual_from = punctual_from);
    // What is parked stays parked, and where there is no leader there still is none.
    let deadline = Instant::now() + FINAL_WITHIN;
    until(deadline, || clients.is_finished()).await;
    client().order_for_all().await;
    let deadline = Instant::now() + observer.with(until_announced_again) + FINAL_WITHIN;
    until(deadline, || stage.nobody_waits_for_others().is_ok()).await;
    if let Err(violation) = stage.nobody_waits_for_others() {
        observer.violated(violation);
    }

    timeline.add("HAVOC", || "leaders are elected, operators clear up".into());
    world.broker.elect();
    world.clears_up.set(true);
    let healed = timeline.now();
    let quiet = || clients.is_finished() && stage.is_quiet();
    until_quiet(&quiet).await;
    let recovered = observer.with(|seen| (seen.last_final, seen.last_final_of_failed));
    client().find_all_well().await;
    until_quiet(&quiet).await;
    if kind == Kind::LostTail {
        // The log may have lost the last event of an order for good. Orders announces it again when it
        // hears of the order, but only after `LOST_AFTER`: before, the event may still be on its way.
        tokio::time::sleep(LOST_AFTER).await;
        stranger::mention(&world, &observer.with(held_for_nobody));
        until_quiet(&quiet).await;
    }
    let mut rest = stage.at_rest(healed);
    (rest.seen.last_final, rest.seen.last_final_of_failed) = recovered;
    timeline.add("THE END", || "judged".into());
    let violations = judge(&rest);
    let outcome = Outcome {
        seed,
        violations,
        faults: faults.counts(),
        orders: rest.seen.orders.len(),
        recovery: recovered.0.max(recovered.1).saturating_sub(healed),
        duplicates: rest.seen.duplicates,
        lines: timeline.take(),
    };
    let all = havoc.victims.iter().filter_map(|victim| victim.process());
    all.for_each(|process: Arc<Process>| process.kill());
    outcome
}

/// The consumer groups.
const GROUPS: [&str; 2] = [Orders::DEFAULTS.group, Customers::DEFAULTS.group];

/// In some seeds the log never takes dead letters, or the `CustomerCreated` of long names.
fn refuse_for_good(world: &World, chance: &Chance) {
    let what = match chance.below(20) {
        0 => Unfit::DeadLetters,
        1 | 2 => Unfit::LargerThan(600),
        _ => return,
    };
    if world.kind == Kind::Usual {
        world.broker.refuse(Refusal { what, until: None });
    }
}

/// Where the log has lost what it had confirmed, an order may have to wait for its next announcement.
fn until_announced_again(seen: &mut Seen) -> Duration {
    if seen.lost_from.is_empty() {
        return Duration::ZERO;
    }
    let pauses = Pauses {
        after: REANNOUNCE_AFTER,
        double: true,
    };
    let open = seen.orders.values().filter(|order| !order.status.is_final());
    let pause = |order: &Order| pauses.before_next(order.announced_again.map_or(0, |again| again.times));
    open.map(pause).max().unwrap_or_default()
}

/// Held reservations of orders that are cancelled.
fn held_for_nobody(seen: &mut Seen) -> Vec<OrderId> {
    let held = seen.reservations.values();
    let held = held.filter(|reservation| reservation.state == ReservationState::Held);
    held.map(|reservation| reservation.id)
        .filter(|id| {
            let order = seen.orders.get(id);
            order.is_some_and(|order| order.status == OrderStatus::Cancelled)
        })
        .collect()
}

/// Everything whose state is looked at.
struct Stage {
    world: Rc<World>,
    orders: Vec<Rc<Instance<Orders>>>,
    customers: Vec<Rc<Instance<Customers>>>,
    databases: Vec<Arc<Database>>,
}

impl Stage {
    /// Documents with events that are not marked as published; without those whose events the log
    /// never takes.
    fn outboxes(&self) -> Vec<DocumentKey> {
        let outboxes = self.databases.iter().flat_map(|database| database.outboxes());
        let takes = |event: &OutboxEvent| !self.world.broker.refuses_for_good(&event.record(TOPIC));
        outboxes
            .filter(|(_, events)| events.is_empty() || events.iter().any(takes))
            .map(|(key, _)| key)
            .collect()
    }

    fn parked(&self) -> usize {
        self.databases.iter().map(|database| database.parked()).sum()
    }

    fn lag(&self) -> Vec<(&'static str, Offset)> {
        let lag = |group: &'static str| (group, self.world.broker.lag(group, TOPIC));
        GROUPS.into_iter().map(lag).collect()
    }

    fn is_quiet(&self) -> bool {
        let is_final = |seen: &mut Seen| seen.orders.values().all(|order| order.status.is_final());
        self.world.observer.with(is_final)
            && self.parked() == 0
            && self.outboxes().is_empty()
            && self.lag().iter().all(|(_, lag)| *lag == 0)
    }

    /// Excused is what stands where there is no leader.
    fn nobody_waits_for_others(&self) -> Result<(), Violation> {
        let broker = &self.world.broker;
        let leaderless = |key: &[u8]| {
            let places = broker.places_of(TOPIC, key, PARTITIONS);
            places.iter().any(|place| !broker.has_leader(place))
        };
        let outboxes = self.databases.iter().flat_map(|database| database.outboxes());
        let events = outboxes.flat_map(|(_, events)| events);
        let led = |event: &OutboxEvent| event.record(TOPIC).key.is_some_and(|key| !leaderless(&key));
        let left: Vec<_> = events
            .filter(|event| event.letter.is_none() && led(event))
            .collect();
        self.world.observer.with(|seen| {
            i15(seen, |order| leaderless(order.customer_id.to_string().as_bytes()))?;
            i9_led(seen, &left)
        })
    }

    fn at_rest(&self, healed: Duration) -> AtRest {
        let Stage {
            world,
            orders,
            customers,
            databases,
        } = self;
        let seen = world.observer.with(|seen| seen.clone());
        let refused = |record: &&Record| world.broker.refuses_for_good(record);
        let permits = orders.iter().map(|instance| instance.permits());
        let permits = permits.chain(customers.iter().map(|instance| instance.permits()));
        let waiting = databases.iter().flat_map(|database| database.outboxes());
        AtRest {
            healed,
            parked: self.parked(),
            outboxes: self.outboxes(),
            lag: self.lag(),
            permits: permits.collect(),
            refused: seen
                .announced
                .iter()
                .filter(|(_, record)| refused(record))
                .map(|(id, _)| id.clone())
                .collect(),
            waiting: waiting
                .flat_map(|(_, events)| events)
                .map(|event| event.id.to_string())
                .collect(),
            no_letters: world.broker.refuses_for_good(&Record {
                topic: dead_letter_topic(TOPIC),
                ..Record::default()
            }),
            calm: world.kind == Kind::Calm,
            missing_fields: databases
                .iter()
                .flat_map(|database| database.missing_fields())
                .collect(),
            seen,
        }
    }
}

async fn until(deadline: Instant, settled: impl Fn() -> bool) {
    while !settled() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
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

fn instances<S: Service>(
    own: &S::Settings,
    world: &Rc<World>,
    database: &Arc<Database>,
    count: usize,
) -> Vec<Rc<Instance<S>>> {
    let instance = |number| {
        let settings = (settings::<S>(), own.clone());
        let instance = Instance::<S>::new(number, settings, database.clone(), world.clone());
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
        partitions: i32::try_from(PARTITIONS).unwrap_or(3),
        replication: 1,
        group: S::DEFAULTS.group.to_owned(),
        database: S::DEFAULTS.database.to_owned(),
        log_format: LogFormat::Text,
        max_in_flight: 64,
        request_timeout: Duration::from_secs(3),
        drain_delay: Duration::ZERO,
        shutdown_timeout: Duration::from_secs(10),
    }
}
