//! Ports that answer as a test tells them to, and documents that another instance has written.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::CustomerId;
use futures_util::future::BoxFuture;
use shared::{
    document_store::{
        CollectionSettings, Commit, Document, DocumentStore, Mark, OutboxQuery, Outcome, Query, StoreError,
        StoredDocument, Write, encode, key, outbox,
    },
    envelope::OutboxEvent,
    environment::{Environment, Timestamp},
    event_log::{
        Delivery, EventLog, LogError, Record, Subscribed, Subscription, Tail, TailFrom, TopicSettings,
    },
};
use uuid::Uuid;

use crate::Account;

/// What is answered instead of what the port would, if anything.
type Script<A, B> = Box<dyn Fn(&A) -> Option<B> + Send + Sync>;

/// A database some of whose commits and marks are answered by the test.
pub struct ScriptedStore {
    pub port: Arc<dyn DocumentStore>,
    pub commits: Script<Commit, Result<Vec<Outcome>, StoreError>>,
    pub marks: Script<Vec<Mark>, Result<(), StoreError>>,
}

impl ScriptedStore {
    pub fn new(port: Arc<dyn DocumentStore>) -> ScriptedStore {
        ScriptedStore {
            port,
            commits: Box::new(|_| None),
            marks: Box::new(|_| None),
        }
    }
}

impl DocumentStore for ScriptedStore {
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.port.prepare(collections)
    }

    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.port.find(collection, ids)
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.port.list(query)
    }

    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.port.count(query)
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        match (self.commits)(&commit) {
            Some(answer) => Box::pin(async { answer }),
            None => self.port.commit(commit),
        }
    }

    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.port.unpublished(query)
    }

    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>> {
        match (self.marks)(&marks) {
            Some(answer) => Box::pin(async { answer }),
            None => self.port.mark_published(marks),
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.port.check()
    }
}

/// A log that keeps what it is given. What the test tells it to is refused, or stays without an
/// answer, as records of a partition without a leader do.
pub struct ScriptedLog {
    pub taken: Mutex<Vec<Record>>,
    pub script: Script<Record, Fate>,
}

pub enum Fate {
    Refused,
    NoAnswer,
}

impl EventLog for ScriptedLog {
    fn prepare(&self, _: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, record: Record) -> Delivery {
        match (self.script)(&record) {
            Some(Fate::Refused) => Box::pin(async { Err(LogError::Refused("too large".into())) }),
            Some(Fate::NoAnswer) => Box::pin(std::future::pending()),
            None => {
                let mut taken = self.taken.lock().unwrap();
                let position = shared::event_log::Position {
                    topic: record.topic.as_str().into(),
                    partition: 0,
                    offset: taken.len() as i64,
                };
                taken.push(record);
                Box::pin(async { Ok(position) })
            }
        }
    }

    fn subscribe(&self, _: Subscription) -> Result<Subscribed, LogError> {
        Err(LogError::Unavailable("not asked for".into()))
    }

    fn tail(&self, _: &str, _: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>> {
        Box::pin(async { Err(LogError::Unavailable("not asked for".into())) })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// So long ago.
pub fn ago(age: Duration) -> Timestamp {
    let now = Environment::real().now();
    Timestamp(now.0 - i64::try_from(age.as_millis()).unwrap())
}

/// The event of an account, as another instance announced it.
pub fn foreign(id: CustomerId, version: i64, time: Timestamp) -> OutboxEvent {
    OutboxEvent {
        time,
        ..crate::event(id, version)
    }
}

/// An account that another instance has written, with its events.
pub async fn written_by_another(
    store: &dyn DocumentStore,
    id: CustomerId,
    entries: Vec<i32>,
    events: &[OutboxEvent],
) {
    let commit = Uuid::new_v4();
    let write = Write {
        key: key::<Account>(id),
        expected_version: None,
        document: encode(&Account { id, entries }, 1, commit, events).unwrap(),
        carried: Vec::new(),
    };
    let commit = Commit {
        id: commit,
        atomic: false,
        writes: vec![write],
    };
    assert_eq!(store.commit(commit).await, Ok(vec![Outcome::Applied]));
}

/// What stands in the outbox of an account.
pub async fn outbox_of(store: &dyn DocumentStore, id: CustomerId) -> Vec<OutboxEvent> {
    let found = store.find(Account::COLLECTION.name, vec![id.0]).await.unwrap();
    outbox(&found[0]).unwrap().1
}
