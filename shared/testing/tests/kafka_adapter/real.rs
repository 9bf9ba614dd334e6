//! Against a real Kafka.

use shared::event_log::{
    EventLog as _, LogError, Record, TailFrom, TopicSettings,
    kafka::{KafkaLog, KafkaSettings},
};

use super::{record, settings, text, within};

/// The brokers to test against, or a loud word that the test tests nothing.
pub fn real() -> Option<KafkaSettings> {
    engines::for_tests().map(|engines| KafkaSettings::new(&engines.kafka_brokers))
}

pub async fn real_topic(log: &KafkaLog, partitions: i32) -> String {
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
