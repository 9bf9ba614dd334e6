//! `kill -9` in the middle of commits: everything that was acknowledged is there afterwards.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use bson::{Binary, RawDocumentBuf, Uuid as BsonUuid, doc};
use shared::{
    document_store::{
        CollectionSettings, Commit, DocumentKey, DocumentStore, OutboxQuery, Outcome, Write,
        embedded::EmbeddedStore,
    },
    event_log::{EventLog, Record, TailFrom, TopicSettings, embedded::EmbeddedLog},
};
use uuid::Uuid;

use super::{Directory, on_threads};

/// Tells the child where to write.
const DIRECTORY: &str = "CRASH_TEST_DIRECTORY";
const TOPIC: &str = "crash";
const DOCUMENTS: CollectionSettings = CollectionSettings {
    name: "documents",
    indexes: &[],
};
/// Acknowledgements to wait for before the child is killed.
const ACKNOWLEDGED: usize = 500;

async fn open(directory: &Path) -> (Arc<EmbeddedLog>, Arc<EmbeddedStore>) {
    let log = EmbeddedLog::open(directory).unwrap();
    let topic = TopicSettings {
        name: TOPIC.to_owned(),
        partitions: 3,
        replication: 1,
        max_record_bytes: 1 << 20,
    };
    log.prepare(vec![topic]).await.unwrap();
    let store = EmbeddedStore::open(directory, "store").unwrap();
    store.prepare(vec![DOCUMENTS]).await.unwrap();
    (Arc::new(log), Arc::new(store))
}

fn binary(id: Uuid) -> Binary {
    BsonUuid::from_bytes(id.into_bytes()).into()
}

/// Not a test of its own: what the killed process does. Two documents in each commit, so half a
/// commit can be told.
#[test]
fn child_that_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    on_threads(async move {
        let (log, store) = open(Path::new(&directory)).await;
        let mut writers = Vec::new();
        for _ in 0..8 {
            let log = Arc::clone(&log);
            writers.push(tokio::spawn(async move {
                loop {
                    let id = Uuid::new_v4();
                    let record = Record {
                        topic: TOPIC.to_owned(),
                        key: Some(id.into_bytes().to_vec()),
                        ..Record::default()
                    };
                    let position = log.publish(record).await.unwrap();
                    println!("record {id} {}", position.offset);
                }
            }));
            let store = Arc::clone(&store);
            writers.push(tokio::spawn(async move {
                loop {
                    let id = Uuid::new_v4();
                    let write = |document: Uuid| Write {
                        key: DocumentKey { collection: DOCUMENTS.name, id: document },
                        expected_version: None,
                        document: RawDocumentBuf::try_from(
                            &doc! { "_id": binary(document), "version": 1_i64, "commitId": binary(id), "outbox": [1] },
                        )
                        .unwrap()
                        .into(),
                        carried: Vec::new(),
                    };
                    let second = Uuid::from_u128(id.as_u128() ^ 1);
                    let commit = Commit { id, atomic: true, writes: vec![write(id), write(second)] };
                    assert_eq!(store.commit(commit).await.unwrap(), [Outcome::Applied; 2]);
                    println!("commit {id} 0");
                }
            }));
        }
        let ended = futures_util::future::select_all(writers).await.0;
        panic!("a writer ended: {:?}", ended.err());
    });
}

/// What a process acknowledged until it was killed: records with their offsets, and commits.
fn run_and_kill(directory: &Path) -> (BTreeMap<Uuid, i64>, Vec<Uuid>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::child_that_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut records, mut commits) = (BTreeMap::new(), Vec::new());
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        // The last one may be cut off.
        let words: Vec<&str> = line.strip_suffix('\n').unwrap_or_default().split(' ').collect();
        match words[..] {
            ["record", id, offset] => drop(records.insert(id.parse().unwrap(), offset.parse().unwrap())),
            ["commit", id, _] => commits.push(id.parse().unwrap()),
            _ => {}
        }
        line.clear();
        if records.len() + commits.len() == ACKNOWLEDGED {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    (records, commits)
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let directory = Directory::new();
    let (mut records, mut commits) = (BTreeMap::new(), Vec::new());
    for round in 1..=3 {
        let acknowledged = run_and_kill(&directory.0);
        records.extend(acknowledged.0);
        commits.extend(acknowledged.1);
        assert!(
            records.len() + commits.len() >= round * ACKNOWLEDGED,
            "the child died by itself"
        );
        on_threads(async {
            let (log, store) = open(&directory.0).await;
            let mut found = BTreeMap::new();
            let mut tail = log.tail(TOPIC, TailFrom::Beginning).await.unwrap();
            while !records.keys().all(|id| found.contains_key(id)) {
                let record = tail.recv().await.unwrap();
                found.insert(
                    Uuid::from_slice(&record.key.unwrap()).unwrap(),
                    record.position.offset,
                );
            }
            for (id, offset) in &records {
                assert_eq!(found.get(id), Some(offset));
            }
            let pairs: Vec<Uuid> = commits
                .iter()
                .flat_map(|id| [*id, Uuid::from_u128(id.as_u128() ^ 1)])
                .collect();
            assert_eq!(
                store.find(DOCUMENTS.name, pairs.clone()).await.unwrap().len(),
                pairs.len()
            );
            let unpublished = store
                .unpublished(OutboxQuery::oldest(DOCUMENTS.name, usize::MAX))
                .await
                .unwrap();
            assert!(
                unpublished.len() >= pairs.len() && unpublished.len().is_multiple_of(2),
                "half a commit"
            );
        });
    }
}
