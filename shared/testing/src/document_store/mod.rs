//! What every adapter of the database has to promise, one function a promise.
//!
//! Used as the suite of [`super::event_log`]: `shared::document_store_conformance!(run, subject)`.

use std::{collections::BTreeSet, sync::Arc};

use bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, Uuid as BsonUuid, doc, spec::BinarySubtype};
use futures_util::future::LocalBoxFuture;
use uuid::Uuid;

use super::{DEADLINE, eventually};
use shared::{
    document_store::{
        CollectionSettings, Commit, DocumentKey, DocumentStore, Index, Outcome, StoredDocument, Write,
    },
    events::EventId,
};

mod listing;
mod publishing;
mod writing;

pub use listing::*;
pub use publishing::*;
pub use writing::*;

/// A collection of the suite.
pub const ITEMS: CollectionSettings = CollectionSettings {
    name: "items",
    indexes: &[
        Index { fields: &["owner"] },
        Index {
            fields: &["owner", "state"],
        },
        Index { fields: &["state"] },
    ],
};
/// Another one.
pub const NOTES: CollectionSettings = CollectionSettings {
    name: "notes",
    indexes: &[],
};

/// An adapter with a database of its own, empty at first.
pub trait StoreUnderTest {
    /// Opens the database; again after everything of the one opened before was dropped.
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn DocumentStore>>;
    /// Documents in the test of deep pages; 0 leaves it out.
    fn many(&self) -> usize {
        20_000
    }
}

/// Makes one `#[test]` of each promise.
#[macro_export]
macro_rules! document_store_conformance {
    ($run:path, $subject:expr) => {
        $crate::document_store_conformance! {
            @promises $run, $subject,
            what_was_inserted_is_found
            an_insert_of_an_existing_document_conflicts
            a_repeated_commit_is_applied_once
            a_replacement_needs_the_right_version
            each_write_of_a_commit_stands_for_itself
            an_atomic_commit_is_all_or_nothing
            a_repeated_atomic_commit_is_applied_once
            a_commit_takes_256_writes
            concurrent_writers_lose_nothing
            documents_survive_reopening
            preparing_twice_changes_nothing
            a_new_index_finds_old_documents
            a_list_is_in_order_of_id
            a_list_by_one_value
            a_list_by_two_fields
            a_list_by_several_values_is_merged_in_order
            a_cursor_visits_each_document_once_while_others_insert
            an_index_follows_replaced_values
            a_page_deep_inside_is_as_fast_as_the_first
            unpublished_finds_what_has_an_outbox
            unpublished_takes_the_oldest_first_and_pages_on
            a_mark_takes_its_events_out_whatever_the_version
            a_mark_of_events_that_are_not_there_changes_nothing
            a_replacement_brings_back_no_event_that_was_marked_meanwhile
        }
    };
    (@promises $run:path, $subject:expr, $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $run(async move {
                    let subject = $subject;
                    $crate::document_store::$promise(&subject).await;
                });
            }
        )*
    };
}

/// A document of the suite.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    id: Uuid,
    version: i64,
    owner: Uuid,
    state: i32,
    count: i32,
    events: Vec<String>,
    /// When its events happened.
    since: i64,
}

impl Item {
    fn new(id: u128) -> Self {
        Self {
            id: Uuid::from_u128(id),
            version: 1,
            owner: Uuid::nil(),
            state: 0,
            count: 0,
            events: Vec::new(),
            since: 0,
        }
    }

    fn owned_by(mut self, owner: u128, state: i32) -> Self {
        (self.owner, self.state) = (Uuid::from_u128(owner), state);
        self
    }

    fn with_events(mut self, events: &[&str]) -> Self {
        self.events = events.iter().map(|event| (*event).to_owned()).collect();
        self
    }

