//! Topics that go and come back, and offsets that the log no longer has, on a real Kafka.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use shared::event_log::{EventLog as _, Losses, Signal, Subscribed, Subscription, kafka::KafkaLog};
use testing::eventually;
use tokio::time::timeout;

use super::{
    PATIENCE,
    real::{real, real_topic},
    record, settings, text, within,
};

pub fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).create().unwrap()
}

async fn publish(log: &KafkaLog, topic: &str, numbers: std::ops::Range<u64>) {
    let deliveries: Vec<_> = numbers
        .map(|number| log.publish(record(topic, &format!("k{}", number % 9), number)))
        .collect();
    for delivery in deliveries {
        within("a delivery", delivery).await.unwrap();
    }
}

/// A member that stores all it is given, wherever it begins.
struct Reader {
    subscribed: Subscribed,
    seen: BTreeSet<u64>,
}

impl Reader {
    fn join(log: &KafkaLog, topic: &str) -> Reader {
        let subscription = Subscription {
            group: topic.into(),
            topics: vec![topic.into()],
        };
        Reader {
            subscribed: log.subscribe(subscription).unwrap(),
            seen: BTreeSet::new(),
        }
    }

    async fn until(&mut self, what: &str, numbers: std::ops::Range<u64>) {
        let wanted: BTreeSet<u64> = numbers.collect();
        let reading = async {
            while !wanted.is_subset(&self.seen) {
                match self.subscribed.signals.recv().await {
                    Some(Signal::Records(records)) => {
                        for record in records {
                            let next = record.position.offset + 1;
                            self.subscribed.consumer.store(&record.assignment(), next);
                            self.seen.insert(text(&record.value).parse().unwrap());
                        }
                    }
                    Some(Signal::Assigned(_) | Signal::Revoked(_)) => {}
                    Some(Signal::Failed(error)) => panic!("{error}"),
                    None => panic!("the signals ended"),
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            let missing: Vec<_> = wanted.difference(&self.seen).collect();
            let (how_many, first) = (missing.len(), missing[0]);
            panic!(
                "{what}: {how_many} of {} records do not come, {first} is the first",
                wanted.len()
            );
        }
    }

    async fn close(self) {
        within("closing", self.subscribed.consumer.close(Duration::from_secs(5))).await;
    }
}

/// Deletes a topic, and waits until it is gone.
async fn delete(brokers: &str, topic: &str) {
    let admin = admin(brokers);
    admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    eventually(PATIENCE, "the topic is gone", async || {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topic), Duration::from_secs(2))
            .unwrap();
        metadata.topics().iter().all(|found| found.error().is_some())
    })
    .await;
}

/// With fewer records than before. With more, librdkafka cannot tell the new topic from the old one
/// and may pass over records that were written before it looked again: services are to be stopped
/// while their topic is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_under_a_running_member_is_read_from_its_beginning() {
    let Some(kafka) = real() else { return };
    let brokers = kafka.brokers.clone();
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 2).await;
    let mut reader = Reader::join(&log, &topic);
    publish(&log, &topic, 0..100).await;
    reader.until("the first life of the topic", 0..100).await;
    log.check().await.unwrap();

    delete(&brokers, &topic).await;
    let reason = eventually(PATIENCE, "the log is not well", async || log.check().await.err()).await;
    assert!(reason.to_string().contains("does not exist"), "{reason}");
    log.prepare(vec![settings(&topic, 2)]).await.unwrap();
    publish(&log, &topic, 1000..1020).await;
    reader.until("the second life of the topic", 1000..1020).await;
    publish(&log, &topic, 1020..1300).await;
    reader.until("more than there was", 1020..1300).await;
    // Where the new life of a partition had more records when it was found than the old one, nobody can tell.
    assert!((1..=2).contains(&reader.subscribed.consumer.losses().resets));
    assert_eq!(reader.subscribed.consumer.losses().gaps, 0);
    reader.subscribed.consumer.check().unwrap();
    eventually(PATIENCE, "the log is well again", async || log.check().await).await;
    reader.close().await;

    publish(&log, &topic, 1300..1301).await;
    let mut next = Reader::join(&log, &topic);
    next.until("what is new", 1300..1301).await;
    assert_eq!(next.seen, BTreeSet::from([1300]), "what was stored came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_while_nobody_reads_is_read_from_its_beginning() {
    let Some(kafka) = real() else { return };
    let brokers = kafka.brokers.clone();
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 2).await;
    publish(&log, &topic, 0..100).await;
    let mut reader = Reader::join(&log, &topic);
    reader.until("the first life of the topic", 0..100).await;
    reader.close().await;

    delete(&brokers, &topic).await;
    log.prepare(vec![settings(&topic, 2)]).await.unwrap();
    publish(&log, &topic, 1000..1300).await;
    let mut reader = Reader::join(&log, &topic);
    reader.until("the second life of the topic", 1000..1300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_offset_the_log_no_longer_has_goes_on_at_the_oldest_record() {
    let Some(kafka) = real() else { return };
    let brokers = kafka.brokers.clone();
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 1).await;
    publish(&log, &topic, 0..10).await;
    let mut reader = Reader::join(&log, &topic);
    reader.until("the beginning", 0..10).await;
    reader.close().await;
    publish(&log, &topic, 10..100).await;
    // As when they are older than the topic keeps records.
    let mut oldest = TopicPartitionList::new();
    oldest
        .add_partition_offset(&topic, 0, Offset::Offset(60))
        .unwrap();
    let deleted = admin(&brokers)
        .delete_records(&oldest, &AdminOptions::new())
        .await;
    deleted.unwrap();

    let mut reader = Reader::join(&log, &topic);
    reader.until("what is left", 60..100).await;
    assert_eq!(reader.seen, (60..100).collect(), "not from the oldest record on");
    let told = Losses { gaps: 1, resets: 0 };
    eventually(PATIENCE, "the gap is counted", async || {
        Some(reader.subscribed.consumer.losses()).filter(|losses| *losses == told)
    })
    .await;
    publish(&log, &topic, 100..110).await;
    reader.until("what is new", 100..110).await;
}
