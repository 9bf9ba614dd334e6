//! Real Apache Kafka and MongoDB on this machine, without Docker: by one command
//! (`cargo run -p engines`) and, for tests, by [`for_tests()`] or [`start`]. On Linux; on macOS with a
//! `mongod` of one's own on the PATH.
//!
//! The promise: whatever is started here is ended here, however its starter goes. A process that is
//! stopped, panics, exits or is killed with SIGKILL leaves no engine behind (the how is in `watchdog`).
//!
//! # Code map
//! - this file: [`Engine`], [`EngineSettings`], [`Engines`], [`start`]
//! - `cluster`: several brokers or members: each of them, and which one leads
//! - `for_tests`: what a test calls; one pair of engines per test process
//! - `error`: every way in which a start fails, worded for whoever has to act on it
//! - `instance`: one process of an engine: launched, ready, killed, started again
//! - `kafka`, `mongo`: how each is fetched, configured and recognised as ready
//! - `docker`: the same two as containers, where Docker is there and the tools are not
//! - `process`, `watchdog`: processes in groups of their own, and who ends them if we cannot
//! - `tools`, `download`, `place`, `ports`: what is needed, cached, where it lies, where it listens
//!
//! # Deliberately absent
//! No engine outlives its starter, so there is nothing like `start` today and `stop` tomorrow. No
//! "port open" counts as ready: Kafka has answered a metadata request with its broker in it, and
//! MongoDB is writable. Nothing listens on anything but the loopback address.

mod cluster;
mod docker;
mod download;
mod error;
mod for_tests;
mod instance;
mod kafka;
mod mongo;
mod place;
mod ports;
mod process;
mod tools;
mod watchdog;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

pub use cluster::Node;
pub use error::{MissingTool, StartError};
pub use for_tests::{Shared, for_tests, started_for_tests};

use instance::{Instance, Means, Wish};
use place::Place;
use watchdog::Watchdog;

/// The version of Apache Kafka that is started here.
pub const KAFKA_VERSION: &str = "4.1.0";

/// One of the two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// Apache Kafka 4.1.0: one node that is broker and controller, or several.
    Kafka,
    /// MongoDB: the replica set `rs0`, of one member or several.
    Mongo,
}

impl Engine {
    /// Both, in the order in which they are printed.
    pub const ALL: [Self; 2] = [Self::Kafka, Self::Mongo];

    /// The environment variable by which everything in this workspace finds the engine.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "KAFKA_BROKERS",
            Self::Mongo => "MONGODB_URI",
        }
    }

    /// The name of its folder and log file.
    fn word(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Mongo => "mongo",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::Mongo => "MongoDB",
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.word() == word)
            .ok_or_else(|| "expected `kafka` or `mongo`".to_owned())
    }
}

/// What to start, where, and what becomes of the data.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Data and logs lie under `target/engines/<name>`; one starter at a time may use a name.
    pub name: String,
    /// Port of the Kafka broker; 0 for a free one.
    pub kafka_port: u16,
    /// Port of `mongod`; 0 for a free one.
    pub mongo_port: u16,
    /// Removes the data of an earlier run first. Otherwise the engines continue with it, on
    /// whatever ports they get this time.
    pub fresh: bool,
    /// Removes data and logs at the end, and for speed ends the engines without a farewell.
    pub throw_away: bool,
    /// Starts only this one of the two.
    pub only: Option<Engine>,
    /// The port of a proxy on this machine through which some clients are to reach Kafka. They are
    /// told the proxy's address as the broker's, or they would go round it; all others are told the
    /// broker's own. See [`Engines::kafka_behind_proxy`].
    pub kafka_proxy: Option<u16>,
    /// Brokers, each a process. Of three, each holds every topic that does not say otherwise, and two
    /// have to have a record before it is confirmed.
    pub brokers: u16,
    /// Members of the replica set, each a process.
    pub members: u16,
    /// For runs of minutes, in which the broker shall cost what it costs in use: its code is compiled
    /// in full, which takes its time first. Otherwise it starts quickly and stays a little slower.
    pub for_long: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            kafka_port: 0,
            mongo_port: 0,
            fresh: false,
            throw_away: false,
            only: None,
            kafka_proxy: None,
            brokers: 1,
            members: 1,
            for_long: false,
        }
    }
}

