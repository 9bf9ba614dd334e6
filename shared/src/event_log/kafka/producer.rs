//! Publishing: one idempotent producer for the whole log.
//!
//! Promise: a record's place in the order is taken inside [`Publisher::publish`]; its answer comes
//! once all in-sync replicas have it. Retries are librdkafka's and neither duplicate nor reorder.
//!
//! Hazard: the idempotent producer may meet an error that it cannot repair without risking order
//! (its state at the broker is gone, say). librdkafka then refuses everything, for good. Here a new
//! producer takes its place at once; what the old one had not confirmed is answered with
//! `Unavailable` and has to be published again by the caller, in order. Records that the caller
//! publishes before it has seen those answers are already ahead of them.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use tokio::sync::oneshot;

use super::{
    brokers::KnownBrokers,
    link::{Link, code, route},
    native,
};
use crate::event_log::{Delivery, LogError, Position, Record};

/// How long the polling thread sleeps at most; how late it notices that it should end.
const POLL: Duration = Duration::from_millis(100);
/// Producers to try for one record, each after a fatal error of the one before.
const ATTEMPTS: u32 = 3;

/// The producer of now, and how to replace it.
pub(super) struct Publisher {
    config: ClientConfig,
    link: Arc<Link>,
    /// Read by each publish, written when a producer is replaced. `None` never outlives `start`.
    current: RwLock<Option<Running>>,
    /// Topic names as positions carry them, so that a record costs no copy of its topic's name.
    topics: RwLock<HashMap<String, Arc<str>>>,
}

struct Running {
    number: u64,
    producer: Arc<BaseProducer<Deliveries>>,
    stop: Arc<AtomicBool>,
}

/// Who waits for a record.
pub(super) struct Promise {
    topic: Arc<str>,
    answer: oneshot::Sender<Result<Position, LogError>>,
}

/// What librdkafka calls back, on the polling thread.
pub(super) struct Deliveries {
    number: u64,
    link: Arc<Link>,
    publisher: Weak<Publisher>,
    known_brokers: KnownBrokers,
}

impl Publisher {
    pub(super) fn start(config: ClientConfig, link: Arc<Link>) -> Result<Arc<Self>, LogError> {
        let publisher = Arc::new(Self {
            config,
            link,
            current: RwLock::new(None),
            topics: RwLock::new(HashMap::new()),
        });
        let first = publisher.run(1)?;
        *publisher.current.write().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(publisher)
    }

    /// Appends; the answer comes from [`Deliveries::delivery`].
    pub(super) fn publish(self: &Arc<Self>, record: Record) -> Delivery {
        let (answer, delivery) = oneshot::channel();
        self.send(&record, answer);
        Box::pin(async move {
            delivery.await.unwrap_or_else(|_| {
                Err(LogError::Unavailable(
                    "the producer ended before the record was confirmed".into(),
                ))
            })
        })
    }

