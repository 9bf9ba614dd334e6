//! What a test calls: one pair of engines per test process, or none, said loudly.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use crate::error::{MissingTool, StartError};
use crate::mongo;
use crate::{Engine, EngineSettings, Engines, start};

/// The engines that all tests of a process share. Tests keep out of each other's way by names of
/// their own for topics, groups and databases.
#[derive(Debug)]
pub struct Shared {
    /// `host:port` of the Kafka broker.
    pub kafka_brokers: String,
    /// The connection string of MongoDB.
    pub mongodb_uri: String,
    /// The `mongod` program, for tests that start, kill and freeze servers of their own. `None` where
    /// MongoDB was given by its address and no program is on this machine.
    pub mongod: Option<PathBuf>,
}

/// Kept for the life of the process. Statics are not dropped: the watchdog sees the process end,
/// ends the engines and removes their folder.
struct Started {
    shared: Shared,
    _engines: Option<Engines>,
}

/// The outcome of the one attempt: there, or why not.
enum Outcome {
    There(Box<Started>),
    Absent(String),
    Failed(String),
}

static OUTCOME: OnceLock<Outcome> = OnceLock::new();

/// The engines for a test; `None` where the test has to be skipped.
///
/// - Where `KAFKA_BROKERS` and `MONGODB_URI` are set, the engines that they name; where only one of
///   them is set, the other engine is started.
/// - Else engines of this test process: started by the first test that asks, on free ports, with
///   fresh data under `target/engines/test-<pid>`; ended, and their data removed, with the process.
/// - Where a tool is missing, or with `ENGINES=off`: `None`, and a line `SKIPPED: <test>: …` on
///   standard error that says what is missing and how to get it.
///
/// Blocks while the engines start. May be called from async tests.
///
/// # Panics
/// With `CI=true`, instead of skipping: a check that was left out must not look like one that
/// passed. And wherever the engines should have started but did not.
pub fn for_tests() -> Option<&'static Shared> {
    match OUTCOME.get_or_init(begin) {
        Outcome::There(started) => Some(&started.shared),
        Outcome::Failed(why) => panic!("the engines did not start: {why}"),
        Outcome::Absent(why) => {
            skip(why);
            None
        }
    }
}

/// Engines of a test's own, with settings of its own; `None` where the test has to be skipped, as
/// with [`for_tests`]. Addresses in the environment do not stand for them.
///
/// # Panics
/// As [`for_tests`].
pub fn started_for_tests(settings: EngineSettings) -> Option<Engines> {
    let why = if variable("ENGINES").is_some_and(|value| value == "off") {
        "ENGINES=off".to_owned()
    } else {
        match start(settings) {
            Ok(engines) => return Some(engines),
            Err(StartError::MissingTools(tools)) => listed(&tools),
            Err(error) => panic!("the engines did not start: {error}"),
        }
    };
    skip(&why);
    None
}

fn skip(why: &str) {
    let thread = thread::current();
    let line = format!(
        "SKIPPED: {}: needs Kafka and MongoDB: {why}",
        thread.name().unwrap_or("test")
    );
    assert!(!in_ci(), "{line}");
    // `cargo test` shows what a passed test has printed by `eprintln!` only when asked to.
    say(&line);
}

fn listed(tools: &[MissingTool]) -> String {
    let tools: Vec<_> = tools.iter().map(ToString::to_string).collect();
    tools.join("; ")
}

fn begin() -> Outcome {
    if variable("ENGINES").is_some_and(|value| value == "off") {
        return Outcome::Absent("ENGINES=off".to_owned());
    }
    let given = Engine::ALL.map(|engine| variable(engine.variable()));
    let only = match &given {
        [Some(_), Some(_)] => None,
        [None, Some(_)] => Some(Engine::Kafka),
        [Some(_), None] => Some(Engine::Mongo),
        [None, None] => None,
    };
    let [kafka, mongo] = given;
    let engines = if kafka.is_some() && mongo.is_some() {
        None
    } else {
        let settings = EngineSettings {
            name: format!("test-{}", std::process::id()),
            fresh: true,
            throw_away: true,
            only,
            ..EngineSettings::default()
        };
        match start(settings) {
            Ok(engines) => Some(engines),
            Err(StartError::MissingTools(tools)) => return Outcome::Absent(listed(&tools)),
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    };
    let started = |pick: fn(&Engines) -> &str| engines.as_ref().map(|engines| pick(engines).to_owned());
    let shared = Shared {
        kafka_brokers: kafka
            .or_else(|| started(Engines::kafka_brokers))
            .unwrap_or_default(),
        mongodb_uri: mongo
            .or_else(|| started(Engines::mongodb_uri))
            .unwrap_or_default(),
        mongod: mongo::program(),
    };
    Outcome::There(Box::new(Started {
        shared,
        _engines: engines,
    }))
}

/// An environment variable; an empty one counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn in_ci() -> bool {
    variable("CI").is_some_and(|value| value != "false" && value != "0")
}

/// Straight to standard error, past the test harness, which captures `eprintln!`.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
