//! Writing documents: everything is checked first, so a refusal has written nothing.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};
use uuid::Uuid;

use super::{Collections, document, prepared, tables::Collection};
use crate::document_store::{
    Commit, Mark, Outcome, StoreError, StoredDocument, Write, carried_over, without_events,
};

/// Done, or unfit to be done; the outer error is the engine's.
type Done<T> = Result<Result<T, StoreError>, redb::Error>;

type IndexOpen<'a> = (&'static [&'static str], Table<'a, &'static [u8], ()>);

/// A collection opened for writing.
struct Open<'a> {
    documents: Table<'a, u128, &'static [u8]>,
    outbox: Table<'a, u128, ()>,
    indexes: Vec<IndexOpen<'a>>,
}

impl<'a> Open<'a> {
    fn new(transaction: &'a WriteTransaction, collection: &Collection) -> Result<Self, redb::Error> {
        let mut indexes = Vec::with_capacity(collection.indexes.len());
        for index in &collection.indexes {
            indexes.push((index.fields, transaction.open_table(index.entries())?));
        }
        Ok(Self {
            documents: transaction.open_table(collection.documents())?,
            outbox: transaction.open_table(collection.outbox())?,
            indexes,
        })
    }

    fn get(&self, id: Uuid) -> Done<Option<StoredDocument>> {
        Ok(self
            .documents
            .get(id.as_u128())?
            .map(|bytes| document::decode(bytes.value()))
            .transpose())
    }

    fn index_keys(&self, document: &StoredDocument, id: Uuid) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.indexes
            .iter()
            .map(|(fields, _)| document::index_key(document, fields, id))
            .collect()
    }
}

/// Collections of a transaction; redb opens a table once at a time.
type OpenCollections<'a> = BTreeMap<&'static str, Open<'a>>;

fn open<'a>(
    transaction: &'a WriteTransaction,
    collections: &Collections,
    names: impl Iterator<Item = &'static str>,
) -> Done<OpenCollections<'a>> {
    let mut opened = OpenCollections::new();
    for name in names {
        if !opened.contains_key(name) {
            match prepared(collections, name) {
                Ok(collection) => opened.insert(name, Open::new(transaction, collection)?),
                Err(unfit) => return Ok(Err(unfit)),
            };
        }
    }
    Ok(Ok(opened))
}

/// What a write comes to.
enum Decision {
    /// To be written, with the index entries that go and those that come.
    Write {
        /// The document without carried events that are marked by now, where there are such.
        instead: Option<StoredDocument>,
        gone: Vec<Option<Vec<u8>>>,
        come: Vec<Option<Vec<u8>>>,
        has_outbox: bool,
    },
    /// This very commit has written it before.
    AlreadyWritten,
    Conflict,
}

