//! Promises about publishing and keeping.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    DEADLINE, LogUnderTest, PARTITIONS, eventually, log_with_topic, number_of, prepare, publish_numbers,
    record, unique, within,
};
use shared::event_log::{ConsumedRecord, EventLog, Header, Offset, Partition, Record, Tail, TailFrom};

async fn tail(log: &dyn EventLog, topic: &str, from: TailFrom) -> Tail {
    eventually(DEADLINE, "the topic is tailed", async || {
        log.tail(topic, from).await
    })
    .await
}

async fn take(tail: &mut Tail, count: usize) -> Vec<ConsumedRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let record = within("the tail goes on", tail.recv()).await;
        records.push(record.expect("the tail has not ended"));
    }
    records
}

/// Promise: offsets count the records of a partition.
pub async fn a_delivery_answers_a_position_and_offsets_grow_by_one(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut next = BTreeMap::<Partition, Offset>::new();
    for number in 0..20 {
        let delivery = log.publish(record(&topic, &format!("key {number}"), "value"));
        let position = within("a record is delivered", delivery)
            .await
            .expect("a delivery");
        assert_eq!(*position.topic, *topic);
        assert!((0..PARTITIONS).contains(&position.partition), "{position}");
        let expected = next.entry(position.partition).or_default();
        assert_eq!(position.offset, *expected, "{position}");
        *expected += 1;
    }
    within("the log is closed", log.close(DEADLINE)).await;
}

/// Promise: records of a key share a partition and stand in the order of the calls, also where
/// nobody waited between them.
pub async fn records_of_a_key_keep_their_order(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let (keys, each) = (50, 20);
    let mut deliveries = Vec::new();
    for number in 0..each {
        for key in 0..keys {
            deliveries.push(log.publish(record(&topic, &format!("key {key}"), &number.to_string())));
        }
    }
    // The last first: the order is that of the calls, not of the polls.
    for delivery in deliveries.into_iter().rev() {
        within("a record is delivered", delivery)
            .await
            .expect("a delivery");
    }
    let mut seen = BTreeMap::<Vec<u8>, (Partition, usize)>::new();
    let mut tail = tail(&*log, &topic, TailFrom::Beginning).await;
    for record in take(&mut tail, keys * each).await {
        let key = record.key.clone().expect("it has a key");
        let (partition, next) = seen.entry(key).or_insert((record.position.partition, 0));
        assert_eq!(
            *partition, record.position.partition,
            "a key changed its partition"
        );
        assert_eq!(*next, number_of(&record), "out of order at {}", record.position);
        *next += 1;
    }
    let used: BTreeSet<Partition> = seen.values().map(|(partition, _)| *partition).collect();
    assert_eq!(used.len(), PARTITIONS as usize, "50 keys use all partitions");
}

/// Promise: records without a key do not all go to one partition.
pub async fn records_without_a_key_are_spread(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut used = BTreeSet::new();
    eventually(
        DEADLINE,
        "records without a key reach every partition",
        async || {
            let record = Record {
                topic: topic.clone(),
                value: Some(vec![1]),
                ..Record::default()
            };
            used.insert(log.publish(record).await.expect("a delivery").partition);
            used.len() == PARTITIONS as usize
        },
    )
    .await;
}

/// Promise: key, value and headers arrive as they were published; "none" and "empty" differ.
pub async fn everything_of_a_record_survives(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let header = |name: &str, value: Option<&[u8]>| Header {
        name: name.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let headers = vec![
        header("b", Some(b"1")),
        header("a", None),
        header("b", Some(b"")),
        header("b", Some(&[0, 255])),
    ];
    let with = |key: Option<&[u8]>, value: Option<Vec<u8>>, headers: &[Header]| Record {
        topic: topic.clone(),
        key: key.map(<[u8]>::to_vec),
        value,
        headers: headers.to_vec(),
    };
    let published = [
        with(Some(b"key"), Some(b"value".to_vec()), &headers),
        with(None, Some(b"no key".to_vec()), &headers),
        with(Some(b"no value"), None, &headers),
        with(Some(b"empty value"), Some(Vec::new()), &headers),
        with(Some(b"no headers"), Some(b"value".to_vec()), &[]),
        with(
            Some(b"large"),
            Some((0..1_000_000_u32).map(|byte| byte.to_le_bytes()[0]).collect()),
            &headers,
        ),
    ];
    let mut tail = tail(&*log, &topic, TailFrom::Beginning).await;
    for record in published {
        let position = within("a record is delivered", log.publish(record.clone()))
            .await
            .expect("a delivery");
        let read = take(&mut tail, 1).await.remove(0);
        assert_eq!(read.position, position);
        assert_eq!(
            (read.key, read.value, read.headers),
            (record.key, record.value, record.headers)
        );
    }
}

/// Promise: a record for a topic that is not there is refused, or goes on waiting, or is in the
/// log after all.
pub async fn a_record_for_an_unknown_topic_is_never_lost_silently(subject: &impl LogUnderTest) {
    let (log, _) = log_with_topic(subject).await;
    let topic = unique("unknown");
    let answer = timeout(Duration::from_secs(3), log.publish(record(&topic, "key", "1"))).await;
    if let Ok(Ok(position)) = answer {
        let mut tail = tail(&*log, &topic, TailFrom::Beginning).await;
        assert_eq!(take(&mut tail, 1).await[0].position, position);
    }
}

/// Promise: preparing again changes nothing, with other settings neither; the log says it is well.
pub async fn a_topic_that_exists_is_prepared_as_it_is(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    publish_numbers(&*log, &topic, 0..10).await;
    prepare(&*log, &topic, PARTITIONS).await;
    prepare(&*log, &topic, PARTITIONS + 3).await;
    let positions = publish_numbers(&*log, &topic, 10..60).await;
    assert!(positions.iter().all(|position| position.partition < PARTITIONS));
    take(&mut tail(&*log, &topic, TailFrom::Beginning).await, 60).await;
    eventually(DEADLINE, "the log is well", async || log.check().await).await;
}

/// Promise: what was delivered is there after a restart, and new records follow it.
pub async fn records_survive_reopening(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut expected = publish_numbers(&*log, &topic, 0..100).await;
    drop(log);
    let log = subject.open().await;
    prepare(&*log, &topic, PARTITIONS).await;
    expected.extend(publish_numbers(&*log, &topic, 100..200).await);
    let mut records = take(&mut tail(&*log, &topic, TailFrom::Beginning).await, 200).await;
    records.sort_by_key(number_of);
    let found: Vec<_> = records.into_iter().map(|record| record.position).collect();
    assert_eq!(found, expected);
}

/// Promise: a tail begins with the oldest record, or with the first after it was asked for.
pub async fn a_tail_sees_what_it_asked_for(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    publish_numbers(&*log, &topic, 0..50).await;
    let mut from_end = tail(&*log, &topic, TailFrom::End).await;
    let mut from_beginning = tail(&*log, &topic, TailFrom::Beginning).await;
    publish_numbers(&*log, &topic, 50..100).await;
    let numbers = |records: Vec<ConsumedRecord>| {
        let mut numbers: Vec<usize> = records.iter().map(number_of).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(
        numbers(take(&mut from_end, 50).await),
        (50..100).collect::<Vec<_>>()
    );
    assert_eq!(
        numbers(take(&mut from_beginning, 100).await),
        (0..100).collect::<Vec<_>>()
    );
}
