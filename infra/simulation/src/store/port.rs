//! The database as one process sees it: each call may be slow, fail, or be the process's last.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shared::document_store::{
    CollectionSettings, Commit, DocumentStore, Mark, OutboxQuery, Outcome, Query, StoreError, StoredDocument,
};
use uuid::Uuid;

use super::Database;
use crate::{
    faults::Fault,
    process::Process,
    wire::{Wire, pause},
};

/// A process's hand on its database.
pub struct StorePort {
    database: Arc<Database>,
    process: Arc<Process>,
    wire: Arc<Wire>,
}

/// What the simulation has in store for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Conflict,
    Unavailable,
    UnknownNotWritten,
    UnknownWritten,
    UnknownPartWritten,
    UnknownWrittenLater,
}

fn away() -> StoreError {
    StoreError::Unavailable("the database is away".into())
}

fn unknown() -> StoreError {
    StoreError::OutcomeUnknown("no answer".into())
}

impl StorePort {
    /// For this process.
    pub fn new(database: Arc<Database>, process: Arc<Process>, wire: Arc<Wire>) -> StorePort {
        StorePort {
            database,
            process,
            wire,
        }
    }

    fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let fails = self.wire.faults.strikes(Fault::StoreUnavailable);
        let database = self.database.clone();
        self.wire.carry(&self.process, what, move || {
            if fails || database.outage.lasts() {
                return Err(away());
            }
            effect(&database)
        })
    }

    fn fate(&self, commit: &Commit) -> Fate {
        let strikes = |fault| self.wire.faults.strikes(fault);
        if strikes(Fault::StoreUnavailable) {
            Fate::Unavailable
        } else if strikes(Fault::UnknownNotWritten) {
            Fate::UnknownNotWritten
        } else if strikes(Fault::UnknownWritten) {
            Fate::UnknownWritten
        } else if strikes(Fault::UnknownWrittenLater) {
            Fate::UnknownWrittenLater
        } else if !commit.atomic && commit.writes.len() > 1 && strikes(Fault::UnknownPartWritten) {
            Fate::UnknownPartWritten
        } else if strikes(Fault::WriteConflict) {
            Fate::Conflict
        } else {
            Fate::Written
        }
    }
}

impl DocumentStore for StorePort {
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("prepare", move |database| {
            database.prepare(collections);
            Ok(())
        })
    }

    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.call("find", move |database| database.find(collection, &ids))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.call("list", move |database| database.list(&query))
    }

    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.call("count", move |database| Ok(database.list(&query)?.len()))
    }

    fn commit(&self, mut commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        let fate = self.fate(&commit);
        let (database, timeline) = (self.database.clone(), self.wire.timeline.clone());
        let later = self.wire.faults.chance().millis(1, 5_000);
        let name = self.process.clone();
        self.wire.carry(&self.process, "commit", move || {
            if fate != Fate::Written {
                timeline.add(name.name(), || {
                    format!("commit of {} documents: {fate:?}", commit.writes.len())
                });
            }
            if database.outage.lasts() {
                return Err(away());
            }
            match fate {
                Fate::Written => database.commit(&commit),
                Fate::Conflict => Ok(vec![Outcome::Conflict; commit.writes.len()]),
                Fate::Unavailable => Err(away()),
                Fate::UnknownNotWritten => Err(unknown()),
                Fate::UnknownWritten => database.commit(&commit).and(Err(unknown())),
                Fate::UnknownPartWritten => {
                    commit.writes.truncate(commit.writes.len() / 2);
                    database.commit(&commit).and(Err(unknown()))
                }
                Fate::UnknownWrittenLater => {
                    tokio::spawn(async move {
                        pause(later).await;
                        timeline.add(database.group, || {
                            format!("a commit of before arrives, {} documents", commit.writes.len())
                        });
                        let _ = database.commit(&commit);
                    });
                    Err(unknown())
                }
            }
        })
    }

    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        self.call("unpublished", move |database| database.unpublished(&query))
    }

    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>> {
        let lost = self.wire.faults.strikes(Fault::LostMark);
        self.call(
            "mark",
            move |database| {
                if lost { Ok(()) } else { database.mark(&marks) }
            },
        )
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("check", |_| Ok(()))
    }
}
