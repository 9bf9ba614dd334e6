//! Where a load runs, from its start to its end: whatever is started here is ended when the
//! [`System`] is dropped, and by the engines' watchdog where we are killed before that.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail, ensure};
use contracts::TOPIC;
use engines::{Engine, EngineSettings, Engines};
use fleet::{Instance, Launch, Service};
use shared::{
    document_store::{
        DocumentStore,
        embedded::EmbeddedStore,
        mongo::{MongoSettings, MongoStore},
    },
    event_log::{
        EventLog,
        kafka::{KafkaLog, KafkaSettings},
    },
};
use tokio::runtime::Runtime;

use crate::{
    account::{Account, Who},
    embedded::Embedded,
    stored,
    workload::Workload,
};

/// A run to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name, and that of its folders.
    pub name: String,
    /// For logs and, embedded, for data. Exists and is empty.
    pub folder: PathBuf,
    /// Where.
    pub place: Place,
    /// Settings of the services, by the names of their environment variables.
    pub environment: Vec<(String, String)>,
    /// What is asked of it.
    pub workload: Workload,
}

/// Where it runs.
#[derive(Debug, Clone)]
pub enum Place {
    /// A Kafka, a mongod and processes of the services, all of them new.
    Engines {
        /// Processes of each service.
        instances: usize,
        /// Where the binaries of the services are.
        binaries: PathBuf,
        /// Keeps the engines' data.
        keep: bool,
    },
    /// Both services in this process, on an embedded log and embedded databases.
    Embedded,
    /// What runs already.
    Attached(Attached),
}

/// A system that runs already.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Where Orders answers, each instance.
    pub orders: Vec<String>,
    /// Where Customers answers.
    pub customers: Vec<String>,
    /// Its Kafka.
    pub kafka: String,
    /// Its topic.
    pub topic: String,
    /// Its MongoDB, where that is to be looked at.
    pub mongo: Option<String>,
    /// Process ids whose costs are told, by name.
    pub processes: Vec<(String, u32)>,
}

/// What runs, and how it is reached.
pub struct System {
    /// Where Orders answers, each instance.
    pub orders: Vec<String>,
    /// Where Customers answers.
    pub customers: Vec<String>,
    /// Its log.
    pub log: Arc<dyn EventLog>,
    /// Its topic.
    pub topic: String,
    /// Its MongoDB, where it has one that may be looked at.
    pub mongo: Option<String>,
    /// Whose costs are told, from below.
    pub accounts: Vec<Account>,
    /// What is known of what runs.
    pub settings: Vec<(String, String)>,
    /// Ends with this.
    held: Held,
}

/// In the order in which it ends.
#[derive(Default)]
struct Held {
    instances: Vec<Instance>,
    embedded: Option<Embedded>,
    engines: Option<Engines>,
}

impl System {
    /// What has ended although nobody asked it to.
    pub fn lost(&mut self) -> Option<String> {
        let lost = self.held.instances.iter_mut().find_map(|instance| {
            let status = instance.lost()?;
            Some(format!("{} ended: {status}", instance.name))
        });
        lost.or_else(|| {
            let engine = self.held.engines.as_mut()?.lost()?;
            Some(format!("{engine} ended"))
        })
        .or_else(|| {
            let ended = self.held.embedded.as_ref()?.has_ended();
            ended.then(|| "the services ended".to_owned())
        })
    }
}

/// Starts it, with final orders in its database where that is asked for. Blocks.
pub fn start(setup: &Setup, runtime: &Runtime, stop: &AtomicBool) -> anyhow::Result<System> {
    let mut system = match &setup.place {
        Place::Engines {
            instances,
            binaries,
            keep,
        } => on_engines(setup, runtime, (*instances, binaries, *keep), stop)?,
        Place::Embedded => embedded(setup, runtime, stop)?,
        Place::Attached(attached) => attach(setup, runtime, attached, stop)?,
    };
    let given = setup.environment.iter();
    system
        .settings
        .extend(given.map(|(name, value)| (name.clone(), value.clone())));
    ensure!(!stop.load(Ordering::Relaxed), "stopped");
    Ok(system)
}

