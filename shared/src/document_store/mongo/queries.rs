//! Reading documents, and forgetting events that are published.
//!
//! Everything read here is on the majority: it cannot be rolled back, so decisions may rest on it.
//! Marks are the one exception to majority writes (`w: 1`, journaled): a lost one republishes an event
//! under the same id, which is harmless.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use mongodb::{
    ClusterTime,
    bson::{
        Binary, Bson, DateTime, Document, Timestamp, deserialize_from_document, doc, spec::BinarySubtype,
    },
    options::{CountOptions, FindOptions, Hint, ReadConcern},
};
use uuid::Uuid;

use crate::environment::Timestamp as Moment;

use super::{
    super::{Direction, IndexValue, Mark, OutboxPlace, OutboxQuery, Query, StoreError, StoredDocument},
    MongoStore, commands,
    errors::Fault,
};

/// Most ids asked for in one query; rounds are of at most 256 documents.
const IDS_PER_QUERY: usize = 1000;

/// A UUID as documents carry it.
pub(super) fn binary(id: Uuid) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    })
}

/// Equality for one value, `$in` for several: equality lets the server take its shortest way.
pub(super) fn any_of(mut values: Vec<Bson>) -> Bson {
    match values.len() {
        1 => values.remove(0),
        _ => Bson::Document(doc! { "$in": values }),
    }
}

/// Runs one query to its end.
pub(super) async fn fetch(
    store: &MongoStore,
    collection: &'static str,
    filter: Document,
    mut options: FindOptions,
    within: Duration,
) -> Result<Vec<StoredDocument>, Fault> {
    let found = store.database.collection::<StoredDocument>(collection);
    options.read_concern = Some(ReadConcern::majority());
    options.max_time = Some(within);
    // One more than can come: the server then knows that the first batch is the last. Not
    // `singleBatch`: a batch ends at 16 MB, and what does not fit must not be taken for missing.
    let expected = options.limit.unwrap_or(0);
    options.batch_size = u32::try_from(expected + 1).ok();
    let capacity = usize::try_from(expected).unwrap_or(0).min(IDS_PER_QUERY);
    store
        .call(within, async move {
            let mut cursor = found.find(filter).with_options(options).await?;
            let mut documents = Vec::with_capacity(capacity);
            while cursor.advance().await? {
                documents.push(cursor.current().to_owned().into());
            }
            Ok(documents)
        })
        .await
}

/// See [`super::super::DocumentStore::find`].
pub(super) async fn find(
    store: &MongoStore,
    collection: &'static str,
    ids: Vec<Uuid>,
) -> Result<Vec<StoredDocument>, StoreError> {
    let chunks = ids.chunks(IDS_PER_QUERY).map(|ids| {
        let options = FindOptions::builder().limit(ids.len() as i64).build();
        let filter = doc! { "_id": any_of(ids.iter().copied().map(binary).collect()) };
        fetch(store, collection, filter, options, store.settings.call_timeout)
    });
    let mut found = try_join_all(chunks).await.map_err(Fault::of_read)?;
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    Ok(found.concat())
}

/// The filter and options of a page; `None` where nothing can match.
pub(super) fn page(query: &Query) -> Option<(Document, FindOptions)> {
    // A limit of zero means none to the server.
    if query.limit == 0 || query.matching.iter().any(|(_, values)| values.is_empty()) {
        return None;
    }
    let (direction, behind) = match query.order {
        Direction::Ascending => (1, "$gt"),
        Direction::Descending => (-1, "$lt"),
    };
    let mut filter = Document::new();
    let mut hint = Document::new();
    for (field, values) in &query.matching {
        filter.insert(*field, any_of(values.iter().map(index_value).collect()));
        hint.insert(*field, 1);
    }
    hint.insert("_id", 1);
    if let Some(after) = query.after {
        filter.insert("_id", doc! { behind: binary(after) });
    }
    // The hint keeps the planner from ever sorting in memory or scanning; where its index is
    // missing the server says so instead of getting slow.
    let options = FindOptions::builder()
        .sort(doc! { "_id": direction })
        .hint(Hint::Keys(hint))
        .limit(i64::try_from(query.limit).unwrap_or(i64::MAX - 1))
        .build();
    Some((filter, options))
}

fn index_value(value: &IndexValue) -> Bson {
    match value {
        IndexValue::Uuid(id) => binary(*id),
        IndexValue::Int(number) => Bson::Int32(*number),
    }
}

/// See [`super::super::DocumentStore::list`].
pub(super) async fn list(
    store: &MongoStore,
    query: Query,
    fields: &[&str],
) -> Result<Vec<StoredDocument>, StoreError> {
    let Some((filter, mut options)) = page(&query) else {
        return Ok(Vec::new());
    };
    if !fields.is_empty() {
        options.projection = Some(
            fields
                .iter()
                .map(|field| ((*field).to_owned(), Bson::from(1)))
                .collect(),
        );
    }
    fetch(
        store,
        query.collection,
        filter,
        options,
        store.settings.call_timeout,
    )
    .await
    .map_err(Fault::of_read)
}

