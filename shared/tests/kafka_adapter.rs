//! The Kafka adapter against librdkafka's mock cluster (a Kafka inside the process) and, where
//! `KAFKA_BROKERS` names one, against a real Kafka. What every adapter promises is in the conformance
//! suite; here is what can only go wrong with Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use shared::event_log::{
    Assignment, ConsumedRecord, Consumer, EventLog, Header, LogError, Record, Signal, Subscribed,
    Subscription, TailFrom, TopicSettings,
    kafka::{GroupProtocol, KafkaLog, KafkaSettings},
};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(topic: &str, partitions: i32) -> (Mock, KafkaLog) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    let log = KafkaLog::new(KafkaSettings {
        // The mock does not wake a waiting fetch.
        extra: vec![("fetch.wait.max.ms".into(), "5".into())],
        ..KafkaSettings::new(cluster.bootstrap_servers())
    });
    (cluster, log.unwrap())
}

/// The brokers to test against, or a loud word that this test tests nothing.
fn real(test: &str) -> Option<KafkaSettings> {
    let brokers = std::env::var("KAFKA_BROKERS").ok();
    if brokers.is_none() {
        eprintln!("SKIPPED {test}: KAFKA_BROKERS names no Kafka");
    }
    brokers.map(KafkaSettings::new)
}

async fn real_topic(log: &KafkaLog, partitions: i32) -> String {
    let name = format!("kafka-adapter-{}", uuid::Uuid::new_v4());
    log.prepare(vec![settings(&name, partitions)]).await.unwrap();
    name
}

fn settings(name: &str, partitions: i32) -> TopicSettings {
    TopicSettings {
        name: name.into(),
        partitions,
        replication: 1,
        max_record_bytes: 100_000,
    }
}

fn record(topic: &str, key: &str, value: impl ToString) -> Record {
    let (key, value) = (Some(key.into()), Some(value.to_string().into_bytes()));
    Record {
        topic: topic.into(),
        key,
        value,
        headers: Vec::new(),
    }
}

