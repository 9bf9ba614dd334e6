//! Topics, and whether the brokers answer.
//!
//! Promise: nothing here waits longer than its deadline, and nothing of it on an async thread:
//! librdkafka answers these questions only by blocking.

use std::{
    future::Future,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::Client,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, Producer as _},
};
use tokio::sync::oneshot;

use super::{
    link::{Link, Linked, code, lock},
    on_own_thread,
    producer::{Deliveries, Publisher},
    topics,
};
use crate::event_log::{LogError, Partition, TopicSettings};

/// How long [`prepare`] may take.
const PREPARE: Duration = Duration::from_secs(5);
/// Between two looks at a topic that is being created.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the brokers may take to answer whether they are there.
const ANSWER: Duration = Duration::from_secs(2);
/// How long that answer is good for.
const FRESH: Duration = Duration::from_secs(1);
/// How long the brokers may take to tell a topic's settings, which nothing depends on.
const DESCRIBE: Duration = Duration::from_secs(2);

/// How a topic stands.
pub(super) enum Found {
    /// So many partitions, each with a leader.
    Ready(Partition),
    /// Being created.
    Pending,
    /// Not there.
    Missing,
}

/// Asks the brokers about a topic. Blocks.
pub(super) fn find<C: ClientContext>(
    client: &Client<C>,
    link: &Link,
    topic: &str,
    deadline: Duration,
) -> Result<Found, LogError> {
    // Zero would mean: do not wait at all.
    let metadata = client.fetch_metadata(Some(topic), deadline.max(Duration::from_millis(1)));
    let metadata = metadata.map_err(|error| no_answer(link, &error))?;
    link.heard();
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(Found::Missing);
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Ok(Found::Missing);
        }
        Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(Found::Pending),
        Some(code @ (RDKafkaErrorCode::InvalidTopic | RDKafkaErrorCode::TopicAuthorizationFailed)) => {
            return Err(LogError::Refused(format!("topic {topic}: {code}")));
        }
        Some(code) => return Err(LogError::Unavailable(format!("topic {topic}: {code}"))),
    }
    let partitions = found.partitions();
    if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
        return Ok(Found::Pending);
    }
    Ok(Found::Ready(
        Partition::try_from(partitions.len()).unwrap_or(Partition::MAX),
    ))
}

/// Creates what is missing and waits until it can be written to. Blocks.
pub(super) fn prepare(
    config: &ClientConfig,
    link: &Arc<Link>,
    topics: &[TopicSettings],
) -> Result<(), LogError> {
    let until = Instant::now() + PREPARE;
    let left = || until.saturating_duration_since(Instant::now());
    let admin = AdminClient::from_config_and_context(config, Linked::new(link))
        .map_err(|error| LogError::Refused(format!("Kafka administration: {error}")))?;
    let mut missing = Vec::new();
    for topic in topics {
        if let Found::Missing = find(admin.inner(), link, &topic.name, left())? {
            missing.push(topic);
        }
    }
    if !missing.is_empty() {
        create(&admin, link, &missing, left())?;
    }
    for topic in topics {
        loop {
            match find(admin.inner(), link, &topic.name, left())? {
                Found::Ready(_) => break,
                Found::Pending | Found::Missing if left().is_zero() => {
                    return Err(LogError::Unavailable(format!(
                        "topic {} has no leader yet",
                        topic.name
                    )));
                }
                Found::Pending | Found::Missing => thread::sleep(LOOK_AGAIN),
            }
        }
    }
    for topic in topics {
        warn_of_dangers(&admin, topic);
    }
    Ok(())
}

/// One warning for each setting of a topic that endangers a promise.
fn warn_of_dangers(admin: &AdminClient<Linked>, topic: &TopicSettings) {
    match admin.inner().fetch_metadata(Some(&topic.name), DESCRIBE) {
        Ok(metadata) => {
            let found = topics::look(admin, &metadata, &topic.name, DESCRIBE);
            for danger in topics::dangers(topic, &found) {
                log::warn!(target: "kafka", topic:% = topic.name; "{danger}");
            }
        }
        Err(error) => {
            log::debug!(target: "kafka", topic:% = topic.name, error:%; "the topic cannot be looked at")
        }
    }
}

