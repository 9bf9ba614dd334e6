//! Errors in the middle of a commit: nothing doubled, nothing lost, each outcome right.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use shared::document_store::{DocumentStore, Outcome, StoreError};
use tokio::sync::{Mutex, MutexGuard};

use super::support::*;

/// The server has one fail point of this kind: tests take turns.
static FAIL_POINT: Mutex<()> = Mutex::const_new(());

/// Makes commands of this test's store fail; `None` where the server was not started for that.
pub async fn fail(test: &Fixture, times: i32, mut data: Document) -> Option<MutexGuard<'static, ()>> {
    let turn = FAIL_POINT.lock().await;
    data.insert("appName", &test.settings.app_name);
    let command = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    match test.client.database("admin").run_command(command).await {
        Ok(_) => Some(turn),
        Err(error) => {
            eprintln!("SKIPPED: the server has no fail points ({error})");
            None
        }
    }
}

pub async fn stop_failing(test: &Fixture) {
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    test.client.database("admin").run_command(command).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_durability_is_unknown_is_applied_once() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let failure = || doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting timed out" };
    let one = key(ORDERS);
    for (command, expected) in [("insert", None), ("update", Some(1)), ("update", Some(2))] {
        let data = doc! { "failCommands": [command], "writeConcernError": failure() };
        let Some(_turn) = fail(&test, 2, data).await else {
            return;
        };
        let write = commit(false, vec![(one, expected, doc! {})]);
        assert_eq!(
            test.store.commit(write).await,
            Ok(vec![Outcome::Applied]),
            "{command}"
        );
        assert_eq!(test.version(one).await, Some(expected.unwrap_or(0) + 1));
    }
    test.end().await;
}

#[tokio::test]
async fn errors_of_a_primary_that_steps_down_are_ridden_out() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    for data in [
        doc! { "failCommands": ["insert"], "errorCode": 10107 },
        doc! { "failCommands": ["insert"], "errorCode": 11602 },
        doc! { "failCommands": ["insert"], "closeConnection": true },
        doc! { "failCommands": ["update", "commitTransaction"], "closeConnection": true },
        doc! { "failCommands": ["insert"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
    ] {
        let Some(_turn) = fail(&test, 2, data.clone()).await else {
            return;
        };
        for atomic in [false, true] {
            let (one, two) = (key(ORDERS), key(ACCOUNTS));
            let write = commit(atomic, vec![(one, None, doc! {}), (two, None, doc! {})]);
            assert_eq!(
                test.store.commit(write).await,
                Ok(all(Outcome::Applied, 2)),
                "{data}"
            );
        }
    }
    test.end().await;
}

#[tokio::test]
async fn a_commit_of_a_transaction_with_an_unknown_result_is_resolved() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let mut version = 0;
    let (one, two) = (key(ORDERS), key(ACCOUNTS));
    for (times, data) in [
        (1, doc! { "closeConnection": true }),
        (5, doc! { "closeConnection": true }),
        (3, doc! { "errorCode": 91 }),
        (
            5,
            doc! { "writeConcernError": { "code": 64, "errmsg": "waiting timed out" } },
        ),
        // As after a restart that forgot the transaction.
        (
            1,
            doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] },
        ),
    ] {
        let mut data = data.clone();
        data.insert("failCommands", ["commitTransaction"].as_slice());
        let Some(_turn) = fail(&test, times, data.clone()).await else {
            return;
        };
        let expected = (version > 0).then_some(version);
        let write = commit(true, vec![(one, expected, doc! {}), (two, expected, doc! {})]);
        assert_eq!(
            test.store.commit(write).await,
            Ok(all(Outcome::Applied, 2)),
            "{data}"
        );
        version += 1;
        assert_eq!(
            (test.version(one).await, test.version(two).await),
            (Some(version), Some(version))
        );
        stop_failing(&test).await;
    }
    test.end().await;
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_told_so_in_time() {
    let Some(uri) = uri() else { return };
    let test = Fixture::with(&uri, |settings| settings.commit_deadline = Duration::from_secs(1)).await;
    let data = doc! {
        "failCommands": ["insert"],
        "writeConcernError": { "code": 64, "errmsg": "waiting timed out" },
    };
    let Some(_turn) = fail(&test, 10_000, data).await else {
        return;
    };
    let one = key(ORDERS);
    let write = insert(one);
    let started = Instant::now();
    let outcome = test.store.commit(write.clone()).await;
    assert!(
        matches!(outcome, Err(StoreError::OutcomeUnknown(_))),
        "{outcome:?}"
    );
    assert!(started.elapsed() < Duration::from_millis(1500));
    stop_failing(&test).await;
    assert_eq!(
        test.store.commit(write).await,
        Ok(vec![Outcome::Applied]),
        "asked again, it is known"
    );
    test.end().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_on_the_wire_does_not_double_the_write() {
    let Some(uri) = uri() else { return };
    let proxy = Proxy::new(&uri);
    let test = Fixture::with(&proxy.uri, |settings| {
        settings.call_timeout = Duration::from_millis(700)
    })
    .await;
    let mut version = 0;
    let (one, two) = (key(ORDERS), key(ACCOUNTS));
    let late = Accident::DelayRequest(Duration::from_millis(1600));
    for accident in [Accident::CutAnswer, Accident::SwallowAnswer, late] {
        for (marker, atomic) in [
            ("insert", false),
            ("update", false),
            ("update", true),
            ("insert", true),
            ("commitTransaction", true),
        ] {
            // One document replaced over and over, one inserted each time, in one commit.
            let before = proxy.happened();
            let inserted = key(ACCOUNTS);
            if version == 0 {
                test.store
                    .commit(commit(true, vec![(one, None, doc! {}), (two, None, doc! {})]))
                    .await
                    .unwrap();
                version = 1;
            }
            proxy.arm(marker, accident);
            let writes = vec![
                (one, Some(version), doc! { "n": version }),
                (two, Some(version), doc! { "n": version }),
                (inserted, None, doc! {}),
            ];
            let started = Instant::now();
            let outcome = test.store.commit(commit(atomic, writes)).await;
            assert_eq!(outcome, Ok(all(Outcome::Applied, 3)), "{marker} {atomic}");
            eprintln!("{marker} atomic={atomic}: resolved in {:?}", started.elapsed());
            assert_eq!(proxy.happened(), before + 1, "{marker}");
            version += 1;
            assert_eq!(test.version(one).await, Some(version));
            assert_eq!(test.version(two).await, Some(version));
            assert_eq!(test.version(inserted).await, Some(1));
        }
    }
    // Whatever was under way late has arrived by now, and has changed nothing.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    assert_eq!(
        (test.version(one).await, test.version(two).await),
        (Some(version), Some(version))
    );
    test.end().await;
}
