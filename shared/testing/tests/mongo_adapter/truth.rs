//! Whatever is told of a commit is true, while the server is killed, steps down, or its primary is
//! lost in the middle of commits: applied is there, unavailable is not, all or nothing is just that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::{Client, bson::doc};
use shared::document_store::{
    Commit, DocumentStore, Outcome, StoreError,
    mongo::{MongoSettings, MongoStore},
};
use testing::eventually;

use super::{servers::prepared, support::*};

const WRITERS: usize = 8;
/// How long writers go on between two disturbances.
const BETWEEN: Duration = Duration::from_millis(800);

/// A commit and what was told of it.
type Told = (Commit, Result<Vec<Outcome>, StoreError>);

/// A server of the test's own, and a store that gives up soon, so that much stays unknown.
async fn own_server() -> Option<(Engine, Arc<MongoStore>)> {
    let mut engine = Engine::new(mongod()?, true);
    engine.start();
    engine.initiate().await;
    let mut settings = MongoSettings::new(engine.uri(), "db");
    settings.call_timeout = Duration::from_millis(400);
    settings.commit_deadline = Duration::from_millis(600);
    settings.server_selection_timeout = Duration::from_millis(300);
    let store = Arc::new(MongoStore::new(settings).await.unwrap());
    prepared(&store).await;
    Some((engine, store))
}

/// Commits three new documents in two collections at a time, and never asks twice.
async fn write(store: Arc<MongoStore>, atomic: bool, stop: Arc<AtomicBool>) -> Vec<Told> {
    let mut told = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let keys = [key(ORDERS), key(ACCOUNTS), key(ORDERS)];
        let commit = commit(atomic, keys.map(|key| (key, None, doc! {})).into());
        let outcome = store.commit(commit.clone()).await;
        told.push((commit, outcome));
    }
    told
}

fn writers(store: &Arc<MongoStore>, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<Vec<Told>>> {
    let writer = |number: usize| tokio::spawn(write(store.clone(), number.is_multiple_of(2), stop.clone()));
    (0..WRITERS).map(writer).collect()
}

/// Compares what was told with what is there.
async fn is_true(what: &str, store: &MongoStore, told: Vec<Told>) {
    let (mut applied, mut unknown, mut happened, mut unavailable) = (0, 0, 0, 0);
    for (commit, outcome) in told {
        let mut there = 0;
        for write in &commit.writes {
            let find = async || store.find(write.key.collection, vec![write.key.id]).await;
            there += eventually(Duration::from_secs(20), "the server answers", find)
                .await
                .len();
        }
        let all = commit.writes.len();
        assert!(
            !commit.atomic || there == 0 || there == all,
            "half a commit: {there} of {all}"
        );
        match outcome {
            Ok(outcomes) => {
                assert_eq!(outcomes, vec![Outcome::Applied; all], "nobody else writes these");
                assert_eq!(there, all, "an applied write is gone");
                applied += 1;
            }
            Err(StoreError::Unavailable(why)) => {
                assert_eq!(there, 0, "written, and told that nothing was: {why}");
                unavailable += 1;
            }
            Err(StoreError::OutcomeUnknown(_)) => {
                unknown += 1;
                happened += usize::from(there > 0);
            }
            Err(StoreError::Unfit(why) | StoreError::Rejected(why)) => panic!("{why}"),
        }
    }
    eprintln!(
        "{what}: {applied} commits applied, {unavailable} unavailable, {unknown} unknown of which {happened} had happened"
    );
    assert!(applied > 50, "only {applied} applied");
}

async fn finish(writers: Vec<tokio::task::JoinHandle<Vec<Told>>>) -> Vec<Told> {
    let mut told = Vec::new();
    for writer in writers {
        told.extend(writer.await.unwrap());
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_commit_is_true_over_kills_of_the_server() {
    let Some((mut engine, store)) = own_server().await else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let writers = writers(&store, &stop);
    for _ in 0..3 {
        tokio::time::sleep(BETWEEN).await;
        engine.kill();
        tokio::time::sleep(BETWEEN).await;
        engine.start();
        prepared(&store).await;
    }
    stop.store(true, Ordering::SeqCst);
    is_true("3 kills", &store, finish(writers).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_commit_is_true_while_the_primary_steps_down() {
    let Some((engine, store)) = own_server().await else {
        return;
    };
    let direct = format!("{}?directConnection=true", engine.uri());
    let admin = Client::with_uri_str(direct).await.unwrap().database("admin");
    let stop = Arc::new(AtomicBool::new(false));
    let writers = writers(&store, &stop);
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        tokio::time::sleep(BETWEEN).await;
        let begin = Instant::now();
        // For a second; alone in its set, it is elected again after that.
        let command = doc! { "replSetStepDown": 1, "secondaryCatchUpPeriodSecs": 0, "force": true };
        admin.run_command(command).await.unwrap();
        prepared(&store).await;
        longest = longest.max(begin.elapsed());
    }
    stop.store(true, Ordering::SeqCst);
    is_true("3 step-downs", &store, finish(writers).await).await;
    eprintln!("writable again at most {longest:?} after a step-down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_commit_is_true_while_the_server_is_frozen() {
    let Some((engine, store)) = own_server().await else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let writers = writers(&store, &stop);
    for _ in 0..2 {
        tokio::time::sleep(BETWEEN).await;
        engine.signal("-STOP");
        tokio::time::sleep(2 * BETWEEN).await;
        engine.signal("-CONT");
        prepared(&store).await;
    }
    stop.store(true, Ordering::SeqCst);
    // What was given up and is still under way in the server is through by then.
    tokio::time::sleep(BETWEEN).await;
    is_true("2 freezes of 1.6 s", &store, finish(writers).await).await;
}
