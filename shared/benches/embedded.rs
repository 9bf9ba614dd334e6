//! The embedded store and log, on the disk that the build writes to: what a round costs until it is
//! durable, and what reading costs.

use std::path::PathBuf;

use bson::{Binary, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use shared::{
    document_store::{
        CollectionSettings, Commit, DocumentKey, DocumentStore, Index, Outcome, Write,
        embedded::EmbeddedStore,
    },
    event_log::{EventLog, Record, TailFrom, TopicSettings, embedded::EmbeddedLog},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Documents of a round, and records that are published together.
const ROUND: usize = 100;
/// Records to read.
const TO_READ: usize = 1000;
const TOPIC: &str = "events";
const DOCUMENTS: CollectionSettings = CollectionSettings {
    name: "documents",
    indexes: &[
        Index {
            fields: &["owner", "status"],
        },
        Index { fields: &["status"] },
    ],
};

/// A directory that goes with its owner.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(Uuid::new_v4().to_string());
        std::fs::create_dir_all(&path).expect("a directory to write to");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left lies under `target/`.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn binary(id: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}

/// About as large as a new document with its event.
fn document(id: Uuid, commit: Uuid) -> RawDocumentBuf {
    rawdoc! {
        "_id": binary(id),
        "owner": binary(Uuid::new_v4()),
        "status": 0,
        "context": "c".repeat(150),
        "version": 1_i64,
        "commitId": binary(commit),
        "outbox": [{ "_id": binary(Uuid::new_v4()), "data": "d".repeat(350) }],
    }
}

fn inserts() -> Commit {
    let id = Uuid::now_v7();
    let write = |_| {
        let document_id = Uuid::now_v7();
        Write {
            key: DocumentKey {
                collection: DOCUMENTS.name,
                id: document_id,
            },
            expected_version: None,
            document: document(document_id, id).into(),
            carried: Vec::new(),
        }
    };
    Commit {
        id,
        atomic: false,
        writes: (0..ROUND).map(write).collect(),
    }
}

fn store(criterion: &mut Criterion) {
    let (directory, runtime) = (Directory::new(), runtime());
    let store = EmbeddedStore::open(&directory.0, "bench").expect("a store");
    runtime
        .block_on(store.prepare(vec![DOCUMENTS]))
        .expect("prepared");

    let mut group = criterion.benchmark_group("embedded store");
    group
        .sample_size(30)
        .throughput(Throughput::Elements(ROUND as u64));
    group.bench_function("100 inserts, durable", |bencher| {
        bencher.iter_batched(
            inserts,
            |commit| {
                let outcomes = runtime.block_on(store.commit(commit)).expect("a commit");
                assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn record() -> Record {
    Record {
        topic: TOPIC.to_owned(),
        key: Some(Uuid::new_v4().to_string().into_bytes()),
        value: Some(vec![b'v'; 250]),
        headers: Vec::new(),
    }
}

async fn publish(log: &EmbeddedLog, records: Vec<Record>) {
    let deliveries: Vec<_> = records.into_iter().map(|record| log.publish(record)).collect();
    for delivery in join_all(deliveries).await {
        delivery.expect("a delivery");
    }
}

async fn read(log: &EmbeddedLog) {
    let mut tail = log.tail(TOPIC, TailFrom::Beginning).await.expect("a tail");
    for _ in 0..TO_READ {
        tail.recv().await.expect("a record");
    }
}

fn log(criterion: &mut Criterion) {
    let (directory, runtime) = (Directory::new(), runtime());
    let log = EmbeddedLog::open(&directory.0).expect("a log");
    let topic = TopicSettings {
        name: TOPIC.to_owned(),
        partitions: 3,
        replication: 1,
        max_record_bytes: 1 << 20,
    };
    runtime.block_on(async {
        log.prepare(vec![topic]).await.expect("a topic");
        publish(&log, (0..TO_READ).map(|_| record()).collect()).await;
    });

    let mut group = criterion.benchmark_group("embedded log");
    group
        .sample_size(30)
        .throughput(Throughput::Elements(TO_READ as u64));
    group.bench_function("1,000 records, read", |bencher| {
        bencher.iter(|| runtime.block_on(read(&log)));
    });
    group.throughput(Throughput::Elements(ROUND as u64));
    group.bench_function("100 records, durable", |bencher| {
        bencher.iter_batched(
            || (0..ROUND).map(|_| record()).collect(),
            |records| runtime.block_on(publish(&log, records)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, store, log);
criterion_main!(benches);
