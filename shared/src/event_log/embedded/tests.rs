use super::*;
use crate::{
    embedded::failing_disk::{Directory, FailingDisk},
    event_log::{Assignment, ConsumedRecord, Signal},
};

fn record(number: u8) -> Record {
    Record {
        topic: "topic".to_owned(),
        key: Some(vec![1]),
        value: Some(vec![number]),
        headers: Vec::new(),
    }
}

async fn prepare(log: &EmbeddedLog) {
    let topic = TopicSettings {
        name: "topic".to_owned(),
        partitions: 1,
        replication: 1,
        max_record_bytes: 10_000,
    };
    log.prepare(vec![topic]).await.unwrap();
}

async fn next(subscribed: &mut Subscribed) -> Vec<ConsumedRecord> {
    loop {
        if let Signal::Records(records) = subscribed.signals.recv().await.unwrap() {
            return records;
        }
    }
}

fn join(log: &EmbeddedLog) -> Subscribed {
    log.subscribe(Subscription {
        group: "group".to_owned(),
        topics: vec!["topic".to_owned()],
    })
    .unwrap()
}

#[tokio::test]
async fn a_failing_disk_is_answered_and_what_follows_is_appended() {
    let (directory, disk) = (Directory::new(), FailingDisk::default());
    let log = EmbeddedLog::on(disk.engine(&directory.file())).unwrap();
    prepare(&log).await;
    assert_eq!(log.publish(record(0)).await.unwrap().offset, 0);

    disk.fail(usize::MAX);
    let failing: Vec<Delivery> = (1..50).map(|number| log.publish(record(number))).collect();
    for delivery in failing {
        assert!(matches!(delivery.await, Err(LogError::Unavailable(_))));
    }
    assert!(log.check().await.is_err());

    disk.fail(0);
    log.check().await.unwrap();
    let offset = log.publish(record(100)).await.unwrap().offset;
    let mut tail = log.tail("topic", TailFrom::Beginning).await.unwrap();
    for expected in 0..=offset {
        let found = tail.recv().await.unwrap();
        assert_eq!(found.position.offset, expected);
        // Of what failed, the first transaction may stand in the log after all.
        assert!(expected != offset || found.value == Some(vec![100]));
    }
}

#[tokio::test]
async fn an_offset_that_could_not_be_written_is_written_later() {
    let (directory, disk) = (Directory::new(), FailingDisk::default());
    let log = EmbeddedLog::on(disk.engine(&directory.file())).unwrap();
    prepare(&log).await;
    for number in 0..2 {
        log.publish(record(number)).await.unwrap();
    }
    let mut subscribed = join(&log);
    let first = next(&mut subscribed).await.remove(0);
    let (topic, partition) = (Arc::clone(&first.position.topic), first.position.partition);
    let assignment = Assignment {
        topic,
        partition,
        generation: first.generation,
    };
    disk.fail(usize::MAX);
    subscribed.consumer.store(&assignment, 1);
    log.inner.flush().await.unwrap_err();
    disk.fail(0);
    subscribed.consumer.close(Duration::from_secs(5)).await;
    drop((subscribed, log));

    let log = EmbeddedLog::open(&directory.0);
    assert!(log.is_ok(), "another file in the same directory");
    let log = EmbeddedLog::on(disk.engine(&directory.file())).unwrap();
    assert_eq!(next(&mut join(&log)).await[0].position.offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_handlers_make_no_progress_is_not_well() {
    let log = EmbeddedLog::in_memory().unwrap();
    prepare(&log).await;
    for number in 0..3 {
        log.publish(record(number)).await.unwrap();
    }
    let mut subscribed = join(&log);
    let mut records = Vec::new();
    while records.len() < 3 {
        records.extend(next(&mut subscribed).await);
    }
    let (consumer, assignment) = (subscribed.consumer, records[0].assignment());
    let still = async || tokio::time::advance(std::time::Duration::from_secs(8)).await;
    still().await;
    consumer.check().unwrap();
    // As a consumer does that can take no more.
    consumer.pause();
    still().await;
    let error = consumer.check().unwrap_err().to_string();
    assert!(error.contains("handlers make no progress"), "{error}");
    consumer.store(&assignment, 1);
    consumer.check().unwrap();
    still().await;
    assert!(consumer.check().is_err(), "two are left");
    consumer.store(&assignment, 3);
    still().await;
    consumer.check().unwrap();
}
