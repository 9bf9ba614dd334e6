//! A database in memory that survives the processes which use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bson::{RawBsonRef, RawDocument};
use shared::{
    document_store::{
        CollectionSettings, Commit, Direction, Document, DocumentKey, IndexValue, Mark, OutboxQuery, Outcome,
        Query, StoreError, StoredDocument, Write, carried_over, outbox, outbox_place, without_events,
    },
    envelope::OutboxEvent,
    parking::{ParkedRecord, ParkedState},
};
use uuid::Uuid;

use crate::{lock, wire::Outage};

mod hands;
mod port;

use hands::Added;
pub use hands::{SPOILT_FOR, Spoilt};
pub use port::StorePort;

/// Told of each document that a commit has changed, before anybody else can see it.
pub trait Observer: Send + Sync {
    /// These changed together, in the database of the service with this consumer group.
    fn committed(&self, group: &'static str, changed: &[Changed]);
}

/// A document that was written.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Which.
    pub key: DocumentKey,
    /// As it was.
    pub before: Option<StoredDocument>,
    /// As it is now.
    pub after: StoredDocument,
}

/// The documents of one service.
pub struct Database {
    group: &'static str,
    collections: Mutex<BTreeMap<&'static str, Collection>>,
    /// Fields that somebody has added by hand.
    added: Mutex<Vec<Added>>,
    observer: Arc<dyn Observer>,
    /// When it is away.
    pub outage: Outage,
}

struct Collection {
    settings: CollectionSettings,
    documents: BTreeMap<Uuid, StoredDocument>,
    /// Of these the outbox is not empty.
    outboxes: BTreeSet<Uuid>,
}

impl Collection {
    fn put(&mut self, id: Uuid, document: StoredDocument) -> Option<StoredDocument> {
        // As the sparse index over `outbox._id` has it, whatever else can be read.
        let events = document.get("outbox").ok().flatten();
        let has_events = events
            .and_then(|events| events.as_array()?.into_iter().next())
            .is_some();
        if has_events {
            self.outboxes.insert(id);
        } else {
            self.outboxes.remove(&id);
        }
        self.documents.insert(id, document)
    }
}

impl Database {
    /// An empty one, of the service with this consumer group.
    pub fn new(group: &'static str, observer: Arc<dyn Observer>) -> Arc<Database> {
        Arc::new(Database {
            group,
            collections: Mutex::default(),
            added: Mutex::default(),
            observer,
            outage: Outage::default(),
        })
    }

    /// Documents whose outbox is not empty, with the events in it that can be read.
    pub fn outboxes(&self) -> Vec<(DocumentKey, Vec<OutboxEvent>)> {
        let collections = lock(&self.collections);
        let mut open = Vec::new();
        for (name, collection) in &*collections {
            for id in &collection.outboxes {
                let key = DocumentKey {
                    collection: name,
                    id: *id,
                };
                let events = collection.documents.get(id).map(|document| outbox(document));
                let events = events.and_then(Result::ok).map(|(_, events)| events);
                open.push((key, events.unwrap_or_default()));
            }
        }
        open
    }

    /// Parked records that are open.
    pub fn parked(&self) -> usize {
        let open = ParkedState::OPEN.map(ParkedState::index_value);
        let is_open = |document: &&StoredDocument| {
            index_value(document, "state").is_some_and(|state| open.contains(&state))
        };
        let collections = lock(&self.collections);
        let parked = collections.get(ParkedRecord::COLLECTION.name);
        parked.map_or(0, |parked| parked.documents.values().filter(is_open).count())
    }

    fn prepare(&self, wanted: Vec<CollectionSettings>) {
        let mut collections = lock(&self.collections);
        for settings in wanted {
            collections.entry(settings.name).or_insert(Collection {
                settings,
                documents: BTreeMap::new(),
                outboxes: BTreeSet::new(),
            });
        }
    }

