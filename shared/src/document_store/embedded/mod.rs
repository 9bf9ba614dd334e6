//! The database in one process: durable in a data directory, or purely in memory; no server.
//!
//! What it promises beside the port:
//!
//! - A commit is one transaction, checked as a whole before anything is written; commits that
//!   arrive while another is under way share its `fsync` and see each other's documents in order.
//! - Indexes and outboxes change in the same transaction as the documents.
//! - A page costs its length, wherever it begins.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::{
    CollectionSettings, Commit, DocumentStore, Mark, OutboxQuery, Outcome, Query, StoreError, StoredDocument,
};
use crate::embedded::{Engine, EngineError};

mod document;
mod reading;
mod tables;
#[cfg(test)]
mod tests;
mod writing;

use tables::Collection;

/// How often a commit whose outcome is unknown is asked for again.
const COMMIT_ATTEMPTS: usize = 3;

/// The database.
#[derive(Debug)]
pub struct EmbeddedStore {
    engine: Engine,
    collections: RwLock<Arc<Collections>>,
}

/// What was prepared.
type Collections = BTreeMap<&'static str, Collection>;

impl EmbeddedStore {
    /// The database in `<directory>/<name>.redb`, made where it is missing.
    pub fn open(directory: impl AsRef<Path>, name: &str) -> Result<Self, EngineError> {
        Ok(Self::on(Engine::open(
            &directory.as_ref().join(format!("{name}.redb")),
        )?))
    }

    /// A database that is gone with its last handle, without a thread.
    pub fn in_memory() -> Result<Self, EngineError> {
        Ok(Self::on(Engine::in_memory()?))
    }

    /// On a database of the caller's: whoever keeps that keeps the documents, which is how a
    /// simulation restarts a process.
    pub fn on(engine: Engine) -> Self {
        Self {
            engine,
            collections: RwLock::default(),
        }
    }

    fn collections(&self) -> Arc<Collections> {
        Arc::clone(&self.collections.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reading<T>(
        &self,
        collection: &str,
        look: impl FnOnce(&reading::Snapshot<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let collections = self.collections();
        let collection = prepared(&collections, collection)?;
        Ok(self.engine.read(|transaction| {
            look(&reading::Snapshot {
                transaction,
                collection,
            })
        })?)
    }

    async fn commit_until_known(&self, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
        let collections = self.collections();
        for write in &commit.writes {
            prepared(&collections, write.key.collection)?;
            document::check(write)?;
        }
        let commit = Arc::new(commit);
        let mut unknown = None;
        for _ in 0..COMMIT_ATTEMPTS {
            let (collections, of_job) = (Arc::clone(&collections), Arc::clone(&commit));
            let written = self
                .engine
                .write(move |transaction| writing::commit(transaction, &collections, &of_job))
                .await;
            match written {
                Ok(outcomes) => return outcomes,
                Err(EngineError::OutcomeUnknown(error)) => unknown = Some(error),
                // Only the first attempt can say that nothing was written.
                Err(error) => match unknown {
                    None => return Err(error.into()),
                    Some(unknown) => {
                        return Err(StoreError::OutcomeUnknown(format!("{unknown}; then {error}")));
                    }
                },
            }
        }
        Err(StoreError::OutcomeUnknown(unknown.unwrap_or_default()))
    }
}

fn prepared<'a>(collections: &'a Collections, name: &str) -> Result<&'a Collection, StoreError> {
    collections.get(name).ok_or_else(|| {
        if collections.is_empty() {
            // Asked right at the start: soon they will be.
            StoreError::Unavailable("its collections are not prepared yet".to_owned())
        } else {
            StoreError::Unfit(format!("the collection {name} was not prepared"))
        }
    })
}

impl DocumentStore for EmbeddedStore {
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>> {
        let wanted: Vec<Collection> = collections.iter().map(Collection::new).collect();
        Box::pin(async move {
            let wanted = Arc::new(wanted);
            let of_job = Arc::clone(&wanted);
            self.engine
                .write(move |transaction| tables::prepare(transaction, &of_job))
                .await??;
            let mut current = self.collections.write().unwrap_or_else(PoisonError::into_inner);
            let known = current
                .iter()
                .map(|(name, collection)| (*name, collection.clone()));
            let all = known.chain(
                wanted
                    .iter()
                    .map(|collection| (collection.name, collection.clone())),
            );
            *current = Arc::new(all.collect());
            Ok(())
        })
    }

    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        Box::pin(async move { self.reading(collection, |snapshot| snapshot.find(&ids))? })
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        Box::pin(async move { self.reading(query.collection, |snapshot| snapshot.list(&query))? })
    }

    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move { self.reading(query.collection, |snapshot| snapshot.count(&query))? })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(self.commit_until_known(commit))
    }

    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        Box::pin(async move { self.reading(query.collection, |snapshot| snapshot.unpublished(&query)) })
    }

    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let collections = self.collections();
            for mark in &marks {
                prepared(&collections, mark.key.collection)?;
            }
            self.engine
                .write(move |transaction| writing::mark(transaction, &collections, &marks))
                .await?
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(self.engine.check().await?) })
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unavailable(why) => Self::Unavailable(why),
            EngineError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            EngineError::InUse { .. } => Self::Unavailable(error.to_string()),
            EngineError::NewerSchema { .. } => Self::Unfit(error.to_string()),
            EngineError::Unfit(why) => Self::Unfit(why),
        }
    }
}
