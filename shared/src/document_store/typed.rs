//! Between a service's own documents and what the port stores: adds and reads the fields that
//! every stored document carries.

use bson::{self, RawArrayBuf, RawDocument, RawDocumentBuf, cstr, raw::RawBsonRef, spec::BinarySubtype};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};
use uuid::Uuid;

use super::{CollectionSettings, DocumentKey, OutboxPlace, StoreError, StoredDocument, Write, numbers};
use crate::{envelope::OutboxEvent, environment::Timestamp, events::EventId};

/// A document of a service: its `_id` and its own fields, by serde; a struct without
/// `#[serde(flatten)]`, so that its field names can be told from those that others add.
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
    /// Fields that this program does not know: of a later version of it, or of people. They stay
    /// through every rewrite. Only whole top-level fields do: what is inside a field of ours (a
    /// context, an event of the outbox) is ours alone and is written anew.
    pub unknown: StoredDocument,
}

/// Fields that the port adds to every document.
const OF_THE_PORT: [&str; 3] = ["version", "commitId", "outbox"];

/// The whole document, made anew.
pub fn encode<D: Document>(
    document: &D,
    version: i64,
    commit_id: Uuid,
    outbox: &[OutboxEvent],
) -> Result<StoredDocument, bson::error::Error> {
    encode_beside(&StoredDocument::default(), document, version, commit_id, outbox)
}

/// The whole document, with the fields that others have added to it ([`Stored::unknown`]).
pub fn encode_beside<D: Document>(
    unknown: &StoredDocument,
    document: &D,
    version: i64,
    commit_id: Uuid,
    outbox: &[OutboxEvent],
) -> Result<StoredDocument, bson::error::Error> {
    let mut raw = bson::serialize_to_raw_document_buf(document)?;
    for field in &**unknown {
        let (name, value) = field?;
        raw.append(name, value);
    }
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
    Ok(raw.into())
}

/// Reads the whole document.
pub fn decode<D: Document>(raw: &RawDocumentBuf) -> Result<Stored<D>, StoreError> {
    let (version, outbox) = outbox(raw)?;
    let document = bson::deserialize_from_slice(raw.as_bytes()).map_err(|error| unfit(raw, &error))?;
    Ok(Stored {
        document,
        version,
        outbox,
        unknown: unknown::<D>(raw)?.into(),
    })
}

/// The fields that are neither of the document's type nor of the port.
fn unknown<D: Document>(raw: &RawDocumentBuf) -> Result<RawDocumentBuf, StoreError> {
    let known = field_names::<D>();
    let mut unknown = RawDocumentBuf::new();
    for field in raw {
        let (name, value) = field.map_err(|error| unfit(raw, &error))?;
        // `None` and a missing field are the same to a type, so what it does not write is its own, too.
        if !known.contains(&name.as_str()) && !OF_THE_PORT.contains(&name.as_str()) {
            unknown.append(name, value);
        }
    }
    Ok(unknown)
}

/// The names under which a struct reads its fields, those that it may leave out included.
fn field_names<D: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    let asked = D::deserialize(FieldNames(&mut names));
    debug_assert!(asked.is_err(), "nothing can be read from what holds nothing");
    names
}

/// Notes the names that a struct asks for, and gives it nothing.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(Self::Error::custom("only its names were asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("a document is a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Reads only what every document has.
pub fn outbox(raw: &RawDocumentBuf) -> Result<(i64, Vec<OutboxEvent>), StoreError> {
    let version = raw.get("version").map_err(|error| unfit(raw, &error))?;
    let version = version
        .ok_or_else(|| "it is missing".to_owned())
        .and_then(numbers::whole_of)
        .map_err(|error| unfit(raw, &format!("the field version: {error}")))?;
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
) -> Result<Option<StoredDocument>, StoreError> {
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
    Ok(Some(without.into()))
}

