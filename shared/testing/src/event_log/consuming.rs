//! Promises to a single member of a group.

use super::{
    DEADLINE, LogUnderTest, PARTITIONS, Reader, drive, eventually, log_with_topic, number_of, prepare,
    publish_numbers, unique,
};

/// Promise: a group without stored offsets sees what was published before it was there.
pub async fn a_group_begins_at_the_oldest_record(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    publish_numbers(&*log, &topic, 0..100).await;
    let mut reader = Reader::join(&*log, &unique("group"), &topic);
    reader.until_numbers(0..100).await;
    publish_numbers(&*log, &topic, 100..110).await;
    reader.until_numbers(0..110).await;
    assert_eq!(reader.held.len(), PARTITIONS as usize);
    eventually(DEADLINE, "the consumer is well", async || reader.consumer.check()).await;
}

/// Promise: groups do not take records from each other.
pub async fn every_group_sees_everything(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut first = Reader::join(&*log, &unique("group"), &topic);
    let mut second = Reader::join(&*log, &unique("group"), &topic);
    publish_numbers(&*log, &topic, 0..100).await;
    first.until_numbers(0..100).await;
    first.store_all();
    second.until_numbers(0..100).await;
}

/// Promise: a crash loses no record that was not stored.
pub async fn what_was_not_stored_is_delivered_again(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let group = unique("group");
    publish_numbers(&*log, &topic, 0..50).await;
    let mut reader = Reader::join(&*log, &group, &topic);
    reader.until_numbers(0..50).await;
    drop((reader, log));
    let log = subject.open().await;
    prepare(&*log, &topic, PARTITIONS).await;
    Reader::join(&*log, &group, &topic).until_numbers(0..50).await;
}

/// Promise: what was stored before closing is not delivered again, partition by partition.
pub async fn what_was_stored_is_not_delivered_again(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let group = unique("group");
    publish_numbers(&*log, &topic, 0..100).await;
    let mut reader = Reader::join(&*log, &group, &topic);
    reader.until_numbers(0..100).await;
    // All of partition 0, half of partition 1, nothing of the others.
    let half = reader.held[&1].1.expect("100 keys reach every partition") / 2;
    for (partition, next) in [(0, reader.held[&0].1.expect("as above") + 1), (1, half)] {
        reader.consumer.store(&reader.held[&partition].0, next);
    }
    let undone = |record: &&shared::event_log::ConsumedRecord| match record.position.partition {
        0 => false,
        1 => record.position.offset >= half,
        _ => true,
    };
    let mut expected: Vec<usize> = reader.records.iter().filter(undone).map(number_of).collect();
    reader.close().await;
    drop(log);

    let log = subject.open().await;
    prepare(&*log, &topic, PARTITIONS).await;
    let mut reader = Reader::join(&*log, &group, &topic);
    reader
        .until("what was not stored arrives", |reader| {
            reader.records.len() >= expected.len()
        })
        .await;
    // Records of after it, in every partition, prove that nothing else was on its way.
    publish_numbers(&*log, &topic, 100..200).await;
    expected.extend(100..200);
    expected.sort_unstable();
    reader
        .until("the new records arrive", |reader| {
            reader.records.len() >= expected.len()
        })
        .await;
    assert_eq!(reader.numbers(), expected);
}

/// Promise: a paused member is soon told nothing more, and nothing is missing once it resumes.
pub async fn a_pause_stops_and_a_resume_leaves_no_gap(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut paused = Reader::join(&*log, &unique("group"), &topic);
    let mut witness = Reader::join(&*log, &unique("group"), &topic);
    publish_numbers(&*log, &topic, 0..100).await;
    paused.until_numbers(0..100).await;
    paused.consumer.pause();
    // What was on its way has arrived when the witness has seen later records.
    publish_numbers(&*log, &topic, 100..200).await;
    drive(
        &mut [&mut witness, &mut paused],
        "the witness sees all",
        |readers| readers[0].records.len() >= 200,
    )
    .await;
    publish_numbers(&*log, &topic, 200..2_000).await;
    drive(
        &mut [&mut witness, &mut paused],
        "the witness sees all",
        |readers| readers[0].records.len() >= 2_000,
    )
    .await;
    assert!(
        paused.records.len() < 1_000,
        "{} records while paused",
        paused.records.len()
    );
    paused.consumer.resume();
    paused.until_numbers(0..2_000).await;
    paused.consumer.pause();
    paused.consumer.resume();
    publish_numbers(&*log, &topic, 2_000..2_010).await;
    paused.until_numbers(0..2_010).await;
}

/// Promise: a member that stores as it goes gets through any backlog, each record once.
pub async fn a_long_backlog_arrives_whole(subject: &impl LogUnderTest) {
    let (log, _) = log_with_topic(subject).await;
    let topic = unique("backlog");
    prepare(&*log, &topic, 1).await;
    publish_numbers(&*log, &topic, 0..12_000).await;
    let mut reader = Reader::join(&*log, &unique("group"), &topic);
    reader
        .until("the backlog arrives", |reader| {
            reader.store_all();
            reader.records.len() >= 12_000
        })
        .await;
    assert_eq!(reader.numbers(), (0..12_000).collect::<Vec<_>>());
}

/// Promise: after closing, the signals end.
pub async fn a_closed_consumer_says_so_and_ends(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut reader = Reader::join(&*log, &unique("group"), &topic);
    publish_numbers(&*log, &topic, 0..10).await;
    reader.until_numbers(0..10).await;
    reader.consumer.close(DEADLINE).await;
    reader.until("the signals end", |reader| reader.ended).await;
}

/// Promise: a member tells how many records of its partitions are not done, and for how long the
/// oldest of them has been waiting.
pub async fn the_lag_is_what_is_not_done_and_how_old_it_is(subject: &impl LogUnderTest) {
    let (log, topic) = log_with_topic(subject).await;
    let mut reader = Reader::join(&*log, &unique("group"), &topic);
    publish_numbers(&*log, &topic, 0..100).await;
    reader.until_numbers(0..100).await;
    let lag = |reader: &Reader| {
        let lag = reader.consumer.lag();
        assert!(lag.iter().all(|lag| *lag.topic == *topic));
        let oldest = lag.iter().filter_map(|lag| lag.oldest).max();
        (lag.iter().map(|lag| lag.records).sum::<u64>(), oldest)
    };
    let behind = |reader: &Reader, records| {
        let found = lag(reader);
        if found.0 == records {
            Ok(found.1)
        } else {
            Err(found)
        }
    };
    let first = eventually(DEADLINE, "nothing is done", async || behind(&reader, 100)).await;
    eventually(DEADLINE, "it grows older", async || {
        behind(&reader, 100).is_ok_and(|oldest| oldest > first)
    })
    .await;
    let (assignment, last) = reader.held[&0].clone();
    let of_first = last.expect("100 keys reach every partition") + 1;
    reader.consumer.store(&assignment, of_first);
    let left = 100 - u64::try_from(of_first).expect("an offset");
    eventually(DEADLINE, "a partition is done", async || behind(&reader, left)).await;
    reader.store_all();
    let oldest = eventually(DEADLINE, "all is done", async || behind(&reader, 0)).await;
    assert_eq!(oldest, None, "nothing waits");
    reader.close().await;
}
