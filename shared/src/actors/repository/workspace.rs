//! The in-memory copies of the documents of one round.
//!
//! Commands are decided on these, one after the other, later ones seeing what earlier ones did;
//! what has changed is written once at the end.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    document_store::{
        CollectionSettings, Document, DocumentKey, StoreError, StoredDocument, Write, decode, encode_beside,
    },
    envelope::OutboxEvent,
    events::EventId,
    parking::{ParkedRecord, ReplayJob},
};

use super::outbox_ledger::OutboxLedger;

/// The collections of a service, as the copies that a round works on.
pub trait Workspace: Default + 'static {
    /// Whether what a round changes has to be written all or nothing. Without, each document stands
    /// for itself, which needs no transaction.
    const ATOMIC: bool;
    /// How its own collections are stored.
    const COLLECTIONS: &'static [CollectionSettings];
    /// Its collections, [`Workspace::parked`] among them.
    fn collections(&mut self) -> Vec<&mut dyn Copies>;
    /// Records that could not be handled.
    fn parked(&mut self) -> &mut Parking;
}

/// The collections of what could not be handled; part of every workspace.
#[derive(Default)]
pub struct Parking {
    pub(super) records: CopiesOf<ParkedRecord>,
    pub(super) jobs: CopiesOf<ReplayJob>,
}

impl Parking {
    /// How they are stored.
    pub const COLLECTIONS: [CollectionSettings; 2] = [ParkedRecord::COLLECTION, ReplayJob::COLLECTION];

    /// For [`Workspace::collections`].
    // Not inlined: what reads and writes these documents is compiled here then, not in each service.
    #[inline(never)]
    pub fn collections(&mut self) -> [&mut dyn Copies; 2] {
        [&mut self.records, &mut self.jobs]
    }
}

/// The workspace of a service with one collection. Its documents are all or nothing by themselves.
pub struct WorkspaceOf<D> {
    copies: CopiesOf<D>,
    parked: Parking,
}

impl<D> Default for WorkspaceOf<D> {
    fn default() -> Self {
        WorkspaceOf {
            copies: CopiesOf::default(),
            parked: Parking::default(),
        }
    }
}

impl<D: Document> WorkspaceOf<D> {
    /// See [`CopiesOf::get`].
    pub fn get(&self, id: impl Into<Uuid>) -> Option<&D> {
        self.copies.get(id)
    }

    /// See [`CopiesOf::put`].
    pub fn put(&mut self, document: D, events: impl IntoIterator<Item = OutboxEvent>) {
        self.copies.put(document, events);
    }

    /// The copies.
    pub fn copies(&mut self) -> &mut CopiesOf<D> {
        &mut self.copies
    }
}

impl<D: Document> Workspace for WorkspaceOf<D> {
    const ATOMIC: bool = false;
    const COLLECTIONS: &'static [CollectionSettings] = &[D::COLLECTION];
    fn collections(&mut self) -> Vec<&mut dyn Copies> {
        let mut collections: Vec<&mut dyn Copies> = vec![&mut self.copies];
        collections.extend(self.parked.collections());
        collections
    }
    fn parked(&mut self) -> &mut Parking {
        &mut self.parked
    }
}

/// The copies of the documents of one collection, whatever their type.
pub trait Copies {
    /// Its name.
    fn collection(&self) -> &'static str;
    /// Takes a document as it was read. Its outbox entries that are published already are dropped.
    fn load(&mut self, raw: &StoredDocument, ledger: &OutboxLedger) -> Result<(), StoreError>;
    /// The events that were announced since it was asked last.
    fn announced(&mut self) -> Vec<EventId>;
    /// Documents with more than so many events in their outboxes.
    fn crowded(&self, most: usize) -> Vec<DocumentKey>;
    /// What has to be written, each with what it announces.
    fn changes(&self, commit_id: Uuid) -> Result<Vec<(Write, Change)>, StoreError>;
}

/// A document that a round has changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub key: DocumentKey,
    /// The events that were found in its outbox and stay there, oldest first.
    pub carried: Vec<OutboxEvent>,
    /// The events that it announces now, which stand behind those.
    pub announced: Vec<OutboxEvent>,
    /// The events that were found in its outbox and are left out, being published.
    pub left_out: Vec<EventId>,
}

