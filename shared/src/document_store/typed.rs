//! Between a service's own documents and what the port stores: adds and reads the fields that
//! every stored document carries.

use mongodb::bson::{self, RawDocumentBuf, cstr, raw::RawBsonRef};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{CollectionSettings, DocumentKey, StoreError};
use crate::envelope::OutboxEvent;

/// A document of a service: its `_id` and its own fields, by serde.
pub trait Document: Serialize + DeserializeOwned + Clone + 'static {
    /// Where it lives and how it is searched.
    const COLLECTION: CollectionSettings;
    /// Its `_id`, which it serialises under that name.
    fn id(&self) -> Uuid;
}

/// The key of a document of this type.
pub fn key<D: Document>(id: impl Into<Uuid>) -> DocumentKey {
    DocumentKey {
        collection: D::COLLECTION.name,
        id: id.into(),
    }
}

/// A document as it stands in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<D> {
    /// The service's own part.
    pub document: D,
    /// 1 when inserted, one more with each replacement.
    pub version: i64,
    /// Events not yet known to be published.
    pub outbox: Vec<OutboxEvent>,
}

/// The whole document.
pub fn encode<D: Document>(
    document: &D,
    version: i64,
    commit_id: Uuid,
    outbox: &[OutboxEvent],
) -> Result<RawDocumentBuf, bson::error::Error> {
    let mut raw = bson::serialize_to_raw_document_buf(document)?;
    raw.append(cstr!("version"), version);
    let commit_id = bson::Binary::from(bson::Uuid::from_bytes(commit_id.into_bytes()));
    raw.append(cstr!("commitId"), bson::RawBson::Binary(commit_id));
    if !outbox.is_empty() {
        let mut events = bson::RawArrayBuf::new();
        for event in outbox {
            events.push(bson::serialize_to_raw_document_buf(event)?);
        }
        raw.append(cstr!("outbox"), events);
    }
    Ok(raw)
}

/// Reads the whole document.
pub fn decode<D: Document>(raw: &RawDocumentBuf) -> Result<Stored<D>, StoreError> {
    let (version, outbox) = outbox(raw)?;
    let document = bson::deserialize_from_slice(raw.as_bytes()).map_err(|error| unfit(raw, &error))?;
    Ok(Stored {
        document,
        version,
        outbox,
    })
}

/// Reads only what every document has.
pub fn outbox(raw: &RawDocumentBuf) -> Result<(i64, Vec<OutboxEvent>), StoreError> {
    let version = raw.get_i64("version").map_err(|error| unfit(raw, &error))?;
    let mut events = Vec::new();
    if let Some(RawBsonRef::Array(entries)) = raw.get("outbox").map_err(|error| unfit(raw, &error))? {
        for entry in entries {
            let entry = entry.map_err(|error| unfit(raw, &error))?;
            let entry = entry
                .as_document()
                .ok_or_else(|| unfit(raw, &"an outbox entry is no document"))?;
            let event = bson::deserialize_from_slice(entry.as_bytes()).map_err(|error| unfit(raw, &error))?;
            events.push(event);
        }
    }
    Ok((version, events))
}

/// The document with its outbox emptied, as a mark does it.
pub fn without_outbox(raw: &RawDocumentBuf) -> Result<RawDocumentBuf, StoreError> {
    let mut without = RawDocumentBuf::new();
    for field in raw {
        let (name, value) = field.map_err(|error| unfit(raw, &error))?;
        if name != "outbox" {
            without.append(name, value);
        }
    }
    Ok(without)
}

/// The `_id` of a stored document.
pub fn id(raw: &RawDocumentBuf) -> Result<Uuid, StoreError> {
    let id = raw.get("_id").map_err(|error| unfit(raw, &error))?;
    let id = id
        .and_then(|id| id.as_binary())
        .and_then(|binary| Uuid::from_slice(binary.bytes).ok());
    id.ok_or_else(|| unfit(raw, &"its _id is no UUID"))
}

fn unfit(raw: &RawDocumentBuf, error: &dyn std::fmt::Display) -> StoreError {
    let id = raw
        .get("_id")
        .ok()
        .flatten()
        .map(|id| format!("{id:?}"))
        .unwrap_or_default();
    StoreError::Unfit(format!("the document {id} cannot be read: {error}"))
}
