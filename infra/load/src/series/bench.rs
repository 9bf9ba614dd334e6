//! One Kafka and one mongod, and on them run after run with services of its own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use engines::{Engine, EngineSettings, Engines};
use fleet::{Instance, Launch, Service};
use mongodb::Client as Mongo;

use super::Ground;
use crate::{
    floor, measure,
    run::Run,
    setup::{Attached, Place, Setup},
    workload::Workload,
};

/// Instances that are told to stop leave their group within this time; killed ones would be waited
/// for by those of the next run.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long a service may take to answer at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The engines.
pub struct Bench {
    engines: Engines,
    ground: Ground,
}

/// A run to be.
pub struct Variant<'a> {
    /// Its name, unique within the series.
    pub name: &'a str,
    /// Settings of the services.
    pub environment: &'a [(&'a str, &'a str)],
    /// Processes of each service.
    pub instances: usize,
    /// What is asked of them.
    pub workload: Workload,
}

impl Bench {
    /// Starts the engines. Blocks.
    pub fn start(name: &str, ground: &Ground) -> anyhow::Result<Bench> {
        let engines = engines::start(EngineSettings {
            name: format!("load-{name}"),
            fresh: true,
            throw_away: true,
            for_long: true,
            ..EngineSettings::default()
        })?;
        Ok(Bench {
            engines,
            ground: ground.clone(),
        })
    }

    /// For what needs no services.
    pub fn engines(&self) -> floor::Engines {
        floor::Engines {
            kafka: self.engines.kafka_brokers().to_owned(),
            mongo: self.engines.mongodb_uri().to_owned(),
            processes: self.engine_pids(),
        }
    }

    /// One run, from nothing to nothing. Blocks.
    pub fn run(&self, variant: &Variant<'_>) -> anyhow::Result<Run> {
        self.check()?;
        eprintln!("load: {} …", variant.name);
        let folder = self.folder(variant.name)?;
        let topic = format!("load-{}", variant.name);
        self.remove_databases()?;
        let mut instances = self.instances(&Service::ALL, &topic, variant)?;
        let urls = |service| {
            let all = instances.iter();
            let all = all.filter(move |instance| instance.service == service);
            all.map(|instance| instance.url.clone()).collect::<Vec<_>>()
        };
        let mut processes = self.engine_pids();
        for instance in &instances {
            let pid = instance.pid().context("a service has not started")?;
            processes.push((instance.service.name().to_owned(), pid));
        }
        let setup = Setup {
            name: variant.name.to_owned(),
            folder,
            place: Place::Attached(Attached {
                orders: urls(Service::Orders),
                customers: urls(Service::Customers),
                kafka: self.engines.kafka_brokers().to_owned(),
                topic: topic.clone(),
                mongo: Some(self.engines.mongodb_uri().to_owned()),
                processes,
            }),
            environment: Vec::new(),
            workload: variant.workload.clone(),
        };
        let mut run = measure(&setup, Arc::clone(&self.ground.stop))
            .with_context(|| format!("{} cannot be run; logs: {}", variant.name, setup.folder.display()))?;
        stop(&mut instances)?;
        self.remove(&topic)?;
        describe(&mut run, variant, &self.ground.binaries);
        self.check()?;
        Ok(run)
    }

    /// Orders, without anybody who validates, for as long as it is asked. Blocks.
    pub fn orders_alone<T>(
        &self,
        variant: &Variant<'_>,
        ask: impl FnOnce(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.check()?;
        eprintln!("load: {} …", variant.name);
        self.folder(variant.name)?;
        let topic = format!("load-{}", variant.name);
        self.remove_databases()?;
        let mut instances = self.instances(&[Service::Orders], &topic, variant)?;
        let url = instances.first().map(|instance| instance.url.clone());
        let url = url.context("there is no instance")?;
        wait_until_ready(&url)?;
        let answered = ask(&url)?;
        stop(&mut instances)?;
        self.remove(&topic)?;
        Ok(answered)
    }

    fn instances(
        &self,
        services: &[Service],
        topic: &str,
        variant: &Variant<'_>,
    ) -> anyhow::Result<Vec<Instance>> {
        let mut environment = vec![
            ("KAFKA_BROKERS", self.engines.kafka_brokers()),
            ("MONGODB_URI", self.engines.mongodb_uri()),
            ("KAFKA_TOPIC", topic),
        ];
        environment.extend(variant.environment);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let launch = Launch {
            binaries: self.ground.binaries.clone(),
            environment: environment.into_iter().map(owned).collect(),
            logs: self.ground.folder.join(variant.name),
            guard: self.engines.guard(),
        };
        let mut instances = Vec::new();
        for service in services {
            for number in 0..variant.instances {
                let mut instance = Instance::new(*service, number, &launch)?;
                instance.start()?;
                instances.push(instance);
            }
        }
        Ok(instances)
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.ground.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    fn engine_pids(&self) -> Vec<(String, u32)> {
        let names = [("mongod", Engine::Mongo), ("broker", Engine::Kafka)];
        let pids = names
            .into_iter()
            .filter_map(|(name, engine)| Some((name.to_owned(), self.engines.pid(engine)?)));
        pids.collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.ground.stop.load(Ordering::Relaxed), "stopped");
        Ok(())
    }

    fn remove(&self, topic: &str) -> anyhow::Result<()> {
        self.remove_databases()?;
        let brokers = self.engines.kafka_brokers().to_owned();
        let dead_letters = format!("{topic}.dead-letters");
        blocking(async move { floor::remove_topics(&brokers, &[topic, &dead_letters]).await })
    }

    fn remove_databases(&self) -> anyhow::Result<()> {
        let uri = self.engines.mongodb_uri().to_owned();
        blocking(async move {
            let mongo = Mongo::with_uri_str(&uri).await?;
            for service in Service::ALL {
                mongo.database(service.name()).drop().await?;
            }
            Ok(())
        })
    }
}

fn stop(instances: &mut [Instance]) -> anyhow::Result<()> {
    // All are told before any is waited for.
    for instance in instances.iter() {
        instance.signal(fleet::Signal::TERM);
    }
    for instance in instances {
        instance.terminate(STOP_WITHIN)?;
    }
    Ok(())
}

fn wait_until_ready(url: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !super::stack::is_ready(url)? {
        ensure!(begin.elapsed() < ANSWER_WITHIN, "{url} is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn blocking<T>(doing: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(doing)
}

/// What a run on a system that ran already cannot know.
fn describe(run: &mut Run, variant: &Variant<'_>, binaries: &Path) {
    let instances = variant.instances.to_string();
    let build = binaries.file_name().unwrap_or_default().to_string_lossy();
    let mut settings = vec![
        (
            "on",
            "Kafka and mongod on this machine, one of each, for all runs",
        ),
        ("instances", instances.as_str()),
        ("build of the services", &build),
        ("MongoDB", "w:majority, journaled"),
        ("Kafka", "acks=all, idempotent"),
    ];
    settings.extend(variant.environment);
    let told = std::mem::take(&mut run.settings);
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    run.settings = settings.into_iter().map(owned).collect();
    run.settings
        .extend(told.into_iter().filter(|(name, _)| name != "on"));
    if !run.versions.iter().any(|(name, _)| name == "Kafka") {
        let version = ("Kafka".to_owned(), engines::KAFKA_VERSION.to_owned());
        run.versions.push(version);
    }
}