/// The copies of documents of one type.
pub struct CopiesOf<D> {
    copies: BTreeMap<Uuid, Copy<D>>,
    announced: Vec<EventId>,
}

struct Copy<D> {
    /// As it was read; `None` where there was none.
    version: Option<i64>,
    document: D,
    outbox: Vec<OutboxEvent>,
    /// So many of the outbox were found there.
    found: usize,
    left_out: Vec<EventId>,
    /// Fields of others, which stay.
    unknown: StoredDocument,
    changed: bool,
}

impl<D> Default for CopiesOf<D> {
    fn default() -> Self {
        CopiesOf {
            copies: BTreeMap::new(),
            announced: Vec::new(),
        }
    }
}

impl<D: Document> CopiesOf<D> {
    /// The document, if there is one by now.
    pub fn get(&self, id: impl Into<Uuid>) -> Option<&D> {
        self.copies.get(&id.into()).map(|copy| &copy.document)
    }

    /// Inserts or replaces a document and announces `events`; one that stands in its outbox already
    /// is announced once.
    pub fn put(&mut self, document: D, events: impl IntoIterator<Item = OutboxEvent>) {
        match self.copies.entry(document.id()) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let copy = entry.get_mut();
                copy.document = document;
                for event in events {
                    if copy.outbox.iter().all(|known| known.id != event.id) {
                        self.announced.push(event.id);
                        copy.outbox.push(event);
                    }
                }
                copy.changed = true;
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                let outbox: Vec<_> = events.into_iter().collect();
                self.announced.extend(outbox.iter().map(|event| event.id));
                entry.insert(Copy {
                    version: None,
                    document,
                    outbox,
                    found: 0,
                    left_out: Vec::new(),
                    unknown: StoredDocument::default(),
                    changed: true,
                });
            }
        }
    }
}

impl<D: Document> Copies for CopiesOf<D> {
    fn collection(&self) -> &'static str {
        D::COLLECTION.name
    }

    fn load(&mut self, raw: &StoredDocument, ledger: &OutboxLedger) -> Result<(), StoreError> {
        let stored = decode::<D>(raw)?;
        let id = stored.document.id();
        let (outbox, left_out) = ledger.unpublished(stored.outbox);
        let copy = Copy {
            version: Some(stored.version),
            document: stored.document,
            found: outbox.len(),
            outbox,
            left_out,
            unknown: stored.unknown,
            changed: false,
        };
        self.copies.insert(id, copy);
        Ok(())
    }

    fn announced(&mut self) -> Vec<EventId> {
        std::mem::take(&mut self.announced)
    }

    fn crowded(&self, most: usize) -> Vec<DocumentKey> {
        let crowded = self.copies.iter().filter(|(_, copy)| copy.outbox.len() > most);
        let key = |(id, _): (&Uuid, _)| DocumentKey {
            collection: D::COLLECTION.name,
            id: *id,
        };
        crowded.map(key).collect()
    }

    fn changes(&self, commit_id: Uuid) -> Result<Vec<(Write, Change)>, StoreError> {
        let changed = self.copies.iter().filter(|(_, copy)| copy.changed);
        let change = |(id, copy): (&Uuid, &Copy<D>)| {
            let version = copy.version.unwrap_or(0) + 1;
            let document = encode_beside(&copy.unknown, &copy.document, version, commit_id, &copy.outbox)
                .map_err(|error| StoreError::Unfit(format!("a document cannot be written: {error}")))?;
            let key = DocumentKey {
                collection: D::COLLECTION.name,
                id: *id,
            };
            let write = Write {
                key,
                expected_version: copy.version,
                document,
                carried: copy.outbox[..copy.found].iter().map(|event| event.id).collect(),
            };
            let (carried, announced) = copy.outbox.split_at(copy.found);
            let change = Change {
                key,
                carried: carried.to_vec(),
                announced: announced.to_vec(),
                left_out: copy.left_out.clone(),
            };
            Ok((write, change))
        };
        changed.map(change).collect()
    }
}