/// See [`super::super::DocumentStore::count`]. Reads the index only.
pub(super) async fn count(store: &MongoStore, query: Query) -> Result<usize, StoreError> {
    let Some((filter, options)) = page(&query) else {
        return Ok(0);
    };
    let within = store.settings.call_timeout;
    let options = CountOptions::builder()
        .limit(options.limit.and_then(|limit| u64::try_from(limit).ok()))
        .hint(options.hint)
        .max_time(within)
        .build();
    let documents = store.database.collection::<StoredDocument>(query.collection);
    let counted = store.call(within, async move {
        documents.count_documents(filter).with_options(options).await
    });
    let counted = counted.await.map_err(Fault::of_read)?;
    Ok(usize::try_from(counted).unwrap_or(usize::MAX))
}

/// See [`super::super::DocumentStore::unpublished`].
///
/// Reads the majority: an event must not go out of a document that may yet be rolled back. Marks get
/// there a little later than they are answered, so the query waits for the last one of ours; without
/// that a sweep would find, and publish again, what was marked a moment ago.
///
/// Sorted by the server in memory: the sparse index holds only documents with events, which are few.
pub(super) async fn unpublished(
    store: &MongoStore,
    query: OutboxQuery,
) -> Result<Vec<StoredDocument>, StoreError> {
    let OutboxQuery {
        collection, limit, ..
    } = query;
    if limit == 0 {
        return Ok(Vec::new());
    }
    let within = store.settings.call_timeout;
    let options = FindOptions::builder()
        .hint(Hint::Keys(doc! { "outbox._id": 1 }))
        .sort(doc! { FIRST_EVENT: 1, "_id": 1 })
        .limit(i64::try_from(limit).unwrap_or(i64::MAX - 1))
        .read_concern(ReadConcern::majority())
        .max_time(within)
        .batch_size(u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX))
        .build();
    let marked = store.marked.last();
    let client = store.client.clone();
    let documents = store.database.collection::<StoredDocument>(collection);
    let found = store
        .call(within, async move {
            let mut session = client.start_session().await?;
            if let Some(marked) = marked {
                session.advance_cluster_time(&marked.cluster_time);
                session.advance_operation_time(marked.operation_time);
            }
            let mut cursor = documents
                .find(with_events(&query))
                .with_options(options)
                .session(&mut session)
                .await?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES && cursor.advance(&mut session).await? {
                bytes += cursor.current().as_bytes().len();
                found.push(cursor.current().to_owned().into());
            }
            Ok(found)
        })
        .await;
    // The time of a mark that a failover undid is nothing to wait for twice.
    found
        .inspect_err(|_| store.marked.forget())
        .map_err(Fault::of_read)
}

/// When the first event of an outbox happened.
const FIRST_EVENT: &str = "outbox.0.time";
/// A page of outboxes ends behind so many bytes: parked records are of several megabytes.
const PAGE_BYTES: usize = 16 * 1024 * 1024;

fn with_events(query: &OutboxQuery) -> Document {
    let date = |time: Moment| Bson::DateTime(DateTime::from_millis(time.0));
    let mut filter = doc! { "outbox._id": { "$exists": true } };
    if query.until < Moment(i64::MAX) {
        // Not "at most": a time that cannot be read is neither.
        filter.insert(
            "$nor",
            [doc! { FIRST_EVENT: { "$gt": date(query.until) } }].to_vec(),
        );
    }
    if let Some(OutboxPlace { time, id }) = query.after {
        let behind = doc! { "_id": { "$gt": binary(id) } };
        // What is no date stands before all dates.
        let or = if time == OutboxPlace::UNREADABLE {
            vec![doc! { FIRST_EVENT: { "$type": "date" } }, behind]
        } else {
            let same = doc! { FIRST_EVENT: date(time), "_id": { "$gt": binary(id) } };
            vec![doc! { FIRST_EVENT: { "$gt": date(time) } }, same]
        };
        filter.insert("$or", or);
    }
    filter
}

/// When, on the servers' clock, the last mark was made.
#[derive(Debug, Default)]
pub(super) struct Marked(Mutex<Option<ServerTime>>);

#[derive(Debug, Clone)]
struct ServerTime {
    operation_time: Timestamp,
    cluster_time: ClusterTime,
}

impl Marked {
    fn last(&self) -> Option<ServerTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps the latest time that answers of marks tell.
    fn take_from(&self, reply: &Document) {
        let cluster_time = reply
            .get_document("$clusterTime")
            .cloned()
            .map(deserialize_from_document);
        let (Ok(operation_time), Ok(Ok(cluster_time))) = (reply.get_timestamp("operationTime"), cluster_time)
        else {
            return;
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .as_ref()
            .is_none_or(|last| last.operation_time < operation_time)
        {
            *last = Some(ServerTime {
                operation_time,
                cluster_time,
            });
        }
    }
}

/// See [`super::super::DocumentStore::mark_published`].
pub(super) async fn mark_published(store: &MongoStore, marks: Vec<Mark>) -> Result<(), StoreError> {
    let mut by_collection: BTreeMap<&'static str, Vec<Mark>> = BTreeMap::new();
    for mark in marks {
        by_collection.entry(mark.key.collection).or_default().push(mark);
    }
    let within = store.settings.call_timeout;
    let calls = by_collection.iter().flat_map(|(collection, marks)| {
        marks.chunks(commands::MOST_WRITES).map(|marks| {
            let command = commands::forget_events(collection, marks);
            let database = store.database.clone();
            store.call(within, async move { database.run_raw_command(command).await })
        })
    });
    for reply in try_join_all(calls).await.map_err(Fault::of_write)? {
        store.marked.take_from(&reply);
        if let Some(reason) = commands::first_error(&reply) {
            return Err(StoreError::OutcomeUnknown(reason));
        }
    }
    Ok(())
}