/// The document of a replacement as it is to be stored in place of `stored`; `None` where that is the
/// document as it is. See [`Write::carried`].
pub fn carried_over(write: &Write, stored: &RawDocument) -> Result<Option<StoredDocument>, StoreError> {
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
pub fn id(raw: &StoredDocument) -> Result<Uuid, StoreError> {
    uuid_of(raw).ok_or_else(|| unfit(raw, &"its _id is no UUID"))
}

fn uuid_of(raw: &RawDocument) -> Option<Uuid> {
    let binary = raw.get("_id").ok()??.as_binary()?;
    Uuid::from_slice(binary.bytes).ok()
}

/// The `_id` of a document that may be of anybody, for people.
pub(crate) fn id_as_text(raw: &RawDocument) -> String {
    match (uuid_of(raw), raw.get("_id")) {
        (Some(id), _) => id.to_string(),
        (None, Ok(Some(id))) => format!("{id:?}"),
        (None, _) => "without an _id".to_owned(),
    }
}

fn unfit(raw: &RawDocument, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unfit(format!(
        "the document {} cannot be read: {error}",
        id_as_text(raw)
    ))
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};
    use serde::Deserialize;

    use super::*;
    use crate::money::Money;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Account {
        #[serde(rename = "_id")]
        id: bson::Uuid,
        load_limit: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    impl Document for Account {
        const COLLECTION: CollectionSettings = CollectionSettings {
            name: "accounts",
            indexes: &[],
        };
        fn id(&self) -> Uuid {
            Uuid::from_bytes(self.id.bytes())
        }
    }

    fn account(note: Option<&str>) -> Account {
        Account {
            id: bson::Uuid::from_bytes([7; 16]),
            load_limit: Money::units(1000),
            note: note.map(Into::into),
        }
    }

    /// As a tool leaves it that sets some fields.
    fn set(account: &Account, fields: bson::Document) -> RawDocumentBuf {
        let raw = encode(account, 3, Uuid::nil(), &[]).unwrap();
        let mut document: bson::Document = bson::deserialize_from_slice(raw.as_bytes()).unwrap();
        document.extend(fields);
        RawDocumentBuf::try_from(&document).unwrap()
    }

    #[test]
    fn a_version_is_read_in_every_type_that_tools_write() {
        for version in [
            Bson::Int32(3),
            Bson::Int64(3),
            Bson::Double(3.0),
            Bson::Decimal128("3".parse().unwrap()),
            Bson::String("3".into()),
        ] {
            let stored = decode::<Account>(&set(&account(None), doc! { "version": version.clone() }));
            assert_eq!(stored.map(|stored| stored.version), Ok(3), "{version:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_which_document_and_why() {
        for (fields, why) in [
            (doc! { "version": 2.5 }, "version"),
            (doc! { "loadLimit": 0.1 + 0.2 }, "is not an exact number"),
            (doc! { "loadLimit": true }, "a number is expected"),
        ] {
            let error = decode::<Account>(&set(&account(None), fields))
                .unwrap_err()
                .to_string();
            let id = Uuid::from_bytes([7; 16]).to_string();
            assert!(error.contains(&id) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn fields_that_are_not_known_stay_through_a_rewrite() {
        let added = doc! { "segment": "gold", "tags": ["a", { "b": 1 }], "rating": 4.5 };
        let stored = decode::<Account>(&set(&account(None), added.clone())).unwrap();
        let changed = Account {
            load_limit: Money::units(5),
            ..stored.document
        };
        let raw = encode_beside(&stored.unknown, &changed, 4, Uuid::nil(), &[]).unwrap();
        let document: bson::Document = bson::deserialize_from_slice(raw.as_bytes()).unwrap();
        for (name, value) in &added {
            assert_eq!(document.get(name), Some(value));
        }
        let again = decode::<Account>(&raw).unwrap();
        assert_eq!((again.document, again.version), (changed, 4));
    }

    #[test]
    fn a_field_that_a_change_removes_does_not_come_back() {
        for fields in [doc! {}, doc! { "note": Bson::Null }] {
            let stored = decode::<Account>(&set(&account(Some("old")), fields)).unwrap();
            let raw = encode_beside(&stored.unknown, &account(None), 4, Uuid::nil(), &[]).unwrap();
            assert!(raw.get("note").unwrap().is_none());
        }
    }
}