pub(super) fn commit(
    transaction: &WriteTransaction,
    collections: &Collections,
    commit: &Commit,
) -> Done<Vec<Outcome>> {
    let mut opened = match open(
        transaction,
        collections,
        commit.writes.iter().map(|write| write.key.collection),
    )? {
        Ok(opened) => opened,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let mut decisions = Vec::with_capacity(commit.writes.len());
    for write in &commit.writes {
        let Some(collection) = opened.get(write.key.collection) else {
            continue;
        };
        match decide(collection, write, commit.id)? {
            Ok(decision) => decisions.push(decision),
            Err(unfit) => return Ok(Err(unfit)),
        }
    }
    if commit.atomic {
        let all = |outcome| Ok(Ok(vec![outcome; commit.writes.len()]));
        // It is all or nothing: one document of this commit proves that all were written, even
        // where others have been replaced since.
        if decisions
            .iter()
            .any(|decision| matches!(decision, Decision::AlreadyWritten))
        {
            return all(Outcome::Applied);
        }
        if decisions
            .iter()
            .any(|decision| matches!(decision, Decision::Conflict))
        {
            return all(Outcome::Conflict);
        }
    }
    let mut outcomes = Vec::with_capacity(decisions.len());
    for (write, decision) in commit.writes.iter().zip(decisions) {
        outcomes.push(match decision {
            Decision::AlreadyWritten => Outcome::Applied,
            Decision::Conflict => Outcome::Conflict,
            Decision::Write {
                instead,
                gone,
                come,
                has_outbox,
            } => {
                if let Some(collection) = opened.get_mut(write.key.collection) {
                    let document = instead.as_ref().unwrap_or(&write.document);
                    put(collection, write.key.id, document, &gone, &come, has_outbox)?;
                }
                Outcome::Applied
            }
        });
    }
    Ok(Ok(outcomes))
}

fn decide(collection: &Open<'_>, write: &Write, commit: Uuid) -> Done<Decision> {
    let id = write.key.id;
    let stored = match collection.get(id)? {
        Ok(stored) => stored,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let decide = || {
        let written = document::head(&write.document)?;
        let gone = match (&stored, write.expected_version) {
            (None, None) => vec![None; collection.indexes.len()],
            (None, Some(_)) => return Ok(Decision::Conflict),
            (Some(stored), expected) => {
                let head = document::head(stored)?;
                if head.commit_id == Some(commit) && head.version == written.version {
                    return Ok(Decision::AlreadyWritten);
                }
                if expected != Some(head.version) {
                    return Ok(Decision::Conflict);
                }
                collection.index_keys(stored, id)?
            }
        };
        let come = collection.index_keys(&write.document, id)?;
        let instead = match &stored {
            Some(stored) => carried_over(write, stored)?,
            None => None,
        };
        Ok(Decision::Write {
            has_outbox: document::has_outbox(instead.as_ref().unwrap_or(&write.document))?,
            instead,
            gone,
            come,
        })
    };
    Ok(decide())
}

fn put(
    collection: &mut Open<'_>,
    id: Uuid,
    document: &StoredDocument,
    gone: &[Option<Vec<u8>>],
    come: &[Option<Vec<u8>>],
    has_outbox: bool,
) -> Result<(), redb::Error> {
    let id = id.as_u128();
    collection.documents.insert(id, document.as_bytes())?;
    if has_outbox {
        collection.outbox.insert(id, ())?;
    } else {
        collection.outbox.remove(id)?;
    }
    for ((_, entries), (gone, come)) in collection.indexes.iter_mut().zip(gone.iter().zip(come)) {
        if gone == come {
            continue;
        }
        if let Some(gone) = gone {
            entries.remove(gone.as_slice())?;
        }
        if let Some(come) = come {
            entries.insert(come.as_slice(), ())?;
        }
    }
    Ok(())
}

/// Takes events out of outboxes. A document it cannot read keeps its own, and the error tells.
pub(super) fn mark(transaction: &WriteTransaction, collections: &Collections, marks: &[Mark]) -> Done<()> {
    let mut opened = match open(
        transaction,
        collections,
        marks.iter().map(|mark| mark.key.collection),
    )? {
        Ok(opened) => opened,
        Err(unfit) => return Ok(Err(unfit)),
    };
    let mut answer = Ok(());
    for mark in marks {
        let Some(collection) = opened.get_mut(mark.key.collection) else {
            continue;
        };
        let marked = collection.get(mark.key.id)?.and_then(|stored| {
            let Some(stored) = stored else { return Ok(None) };
            let Some(rest) = without_events(&stored, |event| mark.events.contains(&event))? else {
                return Ok(None);
            };
            Ok(Some((document::has_outbox(&rest)?, rest)))
        });
        match marked {
            Ok(Some((has_outbox, document))) => {
                let id = mark.key.id.as_u128();
                collection.documents.insert(id, document.as_bytes())?;
                if !has_outbox {
                    collection.outbox.remove(id)?;
                }
            }
            Ok(None) => {}
            Err(unfit) => answer = Err(unfit),
        }
    }
    Ok(answer)
}
