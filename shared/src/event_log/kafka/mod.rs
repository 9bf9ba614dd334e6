//! The log on Apache Kafka, by librdkafka.
//!
//! Promises kept here, beyond those of the port:
//!
//! - Publishing is idempotent and waits for all replicas: a retry inside the client neither
//!   duplicates nor reorders, a confirmed record survives the loss of a broker.
//! - Nothing here blocks an async thread: each client is polled by a thread of its own, and whatever
//!   librdkafka answers only by blocking runs on a thread of its own.
//! - While the brokers are away, everything waits and goes on by itself; [`EventLog::check`] and
//!   [`Consumer::check`](super::Consumer::check) say what librdkafka last complained about.
//! - A key has one partition, whoever writes it: records are placed by `murmur2_random`, the rule of
//!   Java's clients. Clients made of librdkafka use another one by default (`consistent_random`, which
//!   is CRC32) and have to be given `partitioner=murmur2_random`, or a key stands in two partitions and
//!   its order is gone.
//!
//! Hazards a reader should know: `producer` (fatal errors), `member` (rebalances),
//! `consumer` (closing).
//!
//! Deliberately absent: transactions (effects are made idempotent by their readers), rebalance
//! callbacks that wait, and timers of the async runtime (so that a runtime with paused time, as in
//! the simulation, sees no difference).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use tokio::sync::oneshot;

use self::{admin::Probe, age::Ages, link::Link, producer::Publisher};
use super::{Delivery, EventLog, LogError, Record, Subscribed, Subscription, Tail, TailFrom, TopicSettings};

mod admin;
mod age;
mod brokers;
mod consumer;
mod context;
mod health;
mod lag;
mod link;
mod member;
mod native;
mod options;
mod producer;
mod record;
mod setbacks;
mod tail;
mod topics;
mod watch;

pub use options::{read as read_options, refusal};
pub use record::consumed;

/// How long a broker may take to answer. Ours answer in milliseconds; one that was frozen for longer
/// is asked again, which is harmless: the producer is idempotent, everything else reads.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often each client asks the brokers about its topics, needed or not. With [`ANSWER_WITHIN`] and
/// the session of a group member it bounds how long a silent connection goes unnoticed.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How members of a consumer group agree on who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupProtocol {
    /// The members decide, cooperative-sticky: any broker can do it, and with a heartbeat every
    /// 300 ms it is the quickest today.
    #[default]
    Classic,
    /// The broker decides (KIP-848, Kafka 4). The broker's settings rule the heartbeat and the
    /// session; with its default of 5 s a moved partition pauses about that long.
    Consumer,
}

/// How to reach Kafka and how to behave there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas; any reachable one leads to all.
    pub brokers: String,
    /// How this process is called in the brokers' logs, metrics and quotas.
    pub client_id: String,
    /// After how long without a heartbeat a member is given up and its partitions go to others.
    /// Brokers accept 6 s at least, unless told otherwise. Not used by [`GroupProtocol::Consumer`].
    pub session_timeout: Duration,
    /// How members of a group agree.
    pub group_protocol: GroupProtocol,
    /// Further settings of librdkafka, as `(name, value)`, applied last and to every client. TLS and
    /// SCRAM are set here (`security.protocol`, `ssl.ca.location`, `sasl.mechanisms`,
    /// `sasl.username`, `sasl.password`) and need rdkafka's feature `ssl`. All names:
    /// <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>
    pub extra: Vec<(String, String)>,
}

impl KafkaSettings {
    /// The defaults, for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            ..Self::default()
        }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            client_id: "reactive-microservices".into(),
            // The least that a broker accepts: the time that the partitions of a killed instance
            // stand still. Heartbeats come from librdkafka's own thread, a busy process keeps them up.
            session_timeout: Duration::from_secs(6),
            group_protocol: GroupProtocol::default(),
            extra: Vec::new(),
        }
    }
}

impl KafkaSettings {
    /// What producers, consumers and administration have in common.
    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            // A typing error in a topic's name must not create that topic.
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            // A connection whose peer is gone without a word (F36) is given up when a request on it has
            // not been answered for so long; another one takes its place.
            .set("socket.timeout.ms", millis(ANSWER_WITHIN))
            // A request in all weathers: an idle connection, too, is found to be dead before it is
            // needed. Notices as well a topic that is created later, and added partitions.
            .set("topic.metadata.refresh.interval.ms", millis(ASK_EVERY))
            // What the lag and readiness are told from, and whether a client still knows a broker.
            .set("statistics.interval.ms", "1000")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    fn with_extra(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }

    fn for_admin(&self) -> ClientConfig {
        self.with_extra(self.common())
    }

