//! The settings of a service: flags and environment variables of the same name, checked at start,
//! every wrong one named at once.

use std::{borrow::Cow, fmt, net::SocketAddr, time::Duration};

use clap::{Args, Command, FromArgMatches};

use crate::{http::parse_duration, logging::LogFormat};

mod engine_arguments;
#[cfg(all(feature = "kafka", feature = "mongo"))]
mod engines;

pub use engine_arguments::EngineArguments;
#[cfg(all(feature = "kafka", feature = "mongo"))]
pub use engines::EngineSettings;

/// What differs between the services' defaults.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// `HTTP_ADDR`.
    pub http_addr: &'static str,
    /// `ADMIN_ADDR`.
    pub admin_addr: &'static str,
    /// `KAFKA_TOPIC`.
    pub topic: &'static str,
    /// `KAFKA_GROUP`.
    pub group: &'static str,
    /// `MONGODB_DATABASE`.
    pub database: &'static str,
}

/// The settings as they were given, unchecked: text, so that all that is wrong can be told at once.
#[derive(Debug, Clone, Default, Args)]
// So that the struct of a service may have any name.
#[group(skip)]
#[command(next_help_heading = "Settings")]
pub struct Arguments {
    /// Address to answer HTTP at
    #[arg(long, env = "HTTP_ADDR", value_name = "ADDR")]
    pub http_addr: Option<String>,
    /// Address to answer operators at: parked records
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDR")]
    pub admin_addr: Option<String>,
    /// Threads that answer HTTP
    #[arg(long, env = "HTTP_WORKERS", value_name = "N", default_value = "2")]
    pub http_workers: String,
    /// Topic of the events; the dead letters go to this plus `.dead-letters`
    #[arg(long, env = "KAFKA_TOPIC", value_name = "NAME")]
    pub kafka_topic: Option<String>,
    /// Partitions to create the topic with; so many instances of a service share its events at most
    #[arg(long, env = "KAFKA_PARTITIONS", value_name = "N", default_value = "3")]
    pub kafka_partitions: String,
    /// Copies of each partition to create the topic with; auto: as many as there are brokers, 3 at most.
    /// From 3 on, 2 of them have to confirm each event
    #[arg(long, env = "KAFKA_REPLICATION", value_name = "N", default_value = "auto")]
    pub kafka_replication: String,
    /// Consumer group
    #[arg(long, env = "KAFKA_GROUP", value_name = "NAME")]
    pub kafka_group: Option<String>,
    /// Database
    #[arg(long, env = "MONGODB_DATABASE", value_name = "NAME")]
    pub mongodb_database: Option<String>,
    /// How log lines are written: text or json. RUST_LOG chooses which (info by default)
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// Requests that may be under way until their events are in the log; more are answered 503
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "N", default_value = "10000")]
    pub max_in_flight: String,
    /// How long a request may take
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s")]
    pub request_timeout: String,
    /// How long an event that comes too early is tried before it is parked for an operator
    #[arg(long, env = "PARK_AFTER", value_name = "DURATION", default_value = "30s")]
    pub park_after: String,
    /// How long to serve on, not ready, when told to stop, so that load balancers notice
    #[arg(long, env = "DRAIN_DELAY", value_name = "DURATION", default_value = "0s")]
    pub drain_delay: String,
    /// How long finishing what is under way may take when told to stop
    #[arg(
        long,
        env = "SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        default_value = "20s"
    )]
    pub shutdown_timeout: String,
}

/// The checked settings of a service, beside where its log and its database are.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where HTTP is answered.
    pub http_addr: SocketAddr,
    /// Where operators are answered.
    pub admin_addr: SocketAddr,
    /// Threads for HTTP.
    pub http_workers: usize,
    /// Topic of the events.
    pub topic: String,
    /// Partitions to create it with.
    pub partitions: i32,
    /// Copies to create it with; 0 for as many as fit the number of brokers.
    pub replication: i32,
    /// Consumer group.
    pub group: String,
    /// Database name.
    pub database: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Requests under way.
    pub max_in_flight: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long an event that comes too early is tried.
    pub park_after: Duration,
    /// How long requests are still served when told to stop, while `ready` says no.
    pub drain_delay: Duration,
    /// How long stopping may take after that.
    pub shutdown_timeout: Duration,
}

/// Settings that only one service has.
pub trait OwnSettings: Clone + Send + 'static {
    /// Its flags and environment variables, as they were given.
    type Arguments: Args + Clone + fmt::Debug;

    /// Checks them; what is wrong is noted.
    fn check(arguments: &Self::Arguments, check: &mut Check) -> Option<Self>;

    /// As where nothing is set, whatever the environment says.
    fn unset() -> Self {
        let command = Self::Arguments::augment_args(Command::new("")).no_binary_name(true);
        let command = command.mut_args(|argument| argument.env(None::<&'static str>));
        let matches = command.get_matches_from([""; 0]);
        let arguments = Self::Arguments::from_arg_matches(&matches);
        let checked = arguments
            .ok()
            .and_then(|given| Self::check(&given, &mut Check::default()));
        checked.expect("defaults are right")
    }
}

/// A service without settings of its own.
impl OwnSettings for () {
    type Arguments = ();

    fn check((): &(), _: &mut Check) -> Option<()> {
        Some(())
    }
}

/// One setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = self.name.to_ascii_lowercase().replace('_', "-");
        write!(f, "{} (--{flag}) {}", self.name, self.problem)
    }
}

