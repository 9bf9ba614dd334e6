//! Apache Kafka 4.1.0 in KRaft mode, each node broker and controller: its jars from Maven, run by `java`
//! directly.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::download;
use crate::error::StartError;
use crate::instance::Proxied;
use crate::place::{self, Place, doing};
use crate::ports;
use crate::process::Launch;
use crate::watchdog::Watchdog;
use crate::{Engine, Node};

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

const JAVA_OPTIONS: [&str; 2] = [
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
const MEMORY: [&str; 2] = ["-Xms256m", "-Xmx512m"];
/// Of each of several.
const LESS_MEMORY: [&str; 2] = ["-Xms128m", "-Xmx384m"];
/// Quick to start, rather than fast later.
const SHORT_LIVED: &str = "-XX:TieredStopAtLevel=1";

pub(crate) fn is_cached() -> bool {
    download::path(CACHED).is_dir()
}

/// Fetches, configures and formats what is needed; the results run the nodes that listen there.
pub(crate) fn prepare(
    ports: &[u16],
    (proxied, for_long): (Option<Proxied>, bool),
    place: &Place,
    watchdog: &Arc<Watchdog>,
) -> Result<Vec<Launch>, StartError> {
    let libs = download::cached(CACHED, |folder, log| fetch(folder, log, watchdog))?;
    let mut taken = ports.to_vec();
    taken.extend(proxied.map(|proxied| proxied.port));
    let mut controllers = Vec::new();
    for _ in ports {
        let controller = ports::choose_other(Engine::Kafka, &taken)?;
        taken.push(controller);
        controllers.push(controller);
    }
    let several = ports.len() > 1;
    let memory = if several { LESS_MEMORY } else { MEMORY };
    let one = |number: usize| {
        let (home, log) = home(place, number, ports.len());
        let properties = home.join("server.properties");
        let configuration = match several {
            false => alone(ports[0], proxied, controllers[0]),
            true => together(number, ports, &controllers),
        };
        let configuration = format!(
            "{configuration}log.dirs={}\n{COMMON}",
            home.join("data").display()
        );
        fs::write(&properties, configuration).map_err(doing("write", &properties))?;
        let standalone = (!several).then_some("--standalone");
        format(&libs, (&home, &properties), standalone, &log, watchdog)?;
        Ok(java(&libs, for_long)
            .args(memory)
            .arg("kafka.Kafka")
            .arg(properties))
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..ports.len())
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        threads.into_iter().map(crate::join).collect()
    })
}

/// The folder of a node, and its log.
fn home(place: &Place, number: usize, of: usize) -> (PathBuf, PathBuf) {
    let (number, of) = (number as u16, of as u16);
    let node = Node {
        engine: Engine::Kafka,
        number,
    };
    (place.data(node, of), place.log(node, of))
}

/// The node that leads the metadata quorum, as far as the nodes have written down.
pub(crate) fn controller(place: &Place, of: usize) -> Option<u16> {
    let states = (0..of).filter_map(|number| {
        let (home, _) = home(place, number, of);
        let state = fs::read_to_string(home.join("data/__cluster_metadata-0/quorum-state")).ok()?;
        Some((number_in(&state, "leaderEpoch")?, number_in(&state, "leaderId")?))
    });
    let (_, leader) = states.filter(|(_, leader)| *leader > 0).max()?;
    u16::try_from(leader - 1).ok()
}

/// The number of this name in a flat JSON object.
fn number_in(json: &str, name: &str) -> Option<i64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

/// The node that leads a partition, as the brokers say.
pub(crate) fn leader(brokers: &str, topic: &str, partition: i32) -> Option<u16> {
    let client: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("allow.auto.create.topics", "false")
        .create()
        .ok()?;
    let metadata = client
        .client()
        .fetch_metadata(Some(topic), Duration::from_secs(2))
        .ok()?;
    let partitions = metadata.topics().first()?.partitions();
    let found = partitions.iter().find(|found| found.id() == partition)?;
    u16::try_from(found.leader() - 1).ok()
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
    (home, properties): (&Path, &Path),
    standalone: Option<&str>,
    log: &Path,
    watchdog: &Arc<Watchdog>,
) -> Result<(), StartError> {
    let mark = home.join("formatted");
    if mark.exists() {
        return Ok(());
    }
    place::remove(&home.join("data"))?;
    java(libs, false)
        .args(["kafka.tools.StorageTool", "format"])
        .args(standalone)
        .args(["-t", CLUSTER_ID, "-c"])
        .arg(properties)
        .run("format Kafka's storage", log, watchdog)?;
    fs::write(&mark, CLUSTER_ID).map_err(doing("write", &mark))
}

fn java(libs: &Path, for_long: bool) -> Launch {
    Launch::new("java")
        .args(JAVA_OPTIONS)
        .args((!for_long).then_some(SHORT_LIVED))
        .arg("-cp")
        .arg(libs.join("*"))
}

/// What all nodes have in their settings.
const COMMON: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
num.partitions=3
auto.create.topics.enable=false
offsets.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
# After a kill -9 the controller refuses the new process, and fences the old one, when its session ends.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
";

/// The settings of a single node.
///
/// The controller's port may change between runs on the same data: a quorum of one elects itself
/// without being asked for.
fn alone(port: u16, proxied: Option<Proxied>, controller: u16) -> String {
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
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocol}
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"
    )
}

/// The settings of one node of several.
///
/// Ports may change between runs on the same data: the voters stand in the settings, not in the log.
fn together(number: usize, ports: &[u16], controllers: &[u16]) -> String {
    let (id, port, controller) = (number + 1, ports[number], controllers[number]);
    let voters: Vec<_> = (1..)
        .zip(controllers)
        .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
        .collect();
    let (voters, copies) = (voters.join(","), ports.len().min(3));
    // With two copies both have to be there, so one missing would already stop all writing.
    let in_sync = if copies > 2 { 2 } else { 1 };
    format!(
        "\
node.id={id}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={voters}
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
default.replication.factor={copies}
min.insync.replicas={in_sync}
unclean.leader.election.enable=false
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
"
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

/// `host:port,…`, as in `KAFKA_BROKERS`.
pub(crate) fn addresses(ports: &[u16]) -> String {
    let addresses: Vec<_> = ports.iter().map(|port| address(*port)).collect();
    addresses.join(",")
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