fn on_engines(
    setup: &Setup,
    runtime: &Runtime,
    (count, binaries, keep): (usize, &Path, bool),
    stop: &AtomicBool,
) -> anyhow::Result<System> {
    let engines = engines::start(EngineSettings {
        name: format!("load-{}", setup.name),
        fresh: true,
        throw_away: !keep,
        ..EngineSettings::default()
    })?;
    let mut accounts: Vec<Account> = Vec::new();
    let mut account = |name: &str, pids: Vec<u32>| {
        if !pids.is_empty() {
            let (name, who) = (name.to_owned(), Who::Processes(pids));
            accounts.push(Account { name, who });
        }
    };
    account("mongod", engines.pid(Engine::Mongo).into_iter().collect());
    account("broker", engines.pid(Engine::Kafka).into_iter().collect());
    let (kafka, mongo) = (
        engines.kafka_brokers().to_owned(),
        engines.mongodb_uri().to_owned(),
    );
    fill_mongo(setup, runtime, &mongo, stop)?;

    let mut environment = vec![
        ("KAFKA_BROKERS".to_owned(), kafka.clone()),
        ("MONGODB_URI".to_owned(), mongo.clone()),
    ];
    environment.extend(setup.environment.iter().cloned());
    let launch = Launch {
        binaries: binaries.to_owned(),
        environment,
        logs: setup.folder.clone(),
        guard: engines.guard(),
    };
    // From here on all ends with it, whatever fails.
    let mut held = Held {
        engines: Some(engines),
        ..Held::default()
    };
    for service in Service::ALL {
        for number in 0..count {
            let mut instance = Instance::new(service, number, &launch)?;
            instance.start()?;
            held.instances.push(instance);
        }
    }
    let of = |service| {
        let all = held.instances.iter();
        all.filter(move |instance| instance.service == service)
    };
    for service in Service::ALL {
        account(service.name(), of(service).filter_map(Instance::pid).collect());
    }
    account("load", vec![std::process::id()]);
    let urls = |service| of(service).map(|instance| instance.url.clone()).collect();
    let (orders, customers) = (urls(Service::Orders), urls(Service::Customers));
    Ok(System {
        orders,
        customers,
        log: Arc::new(kafka_log(&kafka)?),
        topic: topic(setup),
        mongo: Some(mongo),
        accounts,
        settings: settings(&[
            ("on", "Kafka and mongod on this machine, one of each"),
            ("instances", &count.to_string()),
            ("MongoDB", "w:majority, journaled"),
            ("Kafka", "acks=all, idempotent"),
        ]),
        held,
    })
}

fn embedded(setup: &Setup, runtime: &Runtime, stop: &AtomicBool) -> anyhow::Result<System> {
    let data = setup.folder.join("data");
    if setup.workload.stored > 0 {
        std::fs::create_dir_all(&data)?;
        let (orders, customers) = (
            EmbeddedStore::open(&data, "orders")?,
            EmbeddedStore::open(&data, "customers")?,
        );
        fill(setup, runtime, (&orders, &customers), stop)?;
    }
    let embedded = Embedded::start(&data, &setup.environment)?;
    let thread = current_thread();
    let account = |name: &str, who| Account {
        name: name.to_owned(),
        who,
    };
    Ok(System {
        orders: vec![embedded.orders.clone()],
        customers: vec![embedded.customers.clone()],
        log: embedded.log.clone(),
        topic: topic(setup),
        mongo: None,
        accounts: vec![
            // Their threads work for both services, so they are not told apart.
            account("services", Who::OtherThreads(thread)),
            account("load", Who::Thread(thread)),
        ],
        settings: settings(&[
            ("on", "embedded log and databases, one process"),
            ("embedded", "an fsync before each answer"),
        ]),
        held: Held {
            embedded: Some(embedded),
            ..Held::default()
        },
    })
}

fn attach(
    setup: &Setup,
    runtime: &Runtime,
    attached: &Attached,
    stop: &AtomicBool,
) -> anyhow::Result<System> {
    match &attached.mongo {
        Some(mongo) => fill_mongo(setup, runtime, mongo, stop)?,
        None if setup.workload.stored > 0 => bail!("orders can only be stored where MongoDB is given"),
        None => {}
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (name, pid) in &attached.processes {
        let known = accounts.iter_mut().find(|account| account.name == *name);
        match known.map(|account| &mut account.who) {
            Some(Who::Processes(pids)) => pids.push(*pid),
            _ => accounts.push(Account {
                name: name.clone(),
                who: Who::Processes(vec![*pid]),
            }),
        }
    }
    accounts.push(Account {
        name: "load".to_owned(),
        who: Who::Processes(vec![std::process::id()]),
    });
    Ok(System {
        orders: attached.orders.clone(),
        customers: attached.customers.clone(),
        log: Arc::new(kafka_log(&attached.kafka)?),
        topic: attached.topic.clone(),
        mongo: attached.mongo.clone(),
        accounts,
        settings: settings(&[("on", "a system that ran already")]),
        held: Held::default(),
    })
}

fn settings(given: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    given.iter().map(owned).collect()
}

fn topic(setup: &Setup) -> String {
    let given = setup.environment.iter().find(|(name, _)| name == "KAFKA_TOPIC");
    given.map_or(TOPIC, |(_, value)| value).to_owned()
}

fn kafka_log(brokers: &str) -> anyhow::Result<KafkaLog> {
    Ok(KafkaLog::new(KafkaSettings {
        client_id: "load".into(),
        ..KafkaSettings::new(brokers)
    })?)
}

fn fill_mongo(setup: &Setup, runtime: &Runtime, uri: &str, stop: &AtomicBool) -> anyhow::Result<()> {
    if setup.workload.stored == 0 {
        return Ok(());
    }
    let open = |database: &str| runtime.block_on(MongoStore::new(MongoSettings::new(uri, database)));
    let orders = open("orders")?;
    let customers = open("customers")?;
    fill(setup, runtime, (&orders, &customers), stop)
}

fn fill(
    setup: &Setup,
    runtime: &Runtime,
    (orders, customers): (&dyn DocumentStore, &dyn DocumentStore),
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let load = &setup.workload;
    eprintln!("load: storing {} final orders …", load.stored);
    let filling = stored::fill((orders, customers), load.stored, load.customers as u64, stop);
    runtime.block_on(filling).context("orders cannot be stored")
}

#[cfg(target_os = "linux")]
fn current_thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

#[cfg(not(target_os = "linux"))]
fn current_thread() -> u32 {
    0
}
