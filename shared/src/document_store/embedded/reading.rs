//! Reading from a snapshot.

use std::{collections::BTreeMap, ops::Bound};

use redb::{ReadTransaction, ReadableTable};
use uuid::Uuid;

use super::{
    document,
    tables::{Collection, IndexTable},
};
use crate::document_store::{
    Direction, IndexValue, OutboxQuery, Query, StoreError, StoredDocument, outbox_place,
};

/// A page of outboxes ends behind so many bytes: parked records are of several megabytes.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Found, or unfit to be read; the outer error is the engine's.
type Found<T> = Result<Result<T, StoreError>, redb::Error>;

/// A collection as it was at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) transaction: &'a ReadTransaction,
    pub(super) collection: &'a Collection,
}

impl Snapshot<'_> {
    pub(super) fn find(&self, ids: &[Uuid]) -> Found<Vec<StoredDocument>> {
        let documents = self.transaction.open_table(self.collection.documents())?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(bytes) = documents.get(id.as_u128())? {
                match document::decode(bytes.value()) {
                    Ok(document) => found.push(document),
                    Err(unfit) => return Ok(Err(unfit)),
                }
            }
        }
        Ok(Ok(found))
    }

    /// Looks at every document with events: there are few, and they are in memory. What is no BSON at
    /// all is left out, so that it does not keep the others from being published.
    pub(super) fn unpublished(&self, query: &OutboxQuery) -> Result<Vec<StoredDocument>, redb::Error> {
        let outbox = self.transaction.open_table(self.collection.outbox())?;
        let documents = self.transaction.open_table(self.collection.documents())?;
        let mut page = BTreeMap::new();
        let mut bytes = 0;
        for row in outbox.iter()? {
            let id = row?.0.value();
            let document = documents.get(id)?;
            let Some(Ok(document)) = document.map(|bytes| document::decode(bytes.value())) else {
                log::error!(target: "embedded", collection = self.collection.name;
                    "the document {} has events and cannot be read", Uuid::from_u128(id));
                continue;
            };
            let Some(place) = outbox_place(&document) else {
                continue;
            };
            if place.time > query.until || query.after.is_some_and(|after| place <= after) {
                continue;
            }
            bytes += document.as_bytes().len();
            page.insert(place, document);
            while page.len() > query.limit || bytes > PAGE_BYTES && page.len() > 1 {
                let last = page.pop_last();
                bytes -= last.map_or(0, |(_, document)| document.as_bytes().len());
            }
        }
        Ok(page.into_values().collect())
    }

    pub(super) fn list(&self, query: &Query) -> Found<Vec<StoredDocument>> {
        if query.matching.is_empty() {
            return self.list_all(query);
        }
        match self.ids(query)? {
            Ok(ids) => self.find(&ids),
            Err(unfit) => Ok(Err(unfit)),
        }
    }

    /// How many documents a page has, by the index alone where there is one.
    pub(super) fn count(&self, query: &Query) -> Found<usize> {
        if query.matching.is_empty() {
            return Ok(self.list_all(query)?.map(|documents| documents.len()));
        }
        Ok(self.ids(query)?.map(|ids| ids.len()))
    }

    fn ids(&self, query: &Query) -> Found<Vec<Uuid>> {
        let fields: Vec<&str> = query.matching.iter().map(|(field, _)| *field).collect();
        let Some(index) = self
            .collection
            .indexes
            .iter()
            .find(|index| index.fields == fields)
        else {
            let name = self.collection.name;
            return Ok(Err(StoreError::Unfit(format!(
                "the collection {name} has no index over {fields:?}"
            ))));
        };
        Ok(Ok(self.merge(index, query)?))
    }

    fn list_all(&self, query: &Query) -> Found<Vec<StoredDocument>> {
        let documents = self.transaction.open_table(self.collection.documents())?;
        let after = query.after.map(|id| id.as_u128());
        let mut rows = match query.order {
            Direction::Ascending => {
                documents.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))?
            }
            Direction::Descending => {
                documents.range((Bound::Unbounded, after.map_or(Bound::Unbounded, Bound::Excluded)))?
            }
        };
        let mut found = Vec::new();
        while found.len() < query.limit {
            let row = match query.order {
                Direction::Ascending => rows.next(),
                Direction::Descending => rows.next_back(),
            };
            let Some(row) = row.transpose()? else { break };
            match document::decode(row.1.value()) {
                Ok(document) => found.push(document),
                Err(unfit) => return Ok(Err(unfit)),
            }
        }
        Ok(Ok(found))
    }

    /// Each combination of values is a range of the index in order of `_id`; the smallest of their
    /// heads is next. Reads one entry ahead in each range, no more.
    fn merge(&self, index: &IndexTable, query: &Query) -> Result<Vec<Uuid>, redb::Error> {
        let entries = self.transaction.open_table(index.entries())?;
        let mut ranges = Vec::new();
        for prefix in prefixes(&query.matching) {
            let (from, to) = bounds(&prefix, query.after, query.order);
            ranges.push(
                entries.range::<&[u8]>((from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice)))?,
            );
        }
        let mut heads = Vec::with_capacity(ranges.len());
        for range in &mut ranges {
            heads.push(next_id(range, query.order)?);
        }
        let mut ids = Vec::new();
        while ids.len() < query.limit {
            let present = heads
                .iter()
                .enumerate()
                .filter_map(|(at, head)| head.map(|id| (id, at)));
            let next = match query.order {
                Direction::Ascending => present.min(),
                Direction::Descending => present.max(),
            };
            let Some((id, at)) = next else { break };
            ids.push(id);
            heads[at] = next_id(&mut ranges[at], query.order)?;
        }
        Ok(ids)
    }
}

fn next_id(
    range: &mut redb::Range<'_, &'static [u8], ()>,
    order: Direction,
) -> Result<Option<Uuid>, redb::Error> {
    let row = match order {
        Direction::Ascending => range.next(),
        Direction::Descending => range.next_back(),
    };
    let Some(row) = row.transpose()? else {
        return Ok(None);
    };
    match row.0.value().last_chunk::<16>() {
        Some(id) => Ok(Some(Uuid::from_bytes(*id))),
        None => Err(redb::Error::Corrupted("an index entry without an _id".to_owned())),
    }
}

/// The encoded combinations of values, each once.
fn prefixes(matching: &[(&'static str, Vec<IndexValue>)]) -> Vec<Vec<u8>> {
    let mut prefixes = vec![Vec::new()];
    for (_, values) in matching {
        let mut values = values.clone();
        values.sort_unstable();
        values.dedup();
        prefixes = prefixes
            .iter()
            .flat_map(|prefix| {
                values.iter().map(|value| {
                    let mut longer: Vec<u8> = prefix.clone();
                    document::put(&mut longer, *value);
                    longer
                })
            })
            .collect();
    }
    prefixes
}

fn bounds(prefix: &[u8], after: Option<Uuid>, order: Direction) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let with = |id: Uuid| [prefix, id.as_bytes()].concat();
    let (first, last) = (
        Bound::Included(with(Uuid::nil())),
        Bound::Included(with(Uuid::max())),
    );
    match (after, order) {
        (None, _) => (first, last),
        (Some(after), Direction::Ascending) => (Bound::Excluded(with(after)), last),
        (Some(after), Direction::Descending) => (first, Bound::Excluded(with(after))),
    }
}
