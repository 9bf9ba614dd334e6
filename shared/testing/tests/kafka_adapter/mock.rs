//! Against librdkafka's mock cluster, which is there without any set-up. A first join takes 3 s with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use shared::event_log::{
    EventLog as _, Header, LogError, Record, TailFrom,
    kafka::{KafkaLog, KafkaSettings},
};
use tokio::time::timeout;

use super::{Member, PATIENCE, record, settings, text, within};

pub type Mock = MockCluster<'static, DefaultProducerContext>;

pub fn mock(topic: &str, partitions: i32) -> (Mock, KafkaLog) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    let log = KafkaLog::new(KafkaSettings {
        // The mock does not wake a waiting fetch.
        extra: vec![("fetch.wait.max.ms".into(), "5".into())],
        ..KafkaSettings::new(cluster.bootstrap_servers())
    });
    (cluster, log.unwrap())
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