/// The running engines. They end when this is dropped, and when the process ends in any other way.
pub struct Engines {
    /// All brokers; none where Kafka was left out.
    kafka: Vec<Instance>,
    /// All members, likewise.
    mongo: Vec<Instance>,
    throw_away: bool,
    place: Place,
    watchdog: Arc<Watchdog>,
}

/// Starts the engines and returns when both are ready for use; downloads them the first time.
///
/// Blocks for three to five seconds, longer with a download, and for a good ten seconds with three of
/// each. May be called from async code (it needs no runtime of the caller's and brings its own), but
/// occupies the calling thread. Progress is told on standard error.
pub fn start(settings: EngineSettings) -> Result<Engines, StartError> {
    let wanted = Engine::ALL.map(|engine| settings.only.is_none_or(|only| only == engine).then_some(engine));
    let means = tools::means(wanted.into_iter().flatten())?;
    let nodes = |engine: Engine| match engine {
        Engine::Kafka => settings.brokers,
        Engine::Mongo => settings.members,
    };
    settings.fit(|engine| matches!(means[engine as usize], Means::Docker))?;

    let place = Place::open(&settings.name)?;
    let watchdog = Arc::new(Watchdog::start(&place, settings.throw_away)?);
    for engine in wanted.into_iter().flatten() {
        for number in 0..nodes(engine) {
            place.prepare(Node { engine, number }, nodes(engine), settings.fresh)?;
        }
    }

    // Side by side: fetching and starting the one takes as long as the other.
    let begin = |engine: Engine, port| {
        let means: Means = means[engine as usize];
        let (place, watchdog) = (&place, &watchdog);
        let wish = Wish {
            port,
            proxy: settings.kafka_proxy.filter(|_| engine == Engine::Kafka),
            for_long: settings.for_long,
            nodes: nodes(engine),
        };
        move || instance::start(engine, wish, means, place, watchdog)
    };
    let (kafka, mongo) = thread::scope(|scope| {
        let kafka = wanted[0].map(|engine| scope.spawn(begin(engine, settings.kafka_port)));
        let mongo = wanted[1].map(|engine| scope.spawn(begin(engine, settings.mongo_port)));
        (kafka.map(join), mongo.map(join))
    });
    Ok(Engines {
        kafka: kafka.transpose()?.unwrap_or_default(),
        mongo: mongo.transpose()?.unwrap_or_default(),
        throw_away: settings.throw_away,
        place,
        watchdog,
    })
}

impl EngineSettings {
    /// Whether they go together.
    fn fit(&self, in_docker: impl Fn(Engine) -> bool) -> Result<(), StartError> {
        if self.brokers == 0 || self.members == 0 {
            return Err(StartError::Settings("at least one broker and one member"));
        }
        if self.brokers > 1 && self.kafka_proxy.is_some() {
            return Err(StartError::Settings("a proxy leads to a single broker"));
        }
        let several = [(self.brokers, Engine::Kafka), (self.members, Engine::Mongo)];
        if several
            .into_iter()
            .any(|(nodes, engine)| nodes > 1 && in_docker(engine))
        {
            return Err(StartError::Settings(
                "several brokers or members need the tools on this machine, not Docker",
            ));
        }
        Ok(())
    }
}

/// Ends the caller's own processes if the caller goes without having ended them, be it by SIGKILL.
#[derive(Clone)]
pub struct Guard(Arc<Watchdog>);

impl Guard {
    /// From now on this process group is ended with the engines.
    pub fn watch(&self, group: u32) -> std::io::Result<()> {
        self.0.tell("group", group)
    }

