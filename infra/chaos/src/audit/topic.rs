//! Reading a topic from its oldest record to where it ends now, outside any group.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::RDKafkaErrorCode,
};
use shared::event_log::{ConsumedRecord, kafka::consumed};

/// How long the brokers may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// How long no record may come while more are there.
const STALLED: Duration = Duration::from_secs(30);

/// A reader that remembers where it is, so that it can go on later.
pub struct Topic {
    consumer: BaseConsumer,
    name: String,
    /// By partition: the next offset to read.
    next: Vec<i64>,
    /// By partition: where it begins.
    first: Vec<i64>,
}

impl Topic {
    /// Opens a topic; `None` where it does not exist. Blocks.
    pub fn open(brokers: &str, name: &str) -> anyhow::Result<Option<Topic>> {
        let consumer = consumer(brokers, "chaos-audit")?;
        let Some(partitions) = partitions(&consumer, name)? else {
            return Ok(None);
        };
        let mut assignment = TopicPartitionList::new();
        let mut first = Vec::new();
        for partition in 0..partitions {
            let (low, _) = consumer.fetch_watermarks(name, partition, ANSWER)?;
            assignment.add_partition_offset(name, partition, Offset::Offset(low))?;
            first.push(low);
        }
        consumer.assign(&assignment)?;
        Ok(Some(Topic {
            consumer,
            name: name.to_owned(),
            next: first.clone(),
            first,
        }))
    }

    /// Whether its oldest records are gone, so that not everything can be traced.
    pub fn is_cut(&self) -> bool {
        self.first.iter().any(|first| *first > 0)
    }

    /// Reads on to where the topic ends at this moment. Blocks.
    pub fn read_on(&mut self, mut take: impl FnMut(&ConsumedRecord)) -> anyhow::Result<()> {
        let ends = self.ends()?;
        let mut heard = Instant::now();
        while self.next.iter().zip(&ends).any(|(next, end)| next < end) {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    use rdkafka::Message as _;
                    heard = Instant::now();
                    let partition = usize::try_from(message.partition()).context("a partition")?;
                    if message.offset() >= self.next[partition] {
                        self.next[partition] = message.offset() + 1;
                        take(&consumed(&message, message.topic().into(), 0));
                    }
                }
                Some(Err(error)) => log::debug!("{}: {error}", self.name),
                // Markers of transactions take an offset and are never delivered.
                None => self.skip_markers()?,
            }
            if heard.elapsed() > STALLED {
                bail!("no record of {} came for {STALLED:?}", self.name);
            }
        }
        Ok(())
    }

    fn skip_markers(&mut self) -> anyhow::Result<()> {
        for element in self.consumer.position()?.elements() {
            if let (Ok(partition), Offset::Offset(position)) =
                (usize::try_from(element.partition()), element.offset())
            {
                self.next[partition] = self.next[partition].max(position);
            }
        }
        Ok(())
    }

    fn ends(&self) -> anyhow::Result<Vec<i64>> {
        ends(&self.consumer, &self.name, self.next.len())
    }
}

/// How far a group is behind the end of a topic, partition by partition. Reads only.
pub fn lag(brokers: &str, topic: &str, group: &str) -> anyhow::Result<Vec<i64>> {
    let consumer = consumer(brokers, group)?;
    let Some(partitions) = partitions(&consumer, topic)? else {
        bail!("the topic {topic} does not exist");
    };
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        asked.add_partition(topic, partition);
    }
    let committed = consumer.committed_offsets(asked, ANSWER)?;
    let ends = ends(&consumer, topic, usize::try_from(partitions)?)?;
    let lags = committed.elements().into_iter().zip(ends).map(|(element, end)| {
        let committed = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        };
        end - committed
    });
    Ok(lags.collect())
}

fn consumer(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .create()?;
    Ok(consumer)
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<Option<i32>> {
    let metadata = consumer
        .fetch_metadata(Some(topic), ANSWER)
        .with_context(|| format!("Kafka does not answer about {topic}"))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(i32::try_from(found.partitions().len())?)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => bail!("the topic {topic}: {code}"),
    }
}

fn ends(consumer: &BaseConsumer, topic: &str, partitions: usize) -> anyhow::Result<Vec<i64>> {
    (0..partitions)
        .map(|partition| {
            let (_, end) = consumer.fetch_watermarks(topic, i32::try_from(partition)?, ANSWER)?;
            Ok(end)
        })
        .collect()
}
