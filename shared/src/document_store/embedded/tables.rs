//! Tables of a collection: its documents, its outbox, its indexes.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::document;
use crate::document_store::{CollectionSettings, StoreError};

/// `_id` → BSON.
pub(super) type Documents<'a> = TableDefinition<'a, u128, &'static [u8]>;
/// `_id` of each document whose outbox is not empty.
pub(super) type Outbox<'a> = TableDefinition<'a, u128, ()>;
/// Values of the fields, then `_id`.
pub(super) type IndexEntries<'a> = TableDefinition<'a, &'static [u8], ()>;

/// Names of the index tables that are complete, each with its collection.
const INDEXES: TableDefinition<&str, &str> = TableDefinition::new("indexes");

/// A prepared collection.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub(super) name: &'static str,
    documents: String,
    outbox: String,
    pub(super) indexes: Vec<IndexTable>,
}

/// An index of it.
#[derive(Debug, Clone)]
pub(super) struct IndexTable {
    pub(super) fields: &'static [&'static str],
    name: String,
}

impl Collection {
    pub(super) fn new(settings: &CollectionSettings) -> Self {
        let name = settings.name;
        let index = |fields: &'static [&'static str]| IndexTable {
            fields,
            name: format!("{name}/index/{}", fields.join(",")),
        };
        Self {
            name,
            documents: format!("{name}/documents"),
            outbox: format!("{name}/outbox"),
            indexes: settings
                .indexes
                .iter()
                .map(|settings| index(settings.fields))
                .collect(),
        }
    }

    pub(super) fn documents(&self) -> Documents<'_> {
        TableDefinition::new(&self.documents)
    }

    pub(super) fn outbox(&self) -> Outbox<'_> {
        TableDefinition::new(&self.outbox)
    }
}

impl IndexTable {
    pub(super) fn entries(&self) -> IndexEntries<'_> {
        TableDefinition::new(&self.name)
    }
}

/// Creates what is missing, fills new indexes, and drops those that are no longer wanted: nobody
/// would keep them right.
pub(super) fn prepare(
    transaction: &WriteTransaction,
    collections: &[Collection],
) -> Result<Result<(), StoreError>, redb::Error> {
    let mut complete = transaction.open_table(INDEXES)?;
    for collection in collections {
        let documents = transaction.open_table(collection.documents())?;
        transaction.open_table(collection.outbox())?;
        let mut known = Vec::new();
        for row in complete.iter()? {
            let (name, of) = row?;
            if of.value() == collection.name {
                known.push(name.value().to_owned());
            }
        }
        for index in &collection.indexes {
            if !known.contains(&index.name) {
                if let Err(unfit) = fill(transaction, index, &documents)? {
                    // What was filled until here is not complete and will be filled again.
                    return Ok(Err(unfit));
                }
                complete.insert(index.name.as_str(), collection.name)?;
            }
        }
        for name in known {
            if collection.indexes.iter().all(|index| index.name != name) {
                complete.remove(name.as_str())?;
                transaction.delete_table(IndexEntries::new(&name))?;
            }
        }
    }
    Ok(Ok(()))
}

fn fill(
    transaction: &WriteTransaction,
    index: &IndexTable,
    documents: &impl ReadableTable<u128, &'static [u8]>,
) -> Result<Result<(), StoreError>, redb::Error> {
    // An attempt that was given up may have left entries behind.
    transaction.delete_table(index.entries())?;
    let mut entries = transaction.open_table(index.entries())?;
    for row in documents.iter()? {
        let (id, bytes) = row?;
        let key = document::decode(bytes.value())
            .and_then(|document| document::index_key(&document, index.fields, Uuid::from_u128(id.value())));
        match key {
            Ok(Some(key)) => drop(entries.insert(key.as_slice(), ())?),
            Ok(None) => {}
            Err(unfit) => return Ok(Err(unfit)),
        }
    }
    Ok(Ok(()))
}