/// Collects what is wrong while settings are read.
#[derive(Default)]
pub struct Check(Vec<SettingError>);

impl Check {
    /// The value, or a note of what is wrong with it.
    pub fn read<T>(&mut self, name: &'static str, value: Result<T, String>) -> Option<T> {
        value
            .map_err(|problem| {
                self.0.push(SettingError {
                    name: name.into(),
                    problem,
                })
            })
            .ok()
    }

    /// Takes over what another check has found, under other names where there are some. What is wrong
    /// for two services is told once.
    pub fn take(&mut self, other: Check, rename: impl Fn(&str) -> Option<String>) {
        for error in other.0 {
            let name = rename(&error.name).map_or(error.name, Cow::Owned);
            let error = SettingError { name, ..error };
            if !self.0.contains(&error) {
                self.0.push(error);
            }
        }
    }

    /// All that was wrong so far.
    pub fn errors(self) -> Vec<SettingError> {
        self.0
    }
}

impl Arguments {
    /// Checks what both kinds of engines need.
    pub fn service(&self, defaults: Defaults, check: &mut Check) -> Option<ServiceSettings> {
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let group = check.read("KAFKA_GROUP", name(&or(&self.kafka_group, defaults.group)));
        let database = check.read(
            "MONGODB_DATABASE",
            name(&or(&self.mongodb_database, defaults.database)),
        );
        let http_addr = check.read("HTTP_ADDR", address(&or(&self.http_addr, defaults.http_addr)));
        let admin_addr = check.read("ADMIN_ADDR", address(&or(&self.admin_addr, defaults.admin_addr)));
        let http_workers = check.read("HTTP_WORKERS", number(&self.http_workers, 1, 64));
        let topic = check.read("KAFKA_TOPIC", name(&or(&self.kafka_topic, defaults.topic)));
        let partitions = check.read("KAFKA_PARTITIONS", number(&self.kafka_partitions, 1, 10_000));
        let replication = check.read("KAFKA_REPLICATION", replication(&self.kafka_replication));
        let log_format = check.read("LOG_FORMAT", log_format(&self.log_format));
        let max_in_flight = check.read("MAX_IN_FLIGHT", number(&self.max_in_flight, 1, 1_000_000));
        let request_timeout = check.read("REQUEST_TIMEOUT", duration(&self.request_timeout));
        let park_after = check.read("PARK_AFTER", duration(&self.park_after));
        let drain_delay = check.read("DRAIN_DELAY", pause(&self.drain_delay));
        let shutdown_timeout = check.read("SHUTDOWN_TIMEOUT", duration(&self.shutdown_timeout));
        Some(ServiceSettings {
            http_addr: http_addr?,
            admin_addr: admin_addr?,
            http_workers: http_workers? as usize,
            topic: topic?,
            partitions: i32::try_from(partitions?).ok()?,
            replication: i32::try_from(replication?).ok()?,
            group: group?,
            database: database?,
            log_format: log_format?,
            max_in_flight: max_in_flight? as usize,
            request_timeout: request_timeout?,
            park_after: park_after?,
            drain_delay: drain_delay?,
            shutdown_timeout: shutdown_timeout?,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("is {text:?}: use an address with a port, for example 127.0.0.1:32001"))
}

/// A whole number between these.
pub fn number(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("is {text:?}: use a whole number from {least} to {most}"))
}

fn replication(text: &str) -> Result<u32, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(0);
    }
    number(text, 1, 15).map_err(|problem| format!("{problem}, or auto"))
}

/// A duration longer than zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| format!("is {text:?}: use a duration such as 10s or 500ms"))
}

/// A duration that may be none.
fn pause(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("is {text:?}: use a duration such as 5s, or 0"))
}

fn name(text: &str) -> Result<String, String> {
    let right = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !text.is_empty() && text.len() <= 200 && text.bytes().all(right) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "is {text:?}: use 1 to 200 letters, digits, dots, dashes or underscores"
        ))
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("is {text:?}: use text or json")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    const DEFAULTS: Defaults = Defaults {
        http_addr: "127.0.0.1:0",
        admin_addr: "127.0.0.1:0",
        topic: "Topic",
        group: "group",
        database: "database",
    };

    fn parse(flags: &[&str]) -> Arguments {
        Program::parse_from(std::iter::once(&"test").chain(flags)).arguments
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let arguments = parse(&[
            "--http-addr=nowhere",
            "--kafka-partitions=0",
            "--log-format=xml",
            "--request-timeout=soon",
            "--drain-delay=later",
        ]);
        let mut check = Check::default();
        assert!(arguments.service(DEFAULTS, &mut check).is_none());
        let names: Vec<_> = check.errors().into_iter().map(|error| error.name).collect();
        let wrong = [
            "HTTP_ADDR",
            "KAFKA_PARTITIONS",
            "LOG_FORMAT",
            "REQUEST_TIMEOUT",
            "DRAIN_DELAY",
        ];
        assert_eq!(names, wrong);
    }

    #[test]
    fn the_defaults_are_right() {
        let mut check = Check::default();
        let settings = parse(&[]).service(DEFAULTS, &mut check).unwrap();
        assert_eq!(
            (settings.topic.as_str(), settings.group.as_str()),
            ("Topic", "group")
        );
        assert!(check.errors().is_empty());
    }
}
