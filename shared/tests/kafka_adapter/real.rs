//! Against a real Kafka.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use shared::event_log::{
    EventLog as _, LogError, Record, TailFrom, TopicSettings,
    kafka::{GroupProtocol, KafkaLog, KafkaSettings},
};

use super::{Member, PATIENCE, record, settings, text, within};

/// The brokers to test against, or a loud word that the test tests nothing.
fn real() -> Option<KafkaSettings> {
    engines::for_tests().map(|engines| KafkaSettings::new(&engines.kafka_brokers))
}

async fn real_topic(log: &KafkaLog, partitions: i32) -> String {
    let name = format!("kafka-adapter-{}", uuid::Uuid::new_v4());
    log.prepare(vec![settings(&name, partitions)]).await.unwrap();
    name
}

#[tokio::test]
async fn real_topics_are_prepared_once_and_unknown_ones_refused() {
    let Some(mut kafka) = real() else {
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
    let Some(kafka) = real() else { return };
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
    let Some(kafka) = real() else {
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
