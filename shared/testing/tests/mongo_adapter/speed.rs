//! How many round trips, and about how long. Times are printed, not asserted.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use shared::document_store::{DocumentKey, DocumentStore, Outcome};

use super::support::*;

#[tokio::test]
async fn a_commit_is_one_round_trip_for_each_collection_and_kind() {
    // The server counts commands for all clients together: one of its own.
    let Some(binary) = mongod() else { return };
    let mut engine = Engine::new(binary, true);
    engine.start();
    engine.initiate().await;
    let test = Fixture::new(&engine.uri()).await;
    let keys: Vec<DocumentKey> = (0..50)
        .map(|_| key(ORDERS))
        .chain((0..50).map(|_| key(ACCOUNTS)))
        .collect();
    let before = commands(&test).await;
    for (atomic, expected) in [(false, None), (true, Some(1))] {
        let writes = keys.iter().map(|key| (*key, expected, doc! {})).collect();
        assert_eq!(
            test.store.commit(commit(atomic, writes)).await,
            Ok(all(Outcome::Applied, 100))
        );
    }
    test.store
        .find("orders", keys[..50].iter().map(|key| key.id).collect())
        .await
        .unwrap();
    test.store.find("orders", vec![keys[0].id]).await.unwrap();
    let after = commands(&test).await;
    let counts: Vec<i64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .collect();
    assert_eq!(counts, [2, 2, 1, 0], "{COUNTED:?}");

    // The server itself finds things too: only those in our database.
    test.database().run_command(doc! { "profile": 2 }).await.unwrap();
    test.store
        .find("orders", keys[..50].iter().map(|key| key.id).collect())
        .await
        .unwrap();
    test.store.find("orders", vec![keys[0].id]).await.unwrap();
    test.database().run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = test.database().collection::<Document>("system.profile");
    let count = async |filter| profile.count_documents(filter).await.unwrap();
    assert_eq!(count(doc! { "op": "query" }).await, 2);
    assert_eq!(count(doc! { "op": "getmore" }).await, 0);
    assert_eq!(count(doc! { "op": "query", "planSummary": "IDHACK" }).await, 1);
}

const COUNTED: [&str; 4] = ["insert", "update", "commitTransaction", "abortTransaction"];

/// How often the server has got each command.
async fn commands(test: &Fixture) -> Vec<i64> {
    let status = test
        .client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .unwrap();
    let commands = status
        .get_document("metrics")
        .unwrap()
        .get_document("commands")
        .unwrap()
        .clone();
    let count = |name: &&str| {
        commands
            .get_document(name)
            .map_or(0, |counts| counts.get_i64("total").unwrap())
    };
    COUNTED.iter().map(count).collect()
}

#[tokio::test]
async fn times_of_the_usual_calls() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let order = || doc! { "customerId": uuid(key(ACCOUNTS).id), "status": 0, "amount": "12.50", "note": "x".repeat(300) };
    for (name, count, atomic) in [
        ("1 insert", 1, false),
        ("100 inserts", 100, false),
        ("256 inserts", 256, false),
    ] {
        let mut times = Vec::new();
        for _ in 0..30 {
            let writes = (0..count).map(|_| (key(ORDERS), None, order())).collect();
            let write = commit(atomic, writes);
            let started = Instant::now();
            test.store.commit(write).await.unwrap();
            times.push(started.elapsed());
        }
        report(name, times);
    }
    let account = key(ACCOUNTS);
    test.store.commit(insert(account)).await.unwrap();
    for (name, inserts) in [
        ("atomic: 1 replaced + 1 insert", 1),
        ("atomic: 1 replaced + 100 inserts", 100),
    ] {
        let mut times = Vec::new();
        for _ in 0..30 {
            let version = test.version(account).await;
            let inserts = (0..inserts).map(|_| (key(ORDERS), None, order()));
            let write = commit(true, inserts.chain([(account, version, doc! {})]).collect());
            let started = Instant::now();
            assert_eq!(test.store.commit(write).await.unwrap()[0], Outcome::Applied);
            times.push(started.elapsed());
        }
        report(name, times);
    }
    let keys: Vec<DocumentKey> = (0..256).map(|_| key(ORDERS)).collect();
    test.store
        .commit(commit(
            false,
            keys.iter().map(|key| (*key, None, order())).collect(),
        ))
        .await
        .unwrap();
    for count in [1, 100, 256] {
        let mut times = Vec::new();
        for _ in 0..50 {
            let ids = keys[..count].iter().map(|key| key.id).collect();
            let started = Instant::now();
            assert_eq!(test.store.find("orders", ids).await.unwrap().len(), count);
            times.push(started.elapsed());
        }
        report(&format!("find {count}"), times);
    }
    for (name, atomic, first) in [("256 replaced", false, 1), ("atomic: 256 replaced", true, 21)] {
        let mut times = Vec::new();
        for version in first..first + 20 {
            let write = commit(
                atomic,
                keys.iter().map(|key| (*key, Some(version), order())).collect(),
            );
            let started = Instant::now();
            assert_eq!(test.store.commit(write).await, Ok(all(Outcome::Applied, 256)));
            times.push(started.elapsed());
        }
        report(name, times);
    }
    test.end().await;
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    eprintln!(
        "{name:36} p50 {:>8.2?}  p95 {:>8.2?}",
        times[times.len() / 2],
        times[times.len() * 95 / 100]
    );
}
