//! Apache Kafka 4.1.0 as one KRaft node: its jars from Maven, run by `java` directly.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::Engine;
use crate::download;
use crate::error::StartError;
use crate::instance::Proxied;
use crate::place::{self, Place, doing};
use crate::ports;
use crate::process::Launch;
use crate::watchdog::Watchdog;

/// The name in the cache.
const CACHED: &str = "kafka-4.1.0";

/// What Maven is to fetch. Without an SLF4J binding, a fatal error at start would be told nowhere.
const POM: &str = r#"<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>engines</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>4.1.0</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"#;

/// Sixteen bytes in base64, as Kafka wants them. One cluster on a loopback address needs no other.
const CLUSTER_ID: &str = "ZW5naW5lcy1vZi10ZXN0cw";

const JAVA_OPTIONS: [&str; 4] = [
    "-Xms256m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Quick to start, rather than fast later.
const SHORT_LIVED: &str = "-XX:TieredStopAtLevel=1";

pub(crate) fn is_cached() -> bool {
    download::path(CACHED).is_dir()
}

/// Fetches, configures and formats what is needed; the result runs the broker.
pub(crate) fn prepare(
    port: u16,
    (proxied, for_long): (Option<Proxied>, bool),
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<Launch, StartError> {
    let libs = download::cached(CACHED, |folder, log| fetch(folder, log, watchdog))?;
    let home = place.data(Engine::Kafka);
    let properties = home.join("server.properties");
    let controller = loop {
        let controller = ports::choose_other(Engine::Kafka, port)?;
        if proxied.is_none_or(|proxied| proxied.port != controller) {
            break controller;
        }
    };
    let configuration = configuration(port, proxied, controller, &home.join("data"));
    fs::write(&properties, configuration).map_err(doing("write", &properties))?;
    format(&libs, &home, &properties, place, watchdog)?;
    Ok(java(&libs, for_long).arg("kafka.Kafka").arg(properties))
}

fn fetch(folder: &Path, log: &Path, watchdog: &Arc<Watchdog>) -> Result<(), StartError> {
    eprintln!("engines: downloading Kafka 4.1.0 (43 MB) …");
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(doing("write", &pom))?;
    let mut libs = std::ffi::OsString::from("-DoutputDirectory=");
    libs.push(folder);
    Launch::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(libs)
        .run("download Kafka with Maven", log, watchdog)
}

/// Writes the cluster's first metadata, once. A mark tells it from a formatting that was cut short.
fn format(
    libs: &Path,
    home: &Path,
    properties: &Path,
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<(), StartError> {
    let mark = home.join("formatted");
    if mark.exists() {
        return Ok(());
    }
    place::remove(&home.join("data"))?;
    java(libs, false)
        .args([
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            CLUSTER_ID,
            "-c",
        ])
        .arg(properties)
        .run("format Kafka's storage", &place.log(Engine::Kafka), watchdog)?;
    fs::write(&mark, CLUSTER_ID).map_err(doing("write", &mark))
}

fn java(libs: &Path, for_long: bool) -> Launch {
    Launch::new("java")
        .args(JAVA_OPTIONS)
        .args((!for_long).then_some(SHORT_LIVED))
        .arg("-cp")
        .arg(libs.join("*"))
}

/// The settings of the broker, all of them needed.
///
/// The controller's port may change between runs on the same data: a quorum of one elects itself
/// without being asked for.
fn configuration(port: u16, proxied: Option<Proxied>, controller: u16, data: &Path) -> String {
    let (listener, advertised, protocol) = match proxied {
        Some(Proxied { port, advertised }) => (
            format!(",PROXIED://127.0.0.1:{port}"),
            format!(",PROXIED://127.0.0.1:{advertised}"),
            ",PROXIED:PLAINTEXT\ninter.broker.listener.name=PLAINTEXT",
        ),
        None => Default::default(),
    };
    format!(
        "\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocol}
log.dirs={data}
num.partitions=3
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# After a kill -9 the controller refuses the new process until the old session has ended.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
",
        data = data.display()
    )
}

/// Asks a starting broker whether it is ready.
pub(crate) struct Probe {
    port: u16,
    client: Option<BaseProducer>,
}

impl Probe {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, client: None }
    }

    /// Ready when a metadata request answers with the broker in it.
    pub(crate) fn ask(&mut self) -> Result<(), String> {
        // Not before the port is open: a client that was refused waits longer each time.
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| error.to_string())?;
                ClientConfig::new()
                    .set("bootstrap.servers", address(self.port))
                    .set("reconnect.backoff.max.ms", "200")
                    .create()
                    .map_err(|error| error.to_string())?
            }
        };
        let client = self.client.insert(client);
        let metadata = client
            .client()
            .fetch_metadata(None, Duration::from_secs(1))
            .map_err(|error| error.to_string())?;
        let listed = metadata
            .brokers()
            .iter()
            .any(|broker| broker.port() == i32::from(self.port));
        if listed {
            Ok(())
        } else {
            Err("the broker is not in its metadata yet".to_owned())
        }
    }
}

/// `host:port`, as in `KAFKA_BROKERS`.
pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