fn text(bytes: &Option<Vec<u8>>) -> String {
    String::from_utf8(bytes.clone().unwrap()).unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// A member that checks with each signal that order and generations are as promised.
struct Member {
    signals: UnboundedReceiver<Signal>,
    consumer: Arc<dyn Consumer>,
    held: BTreeMap<i32, Assignment>,
    next: BTreeMap<i32, i64>,
    records: Vec<ConsumedRecord>,
    store: bool,
}

impl Member {
    fn join(log: &KafkaLog, group: &str, topic: &str) -> Self {
        let subscription = Subscription {
            group: group.into(),
            topics: vec![topic.into()],
        };
        let Subscribed { signals, consumer } = log.subscribe(subscription).unwrap();
        let (held, next) = (BTreeMap::new(), BTreeMap::new());
        Self {
            signals,
            consumer,
            held,
            next,
            records: Vec::new(),
            store: true,
        }
    }

    /// One signal; false where there is none within `wait`.
    async fn step(&mut self, wait: Duration) -> bool {
        let Ok(Some(signal)) = timeout(wait, self.signals.recv()).await else {
            return false;
        };
        match signal {
            Signal::Assigned(assignments) => {
                for assignment in assignments {
                    let before = self.held.insert(assignment.partition, assignment);
                    assert_eq!(before, None, "assigned twice");
                }
            }
            Signal::Revoked(assignments) => {
                for assignment in assignments {
                    let before = self.held.remove(&assignment.partition);
                    assert_eq!(before.as_ref(), Some(&assignment), "not ours");
                    self.next.remove(&assignment.partition);
                }
            }
            Signal::Records(records) => {
                assert!(!records.is_empty());
                for record in records {
                    let (partition, offset) = (record.position.partition, record.position.offset);
                    let assignment = self.held.get(&partition).expect("a record without an assignment");
                    assert_eq!(assignment.generation, record.generation);
                    let expected = self.next.insert(partition, offset + 1).unwrap_or(offset);
                    assert_eq!(offset, expected, "a record is missing in {partition}");
                    if self.store {
                        self.consumer.store(assignment, offset + 1);
                    }
                    self.records.push(record);
                }
            }
            Signal::Failed(error) => panic!("{error}"),
        }
        true
    }

    async fn until(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !enough(self) {
            self.step(Duration::from_millis(50)).await;
            assert!(
                begin.elapsed() < PATIENCE,
                "{what} takes too long: {} records",
                self.records.len()
            );
        }
    }

    fn values(&self) -> BTreeSet<u64> {
        self.records
            .iter()
            .map(|record| text(&record.value).parse().unwrap())
            .collect()
    }

    /// Closes and reads what was still on its way.
    async fn close(&mut self) {
        within("closing", self.consumer.close(Duration::from_secs(5))).await;
        while self.step(Duration::from_millis(500)).await {}
        assert!(self.signals.recv().await.is_none(), "the channel did not end");
    }
}

#[tokio::test]
async fn records_come_back_as_published_and_what_is_stored_does_not_come_again() {
    let (_cluster, log) = mock("t", 4);
    log.prepare(vec![settings("t", 4)]).await.unwrap();
    let header = |name: &str, value: Option<&str>| Header {
        name: name.into(),
        value: value.map(|v| v.into()),
    };
    let odd = Record {
        topic: "t".into(),
        key: Some("foobar".into()),
        value: None,
        headers: vec![header("b", Some("1")), header("a", None), header("b", Some(""))],
    };
    let position = log.publish(odd.clone()).await.unwrap();
    assert_eq!(
        (position.partition, position.offset),
        (2, 0),
        "not where a Java client puts this key"
    );
    let deliveries: Vec<_> = (0..300)
        .map(|n| log.publish(record("t", &format!("k{}", n % 7), n)))
        .collect();
    for delivery in deliveries {
        within("a delivery", delivery).await.unwrap();
    }

    let mut member = Member::join(&log, "g", "t");
    assert!(
        matches!(member.consumer.check(), Err(LogError::Unavailable(_))),
        "a member before it joined"
    );
    member
        .until("reading", |member| member.records.len() == 301)
        .await;
    member.consumer.check().unwrap();
    let back = member
        .records
        .iter()
        .find(|record| record.position == position)
        .unwrap();
    assert_eq!(
        (&back.key, &back.value, &back.headers),
        (&odd.key, &odd.value, &odd.headers)
    );
    let mut last = BTreeMap::new();
    for record in member.records.iter().filter(|record| record.value.is_some()) {
        let number: u64 = text(&record.value).parse().unwrap();
        let before = last.insert(record.key.clone(), (number, record.position.partition));
        assert!(before.is_none_or(|(n, p)| n < number && p == record.position.partition));
    }
    member.close().await;
    assert!(member.held.is_empty());

    within("a delivery", log.publish(record("t", "k", 300)))
        .await
        .unwrap();
    let mut member = Member::join(&log, "g", "t");
    member
        .until("the new record", |member| !member.records.is_empty())
        .await;
    assert_eq!(
        member.values(),
        BTreeSet::from([300]),
        "stored records came again"
    );
}

#[tokio::test]
async fn a_pause_loses_nothing_and_what_was_not_stored_comes_again_after_a_crash() {
    let (_cluster, log) = mock("t", 3);
    let mut member = Member::join(&log, "g", "t");
    member.store = false;
    for round in 0..3_u64 {
        let numbers = round * 2000..(round + 1) * 2000;
        let sent = numbers.map(|n| log.publish(record("t", &format!("k{}", n % 50), n)));
        let deliveries: Vec<_> = sent.collect();
        let some = member.records.len() + 1;
        member
            .until("some records", |member| member.records.len() >= some)
            .await;
        member.consumer.pause();
        while member.step(Duration::from_millis(300)).await {}
        let before = member.records.len();
        within("deliveries", join_all(deliveries)).await;
        assert!(
            !member.step(Duration::from_millis(300)).await,
            "a record came while paused"
        );
        eprintln!("paused after {before} of {} records", (round + 1) * 2000);
        member.consumer.resume();
        let all = usize::try_from((round + 1) * 2000).unwrap();
        member
            .until("the rest", |member| member.records.len() >= all)
            .await;
        assert_eq!(member.records.len(), all, "a record came twice");
    }
    drop(member);
    let mut member = Member::join(&log, "g", "t");
    member
        .until("the records again", |member| member.records.len() == 6000)
        .await;
    assert_eq!(member.values().len(), 6000);
}

#[tokio::test]
async fn publishing_waits_for_the_broker_and_goes_on_in_order() {
    let (cluster, log) = mock("t", 1);
    within("a delivery", log.publish(record("t", "k", 0)))
        .await
        .unwrap();
    log.check().await.unwrap();
    cluster.broker_down(-1).unwrap();
    let mut deliveries: Vec<_> = (1..=50).map(|n| log.publish(record("t", "k", n))).collect();
    let begin = Instant::now();
    let reason = loop {
        match log.check().await {
            Ok(()) => assert!(begin.elapsed() < PATIENCE, "the outage goes unnoticed"),
            Err(error) => break error.to_string(),
        }
        tokio::task::yield_now().await;
    };
    assert!(reason.contains("waiting for Kafka at 127.0.0.1:"), "{reason}");
    eprintln!("{reason}");
    assert!(
        timeout(Duration::from_millis(300), &mut deliveries[0])
            .await
            .is_err(),
        "confirmed by nobody"
    );
    cluster.broker_up(-1).unwrap();
    for (offset, delivery) in (1..).zip(deliveries) {
        assert_eq!(within("a delivery", delivery).await.unwrap().offset, offset);
    }
    let begin = Instant::now();
    while log.check().await.is_err() {
        assert!(begin.elapsed() < PATIENCE, "the broker's return goes unnoticed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_a_broker_nothing_fails_nor_blocks_and_the_reason_is_told() {
    let log = KafkaLog::new(KafkaSettings::new("127.0.0.1:1")).unwrap();
    let begin = Instant::now();
    let delivery = log.publish(record("t", "k", 0));
    let member = Member::join(&log, "g", "t");
    assert!(begin.elapsed() < Duration::from_secs(1));
    for check in join_all([log.check(), log.check(), log.check()]).await {
        let error = check.unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused"),
            "{error}"
        );
    }
    assert!(matches!(member.consumer.check(), Err(LogError::Unavailable(_))));
    let topics = vec![settings("t", 1)];
    assert!(matches!(
        within("preparing", log.prepare(topics)).await,
        Err(LogError::Unavailable(_))
    ));
    assert!(matches!(
        within("tailing", log.tail("t", TailFrom::End)).await,
        Err(LogError::Unavailable(_))
    ));
    let begin = Instant::now();
    member.consumer.close(Duration::from_millis(300)).await;
    log.close(Duration::from_millis(300)).await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "closing overran its deadline"
    );
    drop(log);
    assert!(matches!(
        within("giving up", delivery).await,
        Err(LogError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_fatal_error_of_the_producer_costs_what_was_in_flight_and_nothing_after() {
    let (cluster, log) = mock("t", 1);
    within("a delivery", log.publish(record("t", "k", 0)))
        .await
        .unwrap();
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[fatal]);
    let lost = within("a delivery", log.publish(record("t", "k", 1))).await;
    assert!(matches!(lost, Err(LogError::Unavailable(_))), "{lost:?}");
    let again: Vec<_> = (1..=100).map(|n| log.publish(record("t", "k", n))).collect();
    for (offset, delivery) in (1..).zip(again) {
        assert_eq!(within("a delivery", delivery).await.unwrap().offset, offset);
    }
}

#[tokio::test]
async fn settings_and_records_that_can_never_work_are_refused() {
    let wrong = KafkaSettings {
        extra: vec![("no.such".into(), "x".into())],
        ..KafkaSettings::default()
    };
    assert!(matches!(KafkaLog::new(wrong), Err(LogError::Refused(_))));
    let (_cluster, log) = mock("t", 1);
    let large = Record {
        value: Some(vec![b'x'; 9 << 20]),
        ..record("t", "k", 0)
    };
    assert!(matches!(
        within("a delivery", log.publish(large)).await,
        Err(LogError::Refused(_))
    ));
    let error = within("a delivery", log.publish(record("no\0topic", "k", 0))).await;
    assert!(matches!(error, Err(LogError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn real_topics_are_prepared_once_and_unknown_ones_refused() {
    let Some(mut kafka) = real("preparing topics") else {
        return;
    };
    kafka.extra = vec![("topic.metadata.propagation.max.ms".into(), "500".into())];
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 5).await;
    log.prepare(vec![settings(&topic, 5)]).await.unwrap();
    log.prepare(vec![settings(&topic, 3)]).await.unwrap();
    let too_many = TopicSettings {
        replication: 3,
        ..settings(&format!("{topic}-2"), 1)
    };
    let refused = log.prepare(vec![too_many]).await;
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    let refused = within("a delivery", log.publish(record(&format!("{topic}-3"), "k", 0))).await;
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    let refused = within("tailing", log.tail(&format!("{topic}-3"), TailFrom::End)).await;
    assert!(matches!(refused.map(|_| ()), Err(LogError::Refused(_))));
    // Does not compress into the topic's limit.
    let noise = (0..2 << 20).map(|_| fastrand::u8(..)).collect();
    let large = Record {
        value: Some(noise),
        ..record(&topic, "k", 0)
    };
    let refused = within("a delivery", log.publish(large)).await;
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    within("a delivery", log.publish(record(&topic, "k", 1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_real_tail_from_the_end_sees_everything_published_after_it() {
    let Some(kafka) = real("tailing") else { return };
    let log = KafkaLog::new(kafka).unwrap();
    let topic = real_topic(&log, 3).await;
    for round in 0..10 {
        let key = format!("k{round}");
        within("a delivery", log.publish(record(&topic, &key, "before")))
            .await
            .unwrap();
        let mut tail = within("tailing", log.tail(&topic, TailFrom::End)).await.unwrap();
        let position = within("a delivery", log.publish(record(&topic, &key, "after")))
            .await
            .unwrap();
        let seen = within("the tail", tail.recv()).await.unwrap();
        assert_eq!((text(&seen.value).as_str(), seen.position), ("after", position));
    }
    let mut tail = within("tailing", log.tail(&topic, TailFrom::Beginning))
        .await
        .unwrap();
    for _ in 0..20 {
        within("the tail", tail.recv()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_rebalance_under_load_loses_nothing_classic() {
    rebalance(GroupProtocol::Classic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_rebalance_under_load_loses_nothing_consumer_protocol() {
    rebalance(GroupProtocol::Consumer).await;
}

/// A second member joins and leaves while 10,000 records pass.
async fn rebalance(group_protocol: GroupProtocol) {
    const RECORDS: u64 = 10_000;
    let Some(kafka) = real("a rebalance under load") else {
        return;
    };
    let log = Arc::new(
        KafkaLog::new(KafkaSettings {
            group_protocol,
            ..kafka
        })
        .unwrap(),
    );
    let topic = real_topic(&log, 6).await;
    let mut first = Member::join(&log, &topic, &topic);
    first
        .until("the first assignment", |first| first.held.len() == 6)
        .await;
    let (publisher, publish_to) = (Arc::clone(&log), topic.clone());
    let publishing = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        for n in 0..RECORDS {
            deliveries.push(publisher.publish(record(&publish_to, &format!("k{}", n % 100), n)));
            if n % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        join_all(deliveries)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
    });
    first.until("records", |first| first.records.len() > 500).await;
    let mut second = Member::join(&log, &topic, &topic);
    let begin = Instant::now();
    while second.held.len() < 3 || first.held.len() > 3 || second.records.len() < 500 {
        for member in [&mut first, &mut second] {
            // All that is there: what waits unread when a partition moves is read twice.
            while member.step(Duration::from_millis(1)).await {}
        }
        assert!(begin.elapsed() < PATIENCE, "sharing takes too long");
    }
    eprintln!("{group_protocol:?}: shared after {:?}", begin.elapsed());
    let twice = |first: &Member, second: &Member| {
        first.records.len() + second.records.len() - first.values().union(&second.values()).count()
    };
    let at_join = twice(&first, &second);
    second.close().await;
    let begin = Instant::now();
    first.until("taking over", |first| first.held.len() == 6).await;
    eprintln!("{group_protocol:?}: taken over after {:?}", begin.elapsed());
    within("publishing", publishing).await.unwrap();
    let all: BTreeSet<u64> = (0..RECORDS).collect();
    let second_saw = second.values();
    first
        .until("everything", |first| {
            first.values().union(&second_saw).count() == all.len()
        })
        .await;
    let at_leave = twice(&first, &second) - at_join;
    eprintln!("{group_protocol:?}: {RECORDS} records, twice: {at_join} at the join, {at_leave} at the leave");
    for member in [&first, &second] {
        let mut last = BTreeMap::new();
        for record in &member.records {
            let generation = (record.key.clone(), record.generation);
            let number: u64 = text(&record.value).parse().unwrap();
            assert!(
                last.insert(generation, number)
                    .is_none_or(|before| before < number),
                "out of order"
            );
        }
    }
    first.consumer.check().unwrap();
    first.close().await;
}
