//! Every command of a commit meets every fault: the commit happens, once.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use shared::document_store::{DocumentStore, Outcome, StoreError};
use testing::eventually;

use super::{
    faults::{fail, stop_failing},
    support::*,
};

/// What a server answers to a command, or does instead, when something is wrong with it.
fn faults() -> Vec<(&'static str, Document)> {
    let code = |code: i32| doc! { "errorCode": code };
    let labelled = |code: i32, label: &str| doc! { "errorCode": code, "errorLabels": [label] };
    let transient = "TransientTransactionError";
    vec![
        ("connection closed", doc! { "closeConnection": true }),
        ("HostUnreachable", code(6)),
        ("NetworkTimeout", code(89)),
        ("ShutdownInProgress", code(91)),
        ("NotWritablePrimary", code(10107)),
        ("InterruptedDueToReplStateChange", code(11602)),
        ("PrimarySteppedDown", labelled(189, "RetryableWriteError")),
        ("ExceededTimeLimit", code(262)),
        ("MaxTimeMSExpired", code(50)),
        ("LockTimeout", labelled(24, transient)),
        ("WriteConflict", labelled(112, transient)),
        ("NoSuchTransaction", labelled(251, transient)),
        ("SnapshotUnavailable", labelled(246, transient)),
        (
            "UnknownTransactionCommitResult",
            labelled(50, "UnknownTransactionCommitResult"),
        ),
        (
            "write concern not met",
            doc! { "writeConcernError": { "code": 64, "errmsg": "waiting timed out" } },
        ),
        (
            "answer after 700 ms",
            doc! { "blockConnection": true, "blockTimeMS": 700 },
        ),
    ]
}

#[tokio::test]
async fn a_commit_happens_once_whichever_command_of_it_meets_whichever_fault() {
    let Some(uri) = uri() else { return };
    let test = Fixture::with(&uri, |settings| {
        settings.call_timeout = Duration::from_millis(500)
    })
    .await;
    let (one, two) = (key(ORDERS), key(ACCOUNTS));
    let start = vec![(one, None, doc! {}), (two, None, doc! {})];
    assert_eq!(
        test.store.commit(commit(true, start)).await,
        Ok(all(Outcome::Applied, 2))
    );
    let mut version = 1;
    let mut slowest = (Duration::ZERO, String::new());
    for (fault, data) in faults() {
        for (command, atomic) in [
            ("insert", false),
            ("update", false),
            ("insert", true),
            ("update", true),
            ("commitTransaction", true),
        ] {
            let what = format!("{command}, atomic {atomic}: {fault}");
            let mut data = data.clone();
            data.insert("failCommands", [command].as_slice());
            // The driver repeats a command once by itself: twice is what reaches us.
            let Some(_turn) = fail(&test, 2, data).await else {
                return;
            };
            let inserted = key(ACCOUNTS);
            let writes = vec![
                (one, Some(version), doc! {}),
                (two, Some(version), doc! {}),
                (inserted, None, doc! {}),
            ];
            let begin = Instant::now();
            let outcome = test.store.commit(commit(atomic, writes)).await;
            slowest = slowest.max((begin.elapsed(), what.clone()));
            stop_failing(&test).await;
            assert_eq!(outcome, Ok(all(Outcome::Applied, 3)), "{what}");
            version += 1;
            for (key, expected) in [(one, version), (two, version), (inserted, 1)] {
                assert_eq!(test.version(key).await, Some(expected), "{what}");
            }
        }
    }
    eprintln!(
        "{} commits through faults, the slowest {:?} ({})",
        version - 1,
        slowest.0,
        slowest.1
    );
    test.end().await;
}

#[tokio::test]
async fn a_read_that_meets_a_fault_answers_what_is_there_or_that_it_cannot() {
    let Some(uri) = uri() else { return };
    let test = Fixture::with(&uri, |settings| {
        settings.call_timeout = Duration::from_millis(500)
    })
    .await;
    let one = key(ORDERS);
    test.store.commit(insert(one)).await.unwrap();
    for (fault, mut data) in faults() {
        if fault == "write concern not met" {
            continue;
        }
        data.insert("failCommands", ["find"].as_slice());
        let Some(_turn) = fail(&test, 2, data).await else {
            return;
        };
        let begin = Instant::now();
        match test.store.find("orders", vec![one.id]).await {
            Ok(found) => assert_eq!(found.len(), 1, "{fault}"),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{fault}: {error}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(2), "{fault}");
        stop_failing(&test).await;
        let next = async || test.store.find("orders", vec![one.id]).await;
        let found = eventually(Duration::from_secs(10), "the next one is well", next).await;
        assert_eq!(found.len(), 1, "{fault}");
    }
    test.end().await;
}
