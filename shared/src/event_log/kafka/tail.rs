//! Reading a topic outside any group.
//!
//! Promise: where reading begins is settled before [`start`] answers, as numbers, so whatever is
//! published after that is seen.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tokio::sync::{
    mpsc::{self, UnboundedSender},
    oneshot,
};

use super::{
    admin::{self, Found},
    link::{Link, Linked},
    record::consumed,
};
use crate::event_log::{ConsumedRecord, LogError, Tail, TailFrom};

/// How long the brokers may take to say where the topic begins and ends.
const DEADLINE: Duration = Duration::from_secs(5);
/// How late the thread notices that nobody reads any more.
const POLL: Duration = Duration::from_millis(100);

/// Opens a tail on a thread of its own, which then goes on to read.
pub(super) fn start(
    config: ClientConfig,
    link: Arc<Link>,
    topic: String,
    from: TailFrom,
) -> oneshot::Receiver<Result<Tail, LogError>> {
    let (opened, answer) = oneshot::channel();
    let started = thread::Builder::new().name("kafka-tail".into()).spawn(move || {
        match open(&config, &link, &topic, from) {
            Ok(consumer) => {
                let (records, tail) = mpsc::unbounded_channel();
                if opened.send(Ok(tail)).is_ok() {
                    read(&consumer, &link, &topic.into(), &records);
                }
            }
            Err(error) => {
                // Nobody waiting any more is no error.
                let _ = opened.send(Err(error));
            }
        }
    });
    if let Err(error) = started {
        log::error!(target: "kafka", error:%; "cannot start a thread for a tail");
    }
    answer
}

fn open(
    config: &ClientConfig,
    link: &Arc<Link>,
    topic: &str,
    from: TailFrom,
) -> Result<BaseConsumer<Linked>, LogError> {
    let refused = |error: KafkaError| LogError::Refused(format!("Kafka consumer: {error}"));
    let consumer = BaseConsumer::from_config_and_context(config, Linked::new(link)).map_err(refused)?;
    let until = Instant::now() + DEADLINE;
    let left = || until.saturating_duration_since(Instant::now());
    let partitions = match admin::find(consumer.client(), link, topic, left())? {
        Found::Ready(partitions) => partitions,
        Found::Pending => return Err(LogError::Unavailable(format!("topic {topic} has no leader yet"))),
        Found::Missing => return Err(LogError::Refused(format!("topic {topic} does not exist"))),
    };
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        let (first, end) = consumer
            .fetch_watermarks(topic, partition, left())
            .map_err(|error| {
                LogError::Unavailable(format!("where {topic}/{partition} begins and ends: {error}"))
            })?;
        let offset = match from {
            TailFrom::Beginning => first,
            TailFrom::End => end,
        };
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(refused)?;
    }
    consumer.assign(&assignment).map_err(refused)?;
    Ok(consumer)
}

fn read(
    consumer: &BaseConsumer<Linked>,
    link: &Link,
    topic: &Arc<str>,
    records: &UnboundedSender<ConsumedRecord>,
) {
    while !records.is_closed() {
        consumer.context().remind(consumer.client());
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                link.heard();
                if records.send(consumed(&message, Arc::clone(topic), 0)).is_err() {
                    break;
                }
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                log::error!(target: "kafka", topic:%, error:% = code; "the tail cannot go on");
                break;
            }
            // Told by the context already; librdkafka goes on by itself.
            Some(Err(_)) | None => {}
        }
    }
}
