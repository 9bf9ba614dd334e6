//! Between a service's own documents and what the port stores: adds and reads the fields that
//! every stored document carries.

use mongodb::bson::{
    self, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, raw::RawBsonRef, spec::BinarySubtype,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{CollectionSettings, DocumentKey, OutboxPlace, StoreError, Write};
use crate::{contracts::EventId, envelope::OutboxEvent, environment::Timestamp};

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

/// Where a document stands among those with events.
pub fn outbox_place(raw: &RawDocument) -> Option<OutboxPlace> {
    let first = raw.get_array("outbox").ok()?.into_iter().next()?;
    let time = first
        .ok()
        .and_then(|entry| entry.as_document()?.get_datetime("time").ok())
        .map_or(OutboxPlace::UNREADABLE, |time| Timestamp(time.timestamp_millis()));
    let id = uuid(raw.get("_id").ok()??)?;
    Some(OutboxPlace { time, id })
}

/// The document without some events of its outbox, as a mark leaves it; `None` where it has none of
/// them. An outbox that becomes empty is absent.
pub fn without_events(
    raw: &RawDocument,
    which: impl Fn(EventId) -> bool,
) -> Result<Option<RawDocumentBuf>, StoreError> {
    let Some(RawBsonRef::Array(entries)) = raw.get("outbox").map_err(|error| unfit(raw, &error))? else {
        return Ok(None);
    };
    let (mut left, mut kept, mut gone) = (RawArrayBuf::new(), 0, 0);
    for entry in entries {
        let entry = entry.map_err(|error| unfit(raw, &error))?;
        if event_id(entry).is_some_and(&which) {
            gone += 1;
        } else {
            left.push(entry);
            kept += 1;
        }
    }
    if gone == 0 {
        return Ok(None);
    }
    let mut without = RawDocumentBuf::new();
    for field in raw {
        let (name, value) = field.map_err(|error| unfit(raw, &error))?;
        if name.as_str() != "outbox" {
            without.append(name, value);
        }
    }
    if kept > 0 {
        without.append(cstr!("outbox"), left);
    }
    Ok(Some(without))
}

/// The document of a replacement as it is to be stored in place of `stored`; `None` where that is the
/// document as it is. See [`Write::carried`].
pub fn carried_over(write: &Write, stored: &RawDocument) -> Result<Option<RawDocumentBuf>, StoreError> {
    if write.carried.is_empty() {
        return Ok(None);
    }
    let mut there = Vec::new();
    if let Some(RawBsonRef::Array(entries)) = stored.get("outbox").map_err(|error| unfit(stored, &error))? {
        there.extend(entries.into_iter().flatten().filter_map(event_id));
    }
    let marked = |event: EventId| write.carried.contains(&event) && !there.contains(&event);
    without_events(&write.document, marked)
}

fn event_id(entry: RawBsonRef<'_>) -> Option<EventId> {
    uuid(entry.as_document()?.get("_id").ok()??).map(EventId)
}

fn uuid(value: RawBsonRef<'_>) -> Option<Uuid> {
    let binary = value.as_binary()?;
    let is_uuid = binary.subtype == BinarySubtype::Uuid;
    Uuid::from_slice(binary.bytes).ok().filter(|_| is_uuid)
}

/// The `_id` of a stored document.
pub fn id(raw: &RawDocumentBuf) -> Result<Uuid, StoreError> {
    let id = raw.get("_id").map_err(|error| unfit(raw, &error))?;
    let id = id
        .and_then(|id| id.as_binary())
        .and_then(|binary| Uuid::from_slice(binary.bytes).ok());
    id.ok_or_else(|| unfit(raw, &"its _id is no UUID"))
}

fn unfit(raw: &RawDocument, error: &dyn std::fmt::Display) -> StoreError {
    let id = raw
        .get("_id")
        .ok()
        .flatten()
        .map(|id| format!("{id:?}"))
        .unwrap_or_default();
    StoreError::Unfit(format!("the document {id} cannot be read: {error}"))
}
