//! Servers that are not there, not fit, killed, or frozen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bson::doc;
use shared::document_store::{
    DocumentKey, DocumentStore, Outcome, StoreError,
    mongo::{MongoSettings, MongoStore},
};

use super::support::*;

/// Prepares as soon as the server lets it.
pub async fn prepared(store: &MongoStore) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.prepare(vec![ORDERS, ACCOUNTS]).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_without_replica_set_is_unfit_and_told_how_to_change_that() {
    let Some(binary) = mongod() else { return };
    let mut engine = Engine::new(binary, false);
    engine.start();
    let store = MongoStore::new(MongoSettings::new(engine.uri(), "db"))
        .await
        .unwrap();
    for answer in [store.prepare(vec![ORDERS]).await, store.check().await] {
        let Err(StoreError::Unfit(why)) = answer else {
            panic!("{answer:?}")
        };
        assert!(
            why.contains("--replSet") && why.contains("rs.initiate") && !why.contains('\n'),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_and_works_when_it_comes() {
    let Some(binary) = mongod() else { return };
    let mut engine = Engine::new(binary, true);
    let store = MongoStore::new(MongoSettings::new(engine.uri(), "db"))
        .await
        .unwrap();
    let started = Instant::now();
    let (first, second) = tokio::join!(store.check(), store.check());
    assert!(started.elapsed() < Duration::from_secs(2), "both share one probe");
    assert_eq!(first, second);
    let Err(StoreError::Unavailable(why)) = first else {
        panic!("{first:?}")
    };
    let host = engine.uri().replace("mongodb://", "").replace('/', "");
    assert_eq!(why, format!("waiting for MongoDB at {host}: connection refused"));
    let one = key(ORDERS);
    assert!(matches!(
        store.commit(insert(one)).await,
        Err(StoreError::Unavailable(_))
    ));
    let both = commit(true, vec![(one, None, doc! {}), (key(ACCOUNTS), None, doc! {})]);
    assert!(matches!(
        store.commit(both).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.find("orders", vec![one.id]).await,
        Err(StoreError::Unavailable(_))
    ));

    engine.start();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let why = store.check().await.unwrap_err().to_string();
    assert!(why.contains("rs.initiate"), "{why}");
    engine.initiate().await;
    prepared(&store).await;
    assert_eq!(store.commit(insert(one)).await, Ok(vec![Outcome::Applied]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(store.check().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_survives_a_kill_of_the_server() {
    let Some(binary) = mongod() else { return };
    let mut engine = Engine::new(binary, true);
    engine.start();
    engine.initiate().await;
    let store = Arc::new(
        MongoStore::new(MongoSettings::new(engine.uri(), "db"))
            .await
            .unwrap(),
    );
    prepared(&store).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|n| tokio::spawn(write_on(store.clone(), n % 2 == 0, stop.clone())))
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        engine.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        engine.start();
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let (mut applied, mut errors, mut slowest) = (0, 0, Duration::ZERO);
    for writer in writers {
        let written = writer.await.unwrap();
        for key in &written.applied {
            let found = store.find(key.collection, vec![key.id]).await.unwrap();
            assert_eq!(found.len(), 1, "an applied insert is gone");
        }
        let found = store.find("accounts", vec![written.counter.id]).await.unwrap();
        assert_eq!(
            found[0].get_i64("version").unwrap(),
            written.version,
            "a replacement was lost or doubled"
        );
        applied += written.applied.len();
        errors += written.errors;
        slowest = slowest.max(written.slowest);
    }
    eprintln!(
        "{applied} commits applied over 3 kills, {errors} without an outcome, the slowest took {slowest:?}"
    );
    assert!(applied > 50);
}

struct Written {
    applied: Vec<DocumentKey>,
    counter: DocumentKey,
    version: i64,
    errors: u32,
    slowest: Duration,
}

/// Inserts one document and replaces the writer's own counter, over and over.
async fn write_on(store: Arc<MongoStore>, atomic: bool, stop: Arc<AtomicBool>) -> Written {
    let counter = key(ACCOUNTS);
    assert_eq!(store.commit(insert(counter)).await, Ok(vec![Outcome::Applied]));
    let mut written = Written {
        applied: vec![],
        counter,
        version: 1,
        errors: 0,
        slowest: Duration::ZERO,
    };
    while !stop.load(Ordering::SeqCst) {
        let inserted = key(ORDERS);
        let write = commit(
            atomic,
            vec![
                (inserted, None, doc! {}),
                (counter, Some(written.version), doc! {}),
            ],
        );
        let started = Instant::now();
        // An unknown outcome is resolved by asking for the very same commit again.
        loop {
            match store.commit(write.clone()).await {
                Ok(outcomes) => {
                    assert_eq!(outcomes, all(Outcome::Applied, 2), "nobody else writes here");
                    break;
                }
                Err(StoreError::Unfit(why) | StoreError::Rejected(why)) => panic!("{why}"),
                Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => written.errors += 1,
            }
        }
        written.slowest = written.slowest.max(started.elapsed());
        written.applied.push(inserted);
        written.version += 1;
    }
    written
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_longer_than_the_deadline() {
    let Some(binary) = mongod() else { return };
    let mut engine = Engine::new(binary, true);
    engine.start();
    engine.initiate().await;
    let mut settings = MongoSettings::new(engine.uri(), "db");
    settings.call_timeout = Duration::from_millis(500);
    settings.commit_deadline = Duration::from_secs(2);
    let store = MongoStore::new(settings).await.unwrap();
    prepared(&store).await;
    for atomic in [false, true] {
        let keys = [key(ORDERS), key(ACCOUNTS)];
        let write = commit(atomic, keys.iter().map(|key| (*key, None, doc! {})).collect());
        engine.signal("-STOP");
        let started = Instant::now();
        let outcome = store.commit(write.clone()).await;
        assert!(
            started.elapsed() < Duration::from_millis(2600),
            "{:?}",
            started.elapsed()
        );
        match (&outcome, atomic) {
            (Err(StoreError::OutcomeUnknown(_)), false) => {}
            // Its commit was never sent, so nothing can have been written.
            (Err(StoreError::Unavailable(_)), true) => {}
            _ => panic!("{outcome:?}"),
        }
        let started = Instant::now();
        assert!(store.check().await.is_err());
        assert!(store.find("orders", vec![keys[0].id]).await.is_err());
        assert!(
            started.elapsed() < Duration::from_millis(2300),
            "{:?}",
            started.elapsed()
        );
        engine.signal("-CONT");
        let deadline = Instant::now() + Duration::from_secs(15);
        let outcomes = loop {
            match store.commit(write.clone()).await {
                Ok(outcomes) => break outcomes,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        assert_eq!(outcomes, all(Outcome::Applied, 2));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(store.check().await, Ok(()));
    }
}