    fn for_producer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Batches form by themselves while earlier requests are in flight; waiting for more
            // would only delay whoever awaits a single record.
            .set("linger.ms", "0")
            // Never gives up by time: a record timed out in the middle would leave a gap in the order.
            .set("message.timeout.ms", "0")
            .set("request.timeout.ms", millis(ANSWER_WITHIN))
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "262144")
            // As Java's clients do, so that a key has one partition whoever writes it.
            .set("partitioner", "murmur2_random")
            // Small batches over a near network: lz4 brought no throughput that stood out of the noise,
            // and costs CPU in every reader. Where disk or network are dear, set it in `extra`.
            .set("compression.codec", "none")
            .set("message.max.bytes", "8388608")
            // How long a topic that the brokers do not know may still turn up before its records are
            // refused: the news of a new topic takes a moment to reach every broker.
            .set("topic.metadata.propagation.max.ms", "10000");
        self.with_extra(config)
    }

    fn for_consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.common();
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // What is stored is committed in the background and, by librdkafka itself, when a
            // partition is revoked and when the consumer is closed.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "250")
            // Bounded read-ahead: a pause throws it away and reads it again.
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // Records end the wait at once, but a new or resumed partition is asked for only with the
            // next request: this is how long such a partition may stand still.
            .set("fetch.wait.max.ms", "100");
        match self.group_protocol {
            GroupProtocol::Classic => config
                .set("group.protocol", "classic")
                .set("partition.assignment.strategy", "cooperative-sticky")
                // How soon a member learns of a rebalance.
                .set("heartbeat.interval.ms", "300")
                .set("session.timeout.ms", millis(self.session_timeout)),
            // Refuses the settings that are the broker's here.
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        self.with_extra(config)
    }

    /// A reader outside any group: librdkafka wants a group's name to read at all, but nobody joins it.
    fn for_tail(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set(
                "group.id",
                format!("{}-tail-{}", self.client_id, uuid::Uuid::new_v4()),
            )
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.min.messages", "5000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100");
        self.with_extra(config)
    }
}

/// The log on Apache Kafka.
pub struct KafkaLog {
    settings: KafkaSettings,
    link: Arc<Link>,
    publisher: Arc<Publisher>,
    probe: Arc<Probe>,
    /// One count for all subscriptions: an answer from a consumer of the past never fits a new one.
    generations: Arc<AtomicU64>,
}

impl KafkaLog {
    /// Neither waits for a broker nor needs one. Fails where librdkafka refuses the settings.
    pub fn new(settings: KafkaSettings) -> Result<Self, LogError> {
        let link = Arc::new(Link::new(&settings.brokers));
        let publisher = Publisher::start(settings.for_producer(), Arc::clone(&link))?;
        let probe = Arc::new(Probe::new(&publisher, Arc::clone(&link)));
        Ok(Self {
            settings,
            link,
            publisher,
            probe,
            generations: Arc::new(AtomicU64::new(0)),
        })
    }
}

impl EventLog for KafkaLog {
    fn prepare(&self, topics: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>> {
        let config = self.settings.for_admin();
        let link = Arc::clone(&self.link);
        if let Some(topic) = topics.first() {
            self.probe.ask_about(&topic.name);
        }
        let answer = on_own_thread("kafka-prepare", move || admin::prepare(&config, &link, &topics));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(cut_off("preparing topics"))) })
    }

    fn publish(&self, record: Record) -> Delivery {
        self.publisher.publish(record)
    }

    fn subscribe(&self, subscription: Subscription) -> Result<Subscribed, LogError> {
        let config = self.settings.for_consumer(&subscription.group);
        consumer::subscribe(
            &config,
            Ages::new(self.settings.for_tail(), Arc::clone(&self.link)),
            subscription,
            Arc::clone(&self.link),
            Arc::clone(&self.probe),
            Arc::clone(&self.generations),
        )
    }

    fn tail(&self, topic: &str, from: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>> {
        let config = self.settings.for_tail();
        let link = Arc::clone(&self.link);
        let answer = tail::start(config, link, topic.to_owned(), from);
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(cut_off("opening a tail"))) })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.probe.check())
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        let publisher = Arc::clone(&self.publisher);
        let flushed = on_own_thread("kafka-flush", move || publisher.flush(deadline));
        Box::pin(async move {
            // An error means that the thread could not be had; there is nothing more to wait for.
            let _ = flushed.await;
        })
    }
}

/// As librdkafka takes times.
fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// The next generation: higher than any before.
fn next_generation(generations: &AtomicU64) -> u64 {
    generations.fetch_add(1, Ordering::Relaxed) + 1
}

/// Runs what blocks. The answer is dropped unsent where no thread can be had.
fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, answer) = oneshot::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waiting any more is no error.
        let _ = sender.send(work());
    });
    if let Err(error) = started {
        log::error!(target: "kafka", thread = name, error:%; "cannot start a thread");
    }
    answer
}

fn cut_off(what: &str) -> LogError {
    LogError::Unavailable(format!("{what} was cut off: its thread is gone"))
}
