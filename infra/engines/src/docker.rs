//! The engines as containers, where Docker is reachable and the tools are not.
//!
//! A second way, not the better one: its data lives in the container and ends with it, so nothing is
//! kept from one start to the next. Within a start, `kill` and `restart` keep it.

use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::Engine;
use crate::error::{LogTail, StartError};
use crate::instance::Proxied;
use crate::place::Place;
use crate::watchdog::Watchdog;

const KAFKA: &str = "apache/kafka:4.1.0";
const MONGO: &str = "mongo:8.0";

/// Whether a daemon answers.
pub(crate) fn reachable() -> bool {
    docker(&["version", "--format", "{{.Server.Version}}"]).is_ok()
}

/// A container that was started; removed when dropped.
pub(crate) struct Container {
    name: String,
    watchdog: Arc<Watchdog>,
}

impl Container {
    /// Creates and starts it under a name that the watchdog knows beforehand.
    pub(crate) fn run(
        engine: Engine,
        port: u16,
        proxied: Option<Proxied>,
        place: &Place,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self, StartError> {
        let name = format!("engines-{}-{}", place.name, engine.word());
        // Left by an earlier run whose watchdog could not remove it. Mostly there is none.
        let _ = docker(&["rm", "--force", "--volumes", &name]);
        watchdog
            .tell("container", &name)
            .map_err(|source| StartError::Io {
                doing: "reach the watchdog".into(),
                source,
            })?;
        let container = Self {
            name,
            watchdog: Arc::clone(watchdog),
        };
        // The same port inside and outside: both engines tell clients, and themselves, one address.
        let publish = format!("127.0.0.1:{port}:{port}");
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &container.name,
            "--publish",
            &publish,
        ];
        let second = proxied.map(|proxied| format!("127.0.0.1:{0}:{0}", proxied.port));
        arguments.extend(second.iter().flat_map(|second| ["--publish", second]));
        let own = match engine {
            Engine::Kafka => kafka(port, proxied),
            Engine::Mongo => mongo(port),
        };
        arguments.extend(own.iter().map(String::as_str));
        docker(&arguments)?;
        Ok(container)
    }

    pub(crate) fn start(&self) -> Result<(), StartError> {
        self.act("start")
    }

    /// `kill`, `pause` and the like: a sub-command that takes the name alone.
    pub(crate) fn act(&self, verb: &str) -> Result<(), StartError> {
        docker(&[verb, &self.name]).map(drop)
    }

    pub(crate) fn is_running(&self) -> bool {
        docker(&["inspect", "--format", "{{.State.Running}}", &self.name])
            .is_ok_and(|answer| answer.trim() == "true")
    }

    pub(crate) fn tail(&self) -> LogTail {
        let output = Command::new("docker")
            .args(["logs", "--tail", "15", &self.name])
            .output();
        let lines = output.map(|output| {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text)
                .lines()
                .map(str::to_owned)
                .collect()
        });
        LogTail {
            path: format!("docker logs {}", self.name).into(),
            lines: lines.unwrap_or_default(),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if docker(&["rm", "--force", "--volumes", &self.name]).is_ok() {
            let _ = self.watchdog.tell("container-ended", &self.name);
        }
    }
}

fn kafka(port: u16, proxied: Option<Proxied>) -> Vec<String> {
    let (listener, advertised, protocol) = match proxied {
        Some(Proxied { port, advertised }) => (
            format!(",PROXIED://:{port}"),
            format!(",PROXIED://127.0.0.1:{advertised}"),
            ",PROXIED:PLAINTEXT",
        ),
        None => Default::default(),
    };
    // Any port but the broker's is free in a container.
    let taken = proxied.map(|proxied| proxied.port);
    let controller = if taken == Some(port ^ 1) {
        port ^ 2
    } else {
        port ^ 1
    };
    let settings = [
        "PROCESS_ROLES=broker,controller".to_owned(),
        "NODE_ID=1".to_owned(),
        format!("LISTENERS=PLAINTEXT://:{port},CONTROLLER://:{controller}{listener}"),
        format!("ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:{port}{advertised}"),
        format!("LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocol}"),
        "INTER_BROKER_LISTENER_NAME=PLAINTEXT".to_owned(),
        "CONTROLLER_LISTENER_NAMES=CONTROLLER".to_owned(),
        format!("CONTROLLER_QUORUM_VOTERS=1@localhost:{controller}"),
        "NUM_PARTITIONS=3".to_owned(),
        "AUTO_CREATE_TOPICS_ENABLE=false".to_owned(),
        "OFFSETS_TOPIC_REPLICATION_FACTOR=1".to_owned(),
        "OFFSETS_TOPIC_NUM_PARTITIONS=3".to_owned(),
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1".to_owned(),
        "TRANSACTION_STATE_LOG_MIN_ISR=1".to_owned(),
        "GROUP_INITIAL_REBALANCE_DELAY_MS=0".to_owned(),
        "BROKER_SESSION_TIMEOUT_MS=2000".to_owned(),
        "BROKER_HEARTBEAT_INTERVAL_MS=400".to_owned(),
    ];
    let environment = settings
        .into_iter()
        .flat_map(|setting| ["--env".to_owned(), format!("KAFKA_{setting}")]);
    environment.chain([KAFKA.to_owned()]).collect()
}

fn mongo(port: u16) -> Vec<String> {
    let port = port.to_string();
    [MONGO, "--replSet", "rs0", "--bind_ip_all", "--port", &port]
        .map(str::to_owned)
        .into()
}

fn docker(arguments: &[&str]) -> Result<String, StartError> {
    let failed = |said: String| StartError::Docker {
        doing: arguments[0].to_owned(),
        said,
    };
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