    fn next(&self) -> Self {
        Self {
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// The insert of version 1, the replacement of the version before otherwise.
    fn write(&self, commit: Uuid) -> Write {
        self.write_to(&ITEMS, commit)
    }

    fn write_to(&self, collection: &CollectionSettings, commit: Uuid) -> Write {
        let mut document = doc! {
            "_id": binary(self.id),
            "version": self.version,
            "commitId": binary(commit),
            "owner": binary(self.owner),
            "state": self.state,
            "count": self.count,
        };
        if !self.events.is_empty() {
            let time = DateTime::from_millis(self.since);
            let event =
                |name: &String| doc! { "_id": binary(self.event(name).0), "name": name, "time": time };
            document.insert("outbox", self.events.iter().map(event).collect::<Vec<_>>());
        }
        Write {
            key: self.key_in(collection),
            expected_version: (self.version > 1).then_some(self.version - 1),
            document: RawDocumentBuf::try_from(&document)
                .expect("a document is BSON")
                .into(),
            carried: Vec::new(),
        }
    }

    /// The id of its event of this name.
    fn event(&self, name: &str) -> EventId {
        EventId::of(self.id, name, 1)
    }

    fn key(&self) -> DocumentKey {
        self.key_in(&ITEMS)
    }

    fn key_in(&self, collection: &CollectionSettings) -> DocumentKey {
        DocumentKey {
            collection: collection.name,
            id: self.id,
        }
    }

    fn read(document: &StoredDocument) -> Self {
        let document = Document::try_from(document.as_ref()).expect("BSON is a document");
        let uuid = |field| match document.get(field) {
            Some(Bson::Binary(binary)) => Uuid::from_slice(&binary.bytes).expect("a UUID"),
            other => panic!("{field} is {other:?}"),
        };
        let events = document
            .get_array("outbox")
            .map(|events| events.iter().map(event_name).collect());
        let first = document
            .get_array("outbox")
            .ok()
            .and_then(|events| events.first());
        let since = first.map(|event| {
            let event = event.as_document().expect("an event is a document");
            *event.get_datetime("time").expect("an event has a time")
        });
        Self {
            id: uuid("_id"),
            version: document.get_i64("version").expect("a version"),
            owner: uuid("owner"),
            state: document.get_i32("state").expect("a state"),
            count: document.get_i32("count").expect("a count"),
            events: events.unwrap_or_default(),
            since: since.map_or(0, |since| since.timestamp_millis()),
        }
    }
}

fn event_name(event: &Bson) -> String {
    let event = event.as_document().expect("an event is a document");
    event.get_str("name").expect("an event has a name").to_owned()
}

fn binary(id: Uuid) -> Binary {
    let binary = Binary::from(BsonUuid::from_bytes(id.into_bytes()));
    assert_eq!(binary.subtype, BinarySubtype::Uuid);
    binary
}

async fn prepared(subject: &impl StoreUnderTest) -> Arc<dyn DocumentStore> {
    let store = subject.open().await;
    eventually(DEADLINE, "the database is prepared", async || {
        store.prepare(vec![ITEMS, NOTES]).await
    })
    .await;
    store
}

/// Each for itself, under a new commit id.
async fn write(store: &dyn DocumentStore, items: &[Item]) -> Vec<Outcome> {
    let id = Uuid::new_v4();
    let writes = items.iter().map(|item| item.write(id)).collect();
    store
        .commit(Commit {
            id,
            atomic: false,
            writes,
        })
        .await
        .expect("the database is there")
}

async fn insert(store: &dyn DocumentStore, items: &[Item]) {
    for items in items.chunks(256) {
        assert_eq!(write(store, items).await, vec![Outcome::Applied; items.len()]);
    }
}

async fn find(store: &dyn DocumentStore, id: Uuid) -> Option<Item> {
    let found = store
        .find(ITEMS.name, vec![id])
        .await
        .expect("the database is there");
    assert!(found.len() <= 1);
    found.first().map(Item::read)
}

fn ids(documents: &[StoredDocument]) -> Vec<u128> {
    documents
        .iter()
        .map(|document| Item::read(document).id.as_u128())
        .collect()
}

fn id_set(documents: &[StoredDocument]) -> BTreeSet<u128> {
    ids(documents).into_iter().collect()
}
