//! Makes the database fit, or says what is missing.
//!
//! Collections and indexes are created where they are not there and looked at afterwards, so that a
//! missing index is found at start and not as a slow query in the night. All of it may be repeated,
//! and by several instances at once.

use std::{collections::BTreeSet, time::Duration};

use futures_util::TryStreamExt;
use mongodb::{
    Database, IndexModel,
    bson::{Bson, Document, doc},
    error::{Error, ErrorKind},
    options::{Acknowledgment, IndexOptions, ReadConcern, WriteConcern},
};

use super::{
    super::{CollectionSettings, StoreError},
    MongoStore, commands,
    errors::Fault,
};

/// Building an index over a large collection takes its time; only `prepare` waits for so long.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);
/// The collection with the one document that names the schema.
const META: &str = "meta";
/// Its `_id`.
const SCHEMA: &str = "schema";
/// The schema this code reads and writes.
const SCHEMA_VERSION: i64 = 1;

/// See [`super::super::DocumentStore::prepare`].
pub(super) async fn prepare(
    store: &MongoStore,
    collections: Vec<CollectionSettings>,
) -> Result<(), StoreError> {
    store.probe().await?;
    let database = store.database.clone();
    let found = store
        .call(PREPARE_TIMEOUT, schema(database))
        .await
        .map_err(Fault::of_read)?;
    if found != Some(SCHEMA_VERSION) {
        let found = found.map_or("one without a number".to_owned(), |version| version.to_string());
        return Err(StoreError::Unfit(format!(
            "database {} has schema {found}, this program knows schema {SCHEMA_VERSION}: use the program \
             that made it, or another database",
            store.settings.database
        )));
    }
    let database = store.database.clone();
    let names: BTreeSet<String> = store
        .call(
            PREPARE_TIMEOUT,
            async move { database.list_collection_names().await },
        )
        .await
        .map_err(Fault::of_read)?
        .into_iter()
        .collect();
    for collection in collections {
        let there = names.contains(collection.name);
        let database = store.database.clone();
        let indexes = store
            .call(PREPARE_TIMEOUT, create(database, collection, there))
            .await
            .map_err(Fault::of_read)?;
        verify(collection, &indexes)?;
    }
    Ok(())
}

/// Whether a server that answers `hello` so can be used.
pub(super) fn fitness(hello: &Document) -> Result<(), StoreError> {
    let router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if !router && !hello.contains_key("setName") {
        return Err(StoreError::Unfit(
            "MongoDB runs without a replica set, which transactions need: start mongod with `--replSet rs0` \
             and run rs.initiate() once in its shell (one node is enough)"
                .into(),
        ));
    }
    if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Err(StoreError::Unavailable(
            "the server is not a writable primary".into(),
        ));
    }
    Ok(())
}

/// The schema of the database, which is ours if it has none yet; `None` if it cannot be told.
async fn schema(database: Database) -> Result<Option<i64>, Error> {
    let meta = database.collection::<Document>(META);
    let found = meta
        .find_one(doc! { "_id": SCHEMA })
        .read_concern(ReadConcern::majority())
        .await?;
    if let Some(found) = found {
        return Ok(found.get("version").and_then(commands::number));
    }
    // An upsert, so that two who prepare at once agree; what is there wins.
    let update = doc! { "$setOnInsert": { "version": SCHEMA_VERSION as i32 } };
    let by_id = doc! { "_id": SCHEMA };
    meta.update_one(by_id.clone(), update)
        .upsert(true)
        .write_concern(majority())
        .await?;
    let found = meta.find_one(by_id).read_concern(ReadConcern::majority()).await?;
    Ok(found
        .as_ref()
        .and_then(|found| found.get("version"))
        .and_then(commands::number))
}

/// Creates what is missing of a collection and answers what indexes it then has.
async fn create(
    database: Database,
    collection: CollectionSettings,
    there: bool,
) -> Result<Vec<IndexModel>, Error> {
    if !there {
        // Before the first transaction: not all servers create collections within one.
        match database
            .create_collection(collection.name)
            .write_concern(majority())
            .await
        {
            Ok(()) => {}
            // NamespaceExists: another instance was faster.
            Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == 48) => {
            }
            Err(error) => return Err(error),
        }
    }
    let handle = database.collection::<Document>(collection.name);
    let missing: Vec<IndexModel> = wanted(collection)
        .into_iter()
        .map(|(keys, sparse)| {
            let options = IndexOptions::builder().sparse(sparse.then_some(true)).build();
            IndexModel::builder().keys(keys).options(options).build()
        })
        .collect();
    // One by one: where another index stands in the place of one, the others are made all the same.
    for index in missing {
        match handle.create_index(index).write_concern(majority()).await {
            Ok(_) => {}
            // Found and named by `verify`, which says what to do.
            Err(error) if stands_in_place(&error) => {}
            Err(error) => return Err(error),
        }
    }
    handle.list_indexes().await?.try_collect().await
}

/// IndexOptionsConflict, IndexKeySpecsConflict.
fn stands_in_place(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if matches!(command.code, 85 | 86))
}

fn majority() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).build()
}

/// The indexes of a collection beside that over `_id`: their keys, and whether they are sparse.
fn wanted(collection: CollectionSettings) -> Vec<(Document, bool)> {
    let mut wanted = vec![(doc! { "outbox._id": 1 }, true)];
    for index in collection.indexes {
        let fields = index.fields.iter().copied().chain(["_id"]);
        wanted.push((
            fields.map(|field| (field.to_owned(), Bson::Int32(1))).collect(),
            false,
        ));
    }
    wanted
}

fn verify(collection: CollectionSettings, indexes: &[IndexModel]) -> Result<(), StoreError> {
    for (keys, sparse) in wanted(collection) {
        let fit = indexes.iter().any(|index| {
            let options = index.options.as_ref();
            let is_sparse = options.and_then(|options| options.sparse).unwrap_or(false);
            // One that leaves documents out, or that lets only one of a kind in, is another index.
            let special = options.is_some_and(|options| {
                options.partial_filter_expression.is_some() || options.unique == Some(true)
            });
            same_keys(&index.keys, &keys) && is_sparse == sparse && !special
        });
        if !fit {
            let kind = if sparse { "sparse index" } else { "index" };
            return Err(StoreError::Unfit(format!(
                "collection {} has no plain {kind} over {keys}; drop the one that stands in its place",
                collection.name
            )));
        }
    }
    Ok(())
}

/// The same fields in the same order, ascending; servers keep the direction as any kind of number.
fn same_keys(there: &Document, wanted: &Document) -> bool {
    let ascending = |keys: &Document| -> Vec<(String, bool)> {
        keys.iter()
            .map(|(field, way)| (field.clone(), commands::number(way) == Some(1)))
            .collect()
    };
    ascending(there) == ascending(wanted)
}
