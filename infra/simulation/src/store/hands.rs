//! What people do to documents by hand, with a shell or a tool: they add fields, they save numbers in
//! other types, they set a field to a value of another type and mend it later.
//!
//! Each of these raises the document's version by one, so that a service which is about to replace the
//! document reads it again. No service can keep an edit that does not: it is not to be seen.

use std::time::Duration;

use bson::{Bson, Document as BsonDocument, deserialize_from_slice, serialize_to_raw_document_buf};
use shared::document_store::{DocumentKey, StoredDocument};
use uuid::Uuid;

use super::{Collection, Database};
use crate::{chance::Chance, lock};

/// Fields of which a document is known, or found by an index: nobody edits these.
const KEPT: &[&str] = &[
    "_id",
    "commitId",
    "outbox",
    "lane",
    "keyId",
    "state",
    "partition",
    "topic",
    "offset",
];

/// A field that somebody has added.
#[derive(Debug, Clone)]
pub(super) struct Added {
    key: DocumentKey,
    name: String,
    value: Bson,
}

/// A field that somebody has set to a value of another type.
#[derive(Debug, Clone)]
pub struct Spoilt {
    key: DocumentKey,
    name: String,
    right: Bson,
}

impl Spoilt {
    /// The document's id.
    pub fn id(&self) -> Uuid {
        self.key.id
    }

    /// Where.
    pub fn place(&self) -> String {
        format!("{} of {} {}", self.name, self.key.collection, self.key.id)
    }
}

/// No field of ours is a truth value.
const WRONG: Bson = Bson::Boolean(true);

impl Database {
    /// Adds a field to some document; which.
    pub fn add_field(&self, chance: &Chance) -> Option<String> {
        let key = self.some_document(chance)?;
        let (name, value) = (
            format!("note{}", chance.below(1_000)),
            Bson::String("kept".into()),
        );
        self.edit(key, |document| {
            document.insert(name.clone(), value.clone());
            true
        })?;
        let told = format!("{name} of {} {}", key.collection, key.id);
        lock(&self.added).push(Added { key, name, value });
        Some(told)
    }

    /// Saves some document as a tool does that writes numbers in other types; which.
    pub fn rewrite_numbers(&self, chance: &Chance) -> Option<String> {
        let key = self.some_document(chance)?;
        self.edit(key, |document| {
            for (_, value) in document.iter_mut() {
                rewrite(value, chance);
            }
            true
        })?;
        Some(format!("{} {}", key.collection, key.id))
    }

    /// Sets a field of some document to a value that nobody can read.
    pub fn spoil(&self, chance: &Chance) -> Option<Spoilt> {
        let key = self.some_document(chance)?;
        let mut spoilt = None;
        self.edit(key, |document| {
            let names: Vec<_> = document
                .keys()
                .filter(|name| !KEPT.contains(&name.as_str()) && !name.starts_with("note"))
                .cloned()
                .collect();
            if names.is_empty() {
                return false;
            }
            let name = chance.pick(&names).clone();
            let right = document
                .insert(name.clone(), WRONG)
                .filter(|right| *right != WRONG);
            spoilt = right.map(|right| Spoilt { key, name, right });
            spoilt.is_some()
        })?;
        spoilt
    }

    /// Puts the value back, if it is still wrong.
    pub fn mend(&self, spoilt: &Spoilt) {
        self.edit(spoilt.key, |document| {
            let wrong = document.get(&spoilt.name) == Some(&WRONG);
            if wrong {
                document.insert(spoilt.name.clone(), spoilt.right.clone());
            }
            wrong
        });
    }

    /// Fields that somebody has added and that are gone.
    pub fn missing_fields(&self) -> Vec<String> {
        let collections = lock(&self.collections);
        let is_there = |added: &&Added| {
            let collection = collections.get(added.key.collection);
            let raw = collection.and_then(|collection| collection.documents.get(&added.key.id));
            raw.and_then(read)
                .is_some_and(|document| document.get(&added.name) == Some(&added.value))
        };
        let added = lock(&self.added);
        let missing = added.iter().filter(|added| !is_there(added));
        missing
            .map(|added| format!("{} of {} {}", added.name, added.key.collection, added.key.id))
            .collect()
    }

    fn some_document(&self, chance: &Chance) -> Option<DocumentKey> {
        let collections = lock(&self.collections);
        let filled: Vec<_> = collections
            .iter()
            .filter(|(_, collection)| !collection.documents.is_empty())
            .collect();
        if filled.is_empty() {
            return None;
        }
        let (name, collection) = chance.pick(&filled);
        let ids: Vec<Uuid> = collection.documents.keys().copied().collect();
        Some(DocumentKey {
            collection: name,
            id: *chance.pick(&ids),
        })
    }

    /// Changes a document, and its version.
    fn edit(&self, key: DocumentKey, edit: impl FnOnce(&mut BsonDocument) -> bool) -> Option<()> {
        let mut collections = lock(&self.collections);
        let collection: &mut Collection = collections.get_mut(key.collection)?;
        let mut document = read(collection.documents.get(&key.id)?)?;
        if !edit(&mut document) {
            return None;
        }
        let next = match document.get("version") {
            Some(Bson::Int64(version)) => Some(Bson::Int64(version + 1)),
            Some(Bson::Int32(version)) => Some(Bson::Int32(version + 1)),
            Some(Bson::Double(version)) => Some(Bson::Double(version + 1.0)),
            _ => None,
        };
        document.extend(next.map(|version| ("version".to_owned(), version)));
        let raw = serialize_to_raw_document_buf(&document).ok()?;
        collection.put(key.id, raw.into());
        Some(())
    }
}

fn read(raw: &StoredDocument) -> Option<BsonDocument> {
    deserialize_from_slice(raw.as_bytes()).ok()
}

/// The same numbers in other types.
fn rewrite(value: &mut Bson, chance: &Chance) {
    let whole = match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Document(document) => {
            document.iter_mut().for_each(|(_, value)| rewrite(value, chance));
            None
        }
        Bson::Array(values) => {
            values.iter_mut().for_each(|value| rewrite(value, chance));
            None
        }
        _ => None,
    };
    let Some(whole) = whole else { return };
    *value = match (i32::try_from(whole), chance.below(3)) {
        (Ok(small), 0) => Bson::Int32(small),
        (_, 1) => Bson::Int64(whole),
        #[allow(clippy::cast_precision_loss, reason = "ours are far below 2^53")]
        _ => Bson::Double(whole as f64),
    };
}

/// How long a spoilt document stays so, at most.
pub const SPOILT_FOR: Duration = Duration::from_secs(8);
