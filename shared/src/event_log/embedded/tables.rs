//! What the log stores, and reading it.

use std::{collections::BTreeMap, sync::Arc};

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::{Topic, codec};
use crate::event_log::{ConsumedRecord, Offset, Partition, Position, TopicSettings};

/// Name → (id, partitions, largest record in bytes).
const TOPICS: TableDefinition<&str, (u32, Partition, u64)> = TableDefinition::new("topics");
/// (topic, partition, offset) → record.
const RECORDS: TableDefinition<(u32, Partition, Offset), &[u8]> = TableDefinition::new("records");
/// (group, topic, partition) → the offset to go on with.
const OFFSETS: TableDefinition<(&str, u32, Partition), Offset> = TableDefinition::new("offsets");

/// A stored offset: group, topic, partition, the offset to go on with.
pub(super) type StoredOffset = (String, u32, Partition, Offset);

/// Part of a partition to read.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) topic: Arc<str>,
    pub(super) id: u32,
    pub(super) partition: Partition,
    pub(super) generation: u64,
    /// From this offset …
    pub(super) from: Offset,
    /// … to before this one.
    pub(super) to: Offset,
}

pub(super) fn read_topics(transaction: &ReadTransaction) -> Result<BTreeMap<Arc<str>, Topic>, redb::Error> {
    let mut topics = BTreeMap::new();
    let Some(table) = existing(transaction.open_table(TOPICS))? else {
        return Ok(topics);
    };
    let records = existing(transaction.open_table(RECORDS))?;
    for row in table.iter()? {
        let (name, row) = row?;
        let (id, partitions, max_record_bytes) = row.value();
        let ends = (0..partitions)
            .map(|partition| {
                records
                    .as_ref()
                    .map_or(Ok(0), |records| end(records, id, partition))
            })
            .collect::<Result<_, _>>()?;
        let max_record_bytes = usize::try_from(max_record_bytes).unwrap_or(usize::MAX);
        topics.insert(
            Arc::from(name.value()),
            Topic {
                id,
                max_record_bytes,
                ends,
                next_spread: 0,
            },
        );
    }
    Ok(topics)
}

pub(super) fn read_offsets(transaction: &ReadTransaction) -> Result<Vec<StoredOffset>, redb::Error> {
    let Some(table) = existing(transaction.open_table(OFFSETS))? else {
        return Ok(Vec::new());
    };
    let mut offsets = Vec::new();
    for row in table.iter()? {
        let (key, next) = row?;
        let (group, topic, partition) = key.value();
        offsets.push((group.to_owned(), topic, partition, next.value()));
    }
    Ok(offsets)
}

/// Creates what is missing; answers all of them as they are, empty where they are new.
pub(super) fn create_topics(
    transaction: &WriteTransaction,
    settings: &[TopicSettings],
) -> Result<Vec<(Arc<str>, Topic)>, redb::Error> {
    let mut table = transaction.open_table(TOPICS)?;
    let records = transaction.open_table(RECORDS)?;
    let mut next_id = 0;
    for row in table.iter()? {
        next_id = next_id.max(row?.1.value().0 + 1);
    }
    let mut prepared = Vec::new();
    for wanted in settings {
        let wanted_bytes = u64::try_from(wanted.max_record_bytes).unwrap_or(u64::MAX);
        let found = table.get(wanted.name.as_str())?.map(|row| row.value());
        let (id, partitions, bytes) = found.unwrap_or((next_id, wanted.partitions, wanted_bytes));
        if found.is_none() {
            next_id += 1;
        }
        let bytes = bytes.max(wanted_bytes);
        table.insert(wanted.name.as_str(), (id, partitions, bytes))?;
        let ends = (0..partitions)
            .map(|partition| end(&records, id, partition))
            .collect::<Result<_, _>>()?;
        let max_record_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        prepared.push((
            Arc::from(wanted.name.as_str()),
            Topic {
                id,
                max_record_bytes,
                ends,
                next_spread: 0,
            },
        ));
    }
    Ok(prepared)
}

/// Appends to the partitions of all topics.
pub(super) struct Appender<'transaction> {
    records: Table<'transaction, (u32, Partition, Offset), &'static [u8]>,
    ends: BTreeMap<(u32, Partition), Offset>,
}

impl<'transaction> Appender<'transaction> {
    pub(super) fn new(transaction: &'transaction WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            ends: BTreeMap::new(),
        })
    }

    pub(super) fn append(
        &mut self,
        topic: u32,
        partition: Partition,
        record: &[u8],
    ) -> Result<Offset, redb::Error> {
        let offset = match self.ends.get(&(topic, partition)) {
            Some(end) => *end,
            None => end(&self.records, topic, partition)?,
        };
        self.records.insert((topic, partition, offset), record)?;
        self.ends.insert((topic, partition), offset + 1);
        Ok(offset)
    }
}

pub(super) fn write_offsets(
    transaction: &WriteTransaction,
    offsets: &[StoredOffset],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(OFFSETS)?;
    for (group, topic, partition, next) in offsets {
        table.insert((group.as_str(), *topic, *partition), *next)?;
    }
    Ok(())
}

/// Records of these spans, in order, until about as many records or bytes are found.
pub(super) fn read_records(
    transaction: &ReadTransaction,
    spans: &[Span],
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<ConsumedRecord>, redb::Error> {
    let table = transaction.open_table(RECORDS)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for span in spans {
        for row in table.range((span.id, span.partition, span.from)..(span.id, span.partition, span.to))? {
            if records.len() >= max_records || bytes >= max_bytes {
                return Ok(records);
            }
            let (key, record) = row?;
            let offset = key.value().2;
            bytes += record.value().len();
            let (key, value, headers) = codec::decode(record.value()).ok_or_else(|| {
                redb::Error::Corrupted(format!("the record {}/{}/{offset}", span.topic, span.partition))
            })?;
            let position = Position {
                topic: Arc::clone(&span.topic),
                partition: span.partition,
                offset,
            };
            records.push(ConsumedRecord {
                position,
                generation: span.generation,
                key,
                value,
                headers,
            });
        }
    }
    Ok(records)
}

fn end(
    records: &impl ReadableTable<(u32, Partition, Offset), &'static [u8]>,
    topic: u32,
    partition: Partition,
) -> Result<Offset, redb::Error> {
    let mut rows = records.range((topic, partition, 0)..=(topic, partition, Offset::MAX))?;
    Ok(rows
        .next_back()
        .transpose()?
        .map_or(0, |(key, _)| key.value().2 + 1))
}

/// A table that nothing was written to yet does not exist.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