    fn send(self: &Arc<Self>, record: &Record, answer: oneshot::Sender<Result<Position, LogError>>) {
        let promise = Box::new(Promise {
            topic: self.topic(&record.topic),
            answer,
        });
        let mut request = BaseRecord::<[u8], [u8], _>::with_opaque_to(&record.topic, promise);
        request.key = record.key.as_deref();
        request.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            request.headers = Some(native::owned(&record.headers));
        }
        for attempt in 1.. {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let Some(running) = current.as_ref() else {
                return request
                    .delivery_opaque
                    .refuse(LogError::Unavailable("no producer".into()));
            };
            let number = running.number;
            let (error, returned) = match running.producer.send(request) {
                Ok(()) => return,
                Err(refused) => refused,
            };
            drop(current);
            if code(&error) != RDKafkaErrorCode::Fatal || attempt == ATTEMPTS {
                return returned.delivery_opaque.refuse(failure(&error));
            }
            self.replace(number);
            request = returned;
        }
    }

    /// Waits until all is confirmed. Blocks.
    pub(super) fn flush(&self, deadline: Duration) {
        if let Some(producer) = self.producer()
            && let Err(error) = producer.flush(deadline)
        {
            let waiting = producer.in_flight_count();
            log::warn!(target: "kafka", waiting, error:%; "not every record was confirmed in time");
        }
    }

    /// The producer of now, for requests about the cluster.
    pub(super) fn producer(&self) -> Option<Arc<BaseProducer<Deliveries>>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|running| Arc::clone(&running.producer))
    }

    fn topic(&self, name: &str) -> Arc<str> {
        if let Some(topic) = self
            .topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
        {
            return Arc::clone(topic);
        }
        let topic: Arc<str> = name.into();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(topics.entry(name.to_owned()).or_insert(topic))
    }

    /// A new producer with the thread that polls it.
    fn run(self: &Arc<Self>, number: u64) -> Result<Running, LogError> {
        let context = Deliveries {
            number,
            link: Arc::clone(&self.link),
            publisher: Arc::downgrade(self),
            known_brokers: KnownBrokers::default(),
        };
        let producer = BaseProducer::from_config_and_context(&self.config, context)
            .map_err(|error| LogError::Refused(format!("Kafka producer: {error}")))?;
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        thread::Builder::new()
            .name("kafka-producer".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    let context = polled.client().context();
                    context.known_brokers.remind(polled.client(), context.link.brokers());
                    // A panic costs the answer of one record, which its publisher takes for unconfirmed;
                    // without this thread no record would ever be answered again.
                    if catch_unwind(AssertUnwindSafe(|| polled.poll(POLL))).is_err() {
                        log::error!(target: "kafka", "a delivery could not be told: the polling thread panicked");
                    }
                }
                // As a rule the last owner, so this throws away what waits and answers each promise.
            })
            .map_err(|error| LogError::Unavailable(format!("no thread for the Kafka producer: {error}")))?;
        Ok(Running {
            number,
            producer,
            stop,
        })
    }

    /// Puts a new producer in the place of number `failed`, unless somebody already has.
    fn replace(self: &Arc<Self>, failed: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = current.as_ref().filter(|running| running.number == failed) else {
            return;
        };
        let reason = match running.producer.client().fatal_error() {
            Some((code, text)) => format!("{code:?}: {text}"),
            None => "unknown".into(),
        };
        let waiting = running.producer.in_flight_count();
        match self.run(failed + 1) {
            Ok(next) => {
                log::error!(
                    target: "kafka", waiting;
                    "the idempotent producer met a fatal error and is replaced; \
                     what it had not confirmed has to be published again: {reason}"
                );
                if let Some(old) = current.replace(next) {
                    old.stop.store(true, Ordering::Release);
                }
            }
            Err(error) => log::error!(target: "kafka", error:%; "cannot replace the failed producer"),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let current = self.current.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = current {
            running.stop.store(true, Ordering::Release);
        }
    }
}

impl Promise {
    fn refuse(self, error: LogError) {
        // Nobody waiting any more is no error.
        let _ = self.answer.send(Err(error));
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        route(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match code(&error) {
            RDKafkaErrorCode::Fatal => {
                if let Some(publisher) = self.publisher.upgrade() {
                    publisher.replace(self.number);
                }
            }
            code => self.link.complained(code, reason),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.known_brokers.told(statistics);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Promise>;

    fn delivery(&self, result: &DeliveryResult<'_>, promise: Box<Promise>) {
        match result {
            Ok(message) => {
                self.link.heard();
                let Promise { topic, answer } = *promise;
                // Nobody waiting any more is no error.
                let _ = answer.send(Ok(Position {
                    topic,
                    partition: message.partition(),
                    offset: message.offset(),
                }));
            }
            Err((error, _)) => promise.refuse(failure(error)),
        }
    }
}

/// Which errors would come again however often the record were published.
fn failure(error: &KafkaError) -> LogError {
    let code = code(error);
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => LogError::Refused("the record is too large".into()),
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => LogError::Refused("the topic does not exist".into()),
        RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidRecord
        | RDKafkaErrorCode::InvalidArgument
        | RDKafkaErrorCode::PolicyViolation => LogError::Refused(code.to_string()),
        RDKafkaErrorCode::QueueFull => {
            LogError::Unavailable("too many records already wait for Kafka".into())
        }
        _ => match error {
            // A topic's name with a zero byte in it.
            KafkaError::Nul(error) => LogError::Refused(error.to_string()),
            _ => LogError::Unavailable(code.to_string()),
        },
    }
}
