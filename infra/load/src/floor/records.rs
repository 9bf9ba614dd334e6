//! Records through bare librdkafka: confirmed by all replicas, idempotent, and read once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use futures_util::future::join_all;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use shared::{
    envelope::OutboxEvent,
    event_log::{
        EventLog, TopicSettings,
        kafka::{KafkaLog, KafkaSettings},
    },
};

/// As the services have by default.
const PARTITIONS: i32 = 6;
/// How long the reader sleeps where there is nothing to read.
const POLL: Duration = Duration::from_millis(100);

/// A topic of its own.
pub struct Records {
    brokers: String,
    topic: String,
    producer: FutureProducer,
    read: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Records {
    /// Makes the topic and begins to read it.
    pub async fn open(brokers: &str, topic: &str) -> anyhow::Result<Records> {
        let log = KafkaLog::new(KafkaSettings::new(brokers))?;
        let settings = TopicSettings {
            name: topic.to_owned(),
            partitions: PARTITIONS,
            replication: 1,
            max_record_bytes: 1 << 20,
        };
        log.prepare(vec![settings]).await?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("socket.nagle.disable", "true");
        let producer = config.create()?;

        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("group.id", topic)
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let (read, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (read, over) = (Arc::clone(&read), Arc::clone(&over));
            std::thread::Builder::new()
                .name("floor-reader".to_owned())
                .spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        // What is not read is missed in the end.
                        if let Some(Ok(_)) = consumer.poll(POLL) {
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })?
        };
        Ok(Records {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            producer,
            read,
            over,
            reader: Some(reader),
        })
    }

    /// Publishes all of them, and returns when each is confirmed.
    pub async fn publish(&self, events: &[OutboxEvent]) -> anyhow::Result<()> {
        let mut sent = Vec::with_capacity(events.len());
        for event in events {
            let record = event.record(&self.topic);
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let headers = record.headers.iter().fold(headers, |headers, header| {
                headers.insert(Header {
                    key: header.name.as_str().unwrap_or_default(),
                    value: header.value.as_deref(),
                })
            });
            let (key, value) = (
                record.key.as_deref().unwrap_or_default(),
                record.value.as_deref().unwrap_or_default(),
            );
            let record = FutureRecord::to(&self.topic)
                .key(key)
                .payload(value)
                .headers(headers);
            let delivery = self.producer.send_result(record).map_err(|(error, _)| error)?;
            sent.push(delivery);
        }
        for delivered in join_all(sent).await {
            delivered?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Waits until so many records were read, and for no more.
    pub async fn all_read(&self, count: u64, within: Duration) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.read.load(Ordering::Relaxed) < count && begin.elapsed() < within {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let read = self.read.load(Ordering::Relaxed);
        ensure!(read == count, "{read} of {count} records were read");
        Ok(())
    }

    /// The topic goes with all that was written to it.
    pub async fn remove_topic(&self) -> anyhow::Result<()> {
        remove_topics(&self.brokers, &[&self.topic]).await
    }
}

/// Topics that nobody uses any more.
pub async fn remove_topics(brokers: &str, topics: &[&str]) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    for removed in admin.delete_topics(topics, &AdminOptions::new()).await? {
        match removed {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, error)) => bail!("{topic} is not removed: {error}"),
        }
    }
    Ok(())
}

impl Drop for Records {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // One that panicked has told so.
            let _ = reader.join();
        }
    }
}