    /// This process group has ended; its id may be another's soon.
    pub fn forget(&self, group: u32) {
        // Fails only where the watchdog has gone before us.
        let _ = self.0.tell("group-ended", group);
    }
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Engines {
    /// `host:port` of the Kafka broker; of several, separated by commas.
    ///
    /// # Panics
    /// If Kafka was left out by [`EngineSettings::only`].
    pub fn kafka_brokers(&self) -> &str {
        &self.first(Engine::Kafka).address
    }

    /// Where the proxy of [`EngineSettings::kafka_proxy`] has to lead its clients.
    pub fn kafka_behind_proxy(&self) -> Option<SocketAddr> {
        let port = self.kafka.first()?.behind_proxy?;
        Some((Ipv4Addr::LOCALHOST, port).into())
    }

    /// The connection string of the replica set.
    ///
    /// # Panics
    /// If MongoDB was left out by [`EngineSettings::only`].
    pub fn mongodb_uri(&self) -> &str {
        &self.first(Engine::Mongo).address
    }

    /// `KAFKA_BROKERS` and `MONGODB_URI` with their values, as far as the engines were started.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let first = [self.kafka.first(), self.mongo.first()];
        first
            .into_iter()
            .flatten()
            .map(|i| (i.node.engine.variable(), i.address.as_str()))
            .collect()
    }

    /// The folder of data and logs.
    pub fn folder(&self) -> &Path {
        &self.place.folder
    }

    /// The log file, which has the output of the engine and of what prepared it; of several nodes,
    /// that of the first.
    pub fn log(&self, engine: Engine) -> &Path {
        &self.first(engine).log
    }

    /// Process id of the engine, of several nodes that of the first; `None` while it is killed, or
    /// where it runs in a container.
    pub fn pid(&self, engine: Engine) -> Option<u32> {
        self.first(engine).pid()
    }

    /// Ends all nodes of the engine with SIGKILL and returns when they are gone. Data and ports stay
    /// its own.
    pub fn kill(&mut self, engine: Engine) {
        self.of_mut(engine).iter_mut().for_each(Instance::kill);
    }

    /// Starts all nodes of the engine again on the same ports and data and returns when they are
    /// ready; those that still run are killed first.
    pub fn restart(&mut self, engine: Engine) -> Result<(), StartError> {
        let watchdog = Arc::clone(&self.watchdog);
        let mut all: Vec<_> = self.of_mut(engine).iter_mut().collect();
        instance::restart(&mut all, &watchdog)
    }

    /// Freezes the engine with SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&mut self, engine: Engine) {
        self.of_mut(engine).iter_mut().for_each(Instance::pause);
    }

    /// Lets a paused engine continue.
    pub fn resume(&mut self, engine: Engine) {
        self.of_mut(engine).iter_mut().for_each(Instance::resume);
    }

    /// For processes that the caller starts itself and that must not outlive it either.
    pub fn guard(&self) -> Guard {
        Guard(Arc::clone(&self.watchdog))
    }

    /// An engine of which a node has ended although nobody asked it to.
    pub fn lost(&mut self) -> Option<Engine> {
        self.lost_node().map(|node| node.engine)
    }

    /// Ends all: SIGTERM, and SIGKILL where that was not enough after ten seconds. The same as a
    /// drop, said aloud.
    pub fn stop(self) {}

    fn of(&self, engine: Engine) -> &[Instance] {
        match engine {
            Engine::Kafka => &self.kafka,
            Engine::Mongo => &self.mongo,
        }
    }

    fn of_mut(&mut self, engine: Engine) -> &mut [Instance] {
        match engine {
            Engine::Kafka => &mut self.kafka,
            Engine::Mongo => &mut self.mongo,
        }
    }

    fn first(&self, engine: Engine) -> &Instance {
        self.of(engine)
            .first()
            .unwrap_or_else(|| panic!("{engine} was left out by `only`"))
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for instance in self.kafka.iter_mut().chain(&mut self.mongo) {
                let throw_away = self.throw_away;
                scope.spawn(move || {
                    if throw_away {
                        instance.kill()
                    } else {
                        instance.stop()
                    }
                });
            }
        });
        // Removes the folder where it is to be thrown away, and with it the lock on the name.
        self.watchdog.dismiss();
    }
}
