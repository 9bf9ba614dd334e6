//! The port to the database: collections of documents with versions, an outbox in each document.
//!
//! Two adapters: [`mongo`] for MongoDB and [`embedded`] for one process without a server. Both are
//! told whole documents in BSON, which carry beside the service's own fields:
//!
//! | field | |
//! | --- | --- |
//! | `_id` | UUID (binary subtype 4) |
//! | `version` | 64-bit integer (read in any type of number), 1 when inserted, one more with each replacement |
//! | `commitId` | UUID of the commit that wrote it: tells our own write from another's |
//! | `outbox` | array of events not yet known to be published; absent or empty where there are none |
//!
//! What both promise: a write that was answered is durable (MongoDB: majority and journal); a
//! replacement happens only to the version it was decided on; a commit that was asked for twice
//! (same `commitId`, same writes) happens once.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{environment::Timestamp, events::EventId};

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "mongo")]
pub mod mongo;
pub mod numbers;
mod stored;
mod typed;

pub use bson::Uuid as BinaryUuid;
pub use stored::StoredDocument;
pub(crate) use typed::id_as_text;
pub use typed::{
    Document, Stored, carried_over, decode, encode, encode_beside, id, key, outbox, outbox_place,
    without_events,
};

/// A collection and how it is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionSettings {
    /// Its name.
    pub name: &'static str,
    /// Its indexes beside `_id` and the sparse one over `outbox._id`, which every collection has.
    pub indexes: &'static [Index],
}

impl CollectionSettings {
    /// A collection of this name with these indexes.
    pub const fn new(name: &'static str, indexes: &'static [Index]) -> CollectionSettings {
        CollectionSettings { name, indexes }
    }
}

/// An index over some fields and, last, `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Top-level fields, in order; UUIDs or 32-bit integers.
    pub fields: &'static [&'static str],
}

/// Names a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    /// Its collection.
    pub collection: &'static str,
    /// Its `_id`.
    pub id: Uuid,
}

/// A value that an index is searched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexValue {
    /// A UUID.
    Uuid(Uuid),
    /// A 32-bit integer.
    Int(i32),
}

/// In which order of `_id`. UUIDs that servers make are of version 7: their order is that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest (oldest) first.
    Ascending,
    /// Largest (newest) first.
    Descending,
}

/// A page of documents in order of `_id`, found by an index, never by skipping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Where to look.
    pub collection: &'static str,
    /// For each field of one index, in its order, the values it may have (at least one each);
    /// empty: by `_id` alone.
    pub matching: Vec<(&'static str, Vec<IndexValue>)>,
    /// Only documents behind this one, in the given order.
    pub after: Option<Uuid>,
    /// The order.
    pub order: Direction,
    /// At most so many.
    pub limit: usize,
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageQuery {
    /// Behind which document.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: usize,
}

impl PageQuery {
    /// The query for this page.
    pub fn query(self, collection: &'static str, matching: Vec<(&'static str, Vec<IndexValue>)>) -> Query {
        Query {
            collection,
            matching,
            after: self.after,
            order: Direction::Descending,
            limit: self.limit,
        }
    }
}

/// One document to write. The document carries `_id`, `version` and `commitId` itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which document.
    pub key: DocumentKey,
    /// `None` inserts; `Some` replaces the document of exactly this version.
    pub expected_version: Option<i64>,
    /// The whole document.
    pub document: StoredDocument,
    /// Events in its outbox that were found there, not announced by this write. Those that have been
    /// marked by the time of the write stay out: a mark does not change the version, so nothing else
    /// would keep the write from bringing them back.
    pub carried: Vec<EventId>,
}

/// Some documents to write together. At most one write for each document.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Names this commit: repeating it after an unknown outcome writes nothing twice.
    pub id: Uuid,
    /// All or nothing (one transaction), or each document for itself.
    pub atomic: bool,
    /// What to write.
    pub writes: Vec<Write>,
}

/// What became of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Applied,
    /// The document has another version, exists already, or is gone: read again and decide again.
    /// In an atomic commit no document was written and every outcome is this.
    Conflict,
}

/// These events are published: they leave the outbox of their document, whatever its version is by
/// now. The version stays as it is, and so do all other events. An event has one document: of several
/// marks together, a store may look for the events of all in each of their documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The document.
    pub key: DocumentKey,
    /// The events; one that is not there is no error.
    pub events: Vec<EventId>,
}

/// The place of a document among those with events: by the time of its first event, then by `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxPlace {
    /// When the first event of its outbox happened; [`OutboxPlace::UNREADABLE`] where that cannot be
    /// read.
    pub time: Timestamp,
    /// Its `_id`.
    pub id: Uuid,
}

impl OutboxPlace {
    /// The time of an outbox whose first event has none.
    pub const UNREADABLE: Timestamp = Timestamp(i64::MIN);
}

/// A page of the documents whose outbox is not empty, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxQuery {
    /// Where to look.
    pub collection: &'static str,
    /// Only documents behind this place.
    pub after: Option<OutboxPlace>,
    /// Only documents whose first event happened until then.
    pub until: Timestamp,
    /// At most so many. Fewer do not mean that there are no more: large documents end a page early.
    /// A page is empty only at the end.
    pub limit: usize,
}

impl OutboxQuery {
    /// The oldest documents with events.
    pub fn oldest(collection: &'static str, limit: usize) -> OutboxQuery {
        OutboxQuery {
            collection,
            after: None,
            until: Timestamp(i64::MAX),
            limit,
        }
    }
}

/// A database of documents.
pub trait DocumentStore: Send + Sync + 'static {
    /// Creates collections and indexes that are missing and checks those that are there, and that
    /// the server can do what is needed. Fails where it cannot be reached; the caller tries again.
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The documents of these ids that exist, in any order.
    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>>;

    /// A page of documents.
    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>>;

    /// The same page with these top-level fields only, where the database can leave the others out.
    fn list_fields(
        &self,
        query: Query,
        fields: &'static [&'static str],
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        let _ = fields;
        self.list(query)
    }

    /// How many documents the page has.
    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Writes documents, and answers for each of them in the order given. Unknown outcomes are
    /// resolved inside, for a bounded time, by asking again under the same commit id.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>>;

    /// A page of the documents whose outbox is not empty, oldest first.
    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>>;

    /// Takes events out of outboxes. May be lost in a crash: the events are then published again, with
    /// the same ids.
    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether the database can be reached and written now.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What can go wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached; nothing was written.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It did not answer in time: what was asked may have happened, may yet happen, or may not.
    #[error("the database did not answer, the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// It is there but unfit (no replica set, a schema of another version, a corrupt document):
    /// somebody has to act.
    #[error("the database is unfit: {0}")]
    Unfit(String),
    /// It will never take one of the documents of this commit: too large, or against its validation
    /// rules. Of a commit that is not atomic the others may be written.
    #[error("the database refuses a document: {0}")]
    Rejected(String),
}