fn create(
    admin: &AdminClient<Linked>,
    link: &Link,
    missing: &[&TopicSettings],
    deadline: Duration,
) -> Result<(), LogError> {
    let any = missing.first().map(|topic| topic.name.as_str());
    let metadata = admin.inner().fetch_metadata(any, deadline);
    let brokers = metadata.map_err(|error| no_answer(link, &error))?.brokers().len();
    let made: Vec<(i32, String, String)> = missing
        .iter()
        .map(|topic| {
            let (copies, confirming) = topics::copies(topic.replication, brokers);
            (
                copies,
                confirming.to_string(),
                topics::batch_bytes(topic).to_string(),
            )
        })
        .collect();
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&made)
        .map(|(topic, (copies, confirming, limit))| {
            NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(*copies))
                .set("min.insync.replicas", confirming)
                .set("max.message.bytes", limit)
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(deadline))
        .operation_timeout(Some(deadline));
    let results = wait_for(admin.create_topics(&topics, &options))?.map_err(|error| match error {
        KafkaError::AdminOpCreation(reason) => LogError::Refused(reason),
        error => no_answer(link, &error),
    })?;
    for result in results {
        match result {
            Ok(topic) => log::info!(target: "kafka", topic:%; "topic created"),
            // By another instance, meanwhile.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                code @ (RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidPartitions
                | RDKafkaErrorCode::InvalidReplicationFactor
                | RDKafkaErrorCode::InvalidConfig
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed),
            )) => {
                return Err(LogError::Refused(format!(
                    "topic {topic} cannot be created: {code}"
                )));
            }
            Err((topic, code)) => {
                return Err(LogError::Unavailable(format!(
                    "topic {topic} cannot be created: {code}"
                )));
            }
        }
    }
    Ok(())
}

/// Waits on this thread, which is no async one.
pub(super) fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| LogError::Unavailable(error.to_string()))?;
    Ok(runtime.block_on(future))
}

/// Why a question was not answered: what librdkafka complained about, where it did.
fn no_answer(link: &Link, error: &KafkaError) -> LogError {
    link.lost(Some(match code(error) {
        RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure => {
            "no answer in time".into()
        }
        code => code.to_string(),
    }));
    link.unavailable()
}

/// Asks now and then whether the brokers answer, once for all who want to know.
pub(super) struct Probe {
    /// Not an owner: consumers hold this too, and must not keep a dropped log publishing.
    publisher: Weak<Publisher>,
    link: Arc<Link>,
    state: Mutex<Asked>,
}

type Answer = Result<(), LogError>;

#[derive(Default)]
struct Asked {
    last: Option<(Instant, Answer)>,
    under_way: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
    /// To ask about one topic is cheaper than about all of them.
    topic: Option<String>,
}

impl Probe {
    pub(super) fn new(publisher: &Arc<Publisher>, link: Arc<Link>) -> Self {
        Self {
            publisher: Arc::downgrade(publisher),
            link,
            state: Mutex::new(Asked::default()),
        }
    }

    /// The topic to ask about from now on.
    pub(super) fn ask_about(&self, topic: &str) {
        lock(&self.state).topic = Some(topic.to_owned());
    }

    /// Starts to ask, unless that is under way or was answered just now.
    pub(super) fn ask(self: &Arc<Self>) {
        let mut asked = lock(&self.state);
        if asked.answer().is_none() {
            self.start(&mut asked);
        }
    }

    /// Asks, or joins those who wait already, or gives the answer of just now.
    pub(super) fn check(self: &Arc<Self>) -> impl Future<Output = Answer> + use<> {
        let (sender, answer) = oneshot::channel();
        let mut asked = lock(&self.state);
        match asked.answer() {
            Some(known) => {
                // The receiver is right here.
                let _ = sender.send(known);
            }
            None => {
                asked.waiting.push(sender);
                self.start(&mut asked);
            }
        }
        async move {
            answer
                .await
                .unwrap_or_else(|_| Err(super::cut_off("asking the brokers")))
        }
    }

    /// A client to ask the brokers with; `None` once the log is gone.
    pub(super) fn producer(&self) -> Option<Arc<BaseProducer<Deliveries>>> {
        self.publisher.upgrade()?.producer()
    }

    fn start(self: &Arc<Self>, asked: &mut Asked) {
        if asked.under_way {
            return;
        }
        asked.under_way = true;
        let topic = asked.topic.clone();
        let probe = Arc::clone(self);
        drop(on_own_thread("kafka-check", move || {
            let answer = probe.answer(topic.as_deref());
            let mut asked = lock(&probe.state);
            asked.under_way = false;
            asked.last = Some((Instant::now(), answer.clone()));
            for waiting in asked.waiting.drain(..) {
                // Nobody waiting any more is no error.
                let _ = waiting.send(answer.clone());
            }
        }));
    }

    fn answer(&self, topic: Option<&str>) -> Answer {
        let Some(producer) = self.producer() else {
            return Err(LogError::Unavailable("the log is gone".into()));
        };
        let Some(topic) = topic else {
            let answered = producer.client().fetch_metadata(None, ANSWER);
            answered.map_err(|error| no_answer(&self.link, &error))?;
            self.link.heard();
            return Ok(());
        };
        match find(producer.client(), &self.link, topic, ANSWER)? {
            Found::Ready(_) => Ok(()),
            Found::Pending => Err(LogError::Unavailable(format!("topic {topic} has no leader"))),
            Found::Missing => Err(LogError::Unavailable(format!(
                "topic {topic} does not exist (any more): it is made at the start of a service"
            ))),
        }
    }
}

impl Asked {
    fn answer(&self) -> Option<Answer> {
        let (when, answer) = self.last.as_ref()?;
        (when.elapsed() < FRESH).then(|| answer.clone())
    }
}
