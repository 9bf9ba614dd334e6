//! Promises of the embedded adapters beyond their ports.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use shared::{
    document_store::embedded::EmbeddedStore,
    event_log::{
        EventLog, LogError, Record, Signal, Subscribed, Subscription, TopicSettings,
        embedded::{EmbeddedLog, MAX_AHEAD, OFFSETS_LINGER},
    },
};
use testing::event_log::Reader;
use tokio::time::sleep;

use super::{Directory, Memory, on_paused_time, on_threads};

async fn prepare(log: &EmbeddedLog, partitions: i32) {
    let topic = TopicSettings {
        name: "topic".to_owned(),
        partitions,
        replication: 1,
        max_record_bytes: 1_000,
    };
    log.prepare(vec![topic]).await.unwrap();
}

fn record(number: usize) -> Record {
    Record {
        topic: "topic".to_owned(),
        key: Some(format!("key {}", number % 20).into_bytes()),
        value: Some(number.to_string().into_bytes()),
        headers: Vec::new(),
    }
}

#[test]
fn a_data_directory_in_use_is_refused_with_advice() {
    on_threads(async {
        let directory = Directory::new();
        let _log = EmbeddedLog::open(&directory.0).unwrap();
        let _store = EmbeddedStore::open(&directory.0, "store").unwrap();
        let errors = [
            EmbeddedLog::open(&directory.0).unwrap_err(),
            EmbeddedStore::open(&directory.0, "store").unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("in use by another process"), "{error}");
        }
        EmbeddedStore::open(&directory.0, "another").unwrap();
    });
}

#[test]
fn what_can_never_be_appended_is_refused() {
    on_paused_time(async {
        let log = EmbeddedLog::in_memory().unwrap();
        assert!(
            matches!(log.publish(record(1)).await, Err(LogError::Refused(_))),
            "no such topic"
        );
        prepare(&log, 1).await;
        let large = Record {
            value: Some(vec![0; 1_001]),
            ..record(1)
        };
        assert!(
            matches!(log.publish(large).await, Err(LogError::Refused(_))),
            "too large"
        );
        log.publish(record(1)).await.unwrap();
    });
}

#[test]
fn a_member_that_never_stores_is_not_told_without_limit() {
    on_paused_time(async {
        let log = EmbeddedLog::in_memory().unwrap();
        prepare(&log, 1).await;
        let ahead = usize::try_from(MAX_AHEAD).unwrap();
        for number in 0..ahead + 100 {
            drop(log.publish(record(number)));
        }
        let mut reader = Reader::join(&log, "group", "topic");
        reader
            .until("as much as is allowed arrives", |reader| {
                reader.records.len() >= ahead
            })
            .await;
        sleep(Duration::from_secs(60)).await;
        reader.take();
        assert_eq!(reader.records.len(), ahead);
        reader.store_all();
        reader.until_numbers(0..ahead + 100).await;
    });
}

#[test]
fn stored_offsets_are_durable_soon_without_a_publish_or_a_close() {
    on_paused_time(async {
        let memory = Memory::new();
        let log = EmbeddedLog::on(memory.0.clone()).unwrap();
        prepare(&log, 1).await;
        (0..10).for_each(|number| drop(log.publish(record(number))));
        let mut reader = Reader::join(&log, "group", "topic");
        reader.until_numbers(0..10).await;
        reader.store_all();
        sleep(OFFSETS_LINGER * 2).await;
        drop((reader, log));
        let log = EmbeddedLog::on(memory.0.clone()).unwrap();
        let mut reader = Reader::join(&log, "group", "topic");
        drop(log.publish(record(10)));
        reader.until_numbers(10..11).await;
    });
}