    fn with<T>(
        &self,
        name: &str,
        look: impl FnOnce(&mut Collection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut collections = lock(&self.collections);
        let collection = collections.get_mut(name);
        look(collection.ok_or_else(|| unfit(format!("the collection {name} was not prepared")))?)
    }

    fn find(&self, collection: &str, ids: &[Uuid]) -> Result<Vec<StoredDocument>, StoreError> {
        self.with(collection, |collection| {
            let found = ids.iter().filter_map(|id| collection.documents.get(id));
            Ok(found.cloned().collect())
        })
    }

    fn list(&self, query: &Query) -> Result<Vec<StoredDocument>, StoreError> {
        self.with(query.collection, |collection| {
            let fields: Vec<_> = query.matching.iter().map(|(field, _)| *field).collect();
            let indexes = collection.settings.indexes;
            if !fields.is_empty() && indexes.iter().all(|index| index.fields != fields) {
                return Err(unfit(format!("no index over {fields:?}")));
            }
            let behind = |id: &Uuid| match (query.after, query.order) {
                (None, _) => true,
                (Some(after), Direction::Ascending) => *id > after,
                (Some(after), Direction::Descending) => *id < after,
            };
            let matches = |document: &RawDocument| {
                query.matching.iter().all(|(field, values)| {
                    index_value(document, field).is_some_and(|value| values.contains(&value))
                })
            };
            let mut found: Vec<_> = collection
                .documents
                .iter()
                .filter(|(id, document)| behind(id) && matches(document))
                .map(|(_, document)| document.clone())
                .collect();
            if query.order == Direction::Descending {
                found.reverse();
            }
            found.truncate(query.limit);
            Ok(found)
        })
    }

    fn unpublished(&self, query: &OutboxQuery) -> Result<Vec<StoredDocument>, StoreError> {
        self.with(query.collection, |collection| {
            let open = collection.outboxes.iter();
            let documents = open.filter_map(|id| collection.documents.get(id));
            let placed = documents.filter_map(|document| Some((outbox_place(document)?, document)));
            let page: BTreeMap<_, _> = placed
                .filter(|(place, _)| place.time <= query.until)
                .filter(|(place, _)| query.after.is_none_or(|after| *place > after))
                .collect();
            Ok(page.into_values().take(query.limit).cloned().collect())
        })
    }

    fn mark(&self, marks: &[Mark]) -> Result<(), StoreError> {
        for mark in marks {
            self.with(mark.key.collection, |collection| {
                if let Some(document) = collection.documents.get(&mark.key.id)
                    && let Some(rest) = without_events(document, |event| mark.events.contains(&event))?
                {
                    collection.put(mark.key.id, rest);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Writes the documents, as the port promises.
    fn commit(&self, commit: &Commit) -> Result<Vec<Outcome>, StoreError> {
        let mut collections = lock(&self.collections);
        let mut decisions = Vec::new();
        for write in &commit.writes {
            check(write)?;
            let collection = collections.get(write.key.collection);
            let collection = collection.ok_or_else(|| unfit("a collection that was not prepared".into()))?;
            decisions.push(decide(collection.documents.get(&write.key.id), write, commit.id)?);
        }
        if commit.atomic {
            let all = |outcome| Ok(vec![outcome; commit.writes.len()]);
            // All or nothing: one document of this commit proves that all were written.
            if decisions.contains(&Decision::AlreadyWritten) {
                return all(Outcome::Applied);
            }
            if decisions.contains(&Decision::Conflict) {
                return all(Outcome::Conflict);
            }
        }
        let mut changed = Vec::new();
        for (write, decision) in commit.writes.iter().zip(&decisions) {
            if *decision == Decision::Write
                && let Some(collection) = collections.get_mut(write.key.collection)
            {
                let before = collection.documents.get(&write.key.id).cloned();
                let carried = match &before {
                    Some(before) => carried_over(write, before)?,
                    None => None,
                };
                let after = carried.unwrap_or_else(|| write.document.clone());
                collection.put(write.key.id, after.clone());
                changed.push(Changed {
                    key: write.key,
                    before,
                    after,
                });
            }
        }
        if !changed.is_empty() {
            self.observer.committed(self.group, &changed);
        }
        let outcome = |decision| match decision {
            Decision::Write | Decision::AlreadyWritten => Outcome::Applied,
            Decision::Conflict => Outcome::Conflict,
        };
        Ok(decisions.into_iter().map(outcome).collect())
    }
}

/// What a write comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Write,
    AlreadyWritten,
    Conflict,
}

fn decide(stored: Option<&StoredDocument>, write: &Write, commit: Uuid) -> Result<Decision, StoreError> {
    let Some(stored) = stored else {
        return Ok(match write.expected_version {
            None => Decision::Write,
            Some(_) => Decision::Conflict,
        });
    };
    // A version that cannot be read is no version that anybody expects.
    let Some(found) = number(stored, "version") else {
        return Ok(Decision::Conflict);
    };
    if uuid(stored, "commitId") == Some(commit) && found == version(&write.document)? {
        return Ok(Decision::AlreadyWritten);
    }
    if write.expected_version != Some(found) {
        return Ok(Decision::Conflict);
    }
    Ok(Decision::Write)
}

fn check(write: &Write) -> Result<(), StoreError> {
    let expected = write.expected_version.map_or(1, |version| version + 1);
    if version(&write.document)? != expected || uuid(&write.document, "_id") != Some(write.key.id) {
        return Err(unfit(format!(
            "the document for {} is not what is said of it",
            write.key.id
        )));
    }
    Ok(())
}

/// The version that a service writes.
fn version(document: &StoredDocument) -> Result<i64, StoreError> {
    document
        .get_i64("version")
        .map_err(|error| unfit(error.to_string()))
}

/// A whole number of any type: a database compares them by what they are worth.
fn number(document: &RawDocument, field: &str) -> Option<i64> {
    match document.get(field).ok()?? {
        RawBsonRef::Int32(value) => Some(value.into()),
        RawBsonRef::Int64(value) => Some(value),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "what has no fraction is a whole number"
        )]
        RawBsonRef::Double(value) if value.fract() == 0.0 => Some(value as i64),
        _ => None,
    }
}

fn uuid(document: &RawDocument, field: &str) -> Option<Uuid> {
    match document.get(field).ok()?? {
        RawBsonRef::Binary(binary) => Uuid::from_slice(binary.bytes).ok(),
        _ => None,
    }
}

fn index_value(document: &RawDocument, field: &str) -> Option<IndexValue> {
    let int = number(document, field).and_then(|number| i32::try_from(number).ok());
    match int {
        Some(value) => Some(IndexValue::Int(value)),
        None => uuid(document, field).map(IndexValue::Uuid),
    }
}

fn unfit(what: String) -> StoreError {
    StoreError::Unfit(what)
}