#[test]
fn a_rebalance_moves_as_few_partitions_as_possible() {
    on_paused_time(async {
        let log = EmbeddedLog::in_memory().unwrap();
        prepare(&log, 12).await;
        let mut readers: Vec<Reader> = Vec::new();
        for members in 1..=5 {
            let before: Vec<_> = readers.iter().map(|reader| reader.held.clone()).collect();
            readers.push(Reader::join(&log, "group", "topic"));
            readers.iter_mut().for_each(Reader::take);
            let held: Vec<usize> = readers.iter().map(|reader| reader.held.len()).collect();
            assert_eq!(held.iter().sum::<usize>(), 12);
            assert!(
                held.iter()
                    .all(|held| (12 / members..=12_usize.div_ceil(members)).contains(held)),
                "{held:?}"
            );
            for (reader, before) in readers.iter().zip(before) {
                // Who was there only gives, and keeps what it keeps under the same generation.
                assert!(
                    reader
                        .held
                        .iter()
                        .all(|held| before.contains_key(held.0) && before[held.0].0 == held.1.0)
                );
            }
        }
        let gone = readers.remove(2);
        let before: Vec<_> = readers.iter().map(|reader| reader.held.clone()).collect();
        gone.close().await;
        readers.iter_mut().for_each(Reader::take);
        for (reader, before) in readers.iter().zip(before) {
            assert!(before.keys().all(|partition| reader.held.contains_key(partition)));
            assert_eq!(reader.held.len(), 3);
        }
    });
}

#[test]
fn a_group_may_wait_for_its_topic() {
    on_paused_time(async {
        let log = EmbeddedLog::in_memory().unwrap();
        let mut reader = Reader::join(&log, "group", "topic");
        prepare(&log, 2).await;
        drop(log.publish(record(0)));
        reader.until_numbers(0..1).await;
    });
}

/// Publishers, members that come and go, pauses: everything a member is told, in order.
fn trace() -> String {
    let trace = Arc::new(Mutex::new(String::new()));
    let of_run = Arc::clone(&trace);
    on_paused_time(async move {
        let log = Arc::new(EmbeddedLog::in_memory().unwrap());
        prepare(&log, 5).await;
        let mut tasks = Vec::new();
        for publisher in 0..3 {
            let log = Arc::clone(&log);
            tasks.push(tokio::spawn(async move {
                for number in 0..200 {
                    log.publish(record(publisher * 1_000 + number)).await.unwrap();
                    sleep(Duration::from_millis(publisher as u64 + 1)).await;
                }
            }));
        }
        for member in 0..4_u64 {
            let (log, trace) = (Arc::clone(&log), Arc::clone(&of_run));
            tasks.push(tokio::spawn(async move {
                sleep(Duration::from_millis(member * 50)).await;
                let subscription = Subscription {
                    group: "group".to_owned(),
                    topics: vec!["topic".to_owned()],
                };
                let Subscribed {
                    mut signals,
                    consumer,
                } = log.subscribe(subscription).unwrap();
                let end = tokio::time::Instant::now() + Duration::from_millis(300);
                while let Ok(Some(signal)) = tokio::time::timeout_at(end, signals.recv()).await {
                    writeln!(trace.lock().unwrap(), "{member}: {signal:?}").unwrap();
                    if let Signal::Records(records) = signal {
                        for record in records {
                            let shared::event_log::Position {
                                topic,
                                partition,
                                offset,
                            } = record.position;
                            let generation = record.generation;
                            let assignment = shared::event_log::Assignment {
                                topic,
                                partition,
                                generation,
                            };
                            consumer.store(&assignment, offset + 1);
                        }
                        consumer.pause();
                        sleep(Duration::from_millis(7)).await;
                        consumer.resume();
                    }
                }
                if member % 2 == 0 {
                    consumer.close(Duration::from_secs(1)).await;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let trace = trace.lock().unwrap().clone();
    assert!(trace.contains("Revoked") && trace.lines().count() > 100);
    trace
}

#[test]
fn in_memory_two_runs_tell_the_same() {
    assert_eq!(trace(), trace());
}
