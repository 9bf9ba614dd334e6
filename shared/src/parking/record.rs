//! The document of a parked record.

use bson::{Binary, Bson, spec::BinarySubtype};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use uuid::Uuid;

use super::{ContentId, JobId, KeyId, LaneId, ParkedId};
use crate::{
    document_store::{CollectionSettings, Document, Index, IndexValue, numbers},
    environment::Timestamp,
    event_log::{ConsumedRecord, Header, HeaderName, Position},
};

/// A record that was taken from the log and is not handled yet, or only later was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedRecord {
    /// Made of topic, partition and offset.
    #[serde(rename = "_id")]
    pub id: ParkedId,
    /// The records that wait for one another. Earlier versions had one lane for each key.
    pub lane: LaneId,
    /// The records of its key; none without a key, and in documents of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// How it stands.
    pub state: ParkedState,
    /// Where it stood.
    pub topic: String,
    /// Where it stood.
    #[serde(deserialize_with = "numbers::whole")]
    pub partition: i32,
    /// Where it stood.
    #[serde(deserialize_with = "numbers::whole")]
    pub offset: i64,
    /// As it came.
    pub key: Option<Binary>,
    /// As it came.
    pub value: Option<Binary>,
    /// As they came.
    pub headers: Vec<ParkedHeader>,
    /// What it says. None where the version before has parked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentId>,
    /// A stable word for why it failed last; none as long as it only stands behind another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was tried.
    #[serde(deserialize_with = "numbers::whole")]
    pub attempts: i32,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it is tried again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Since when a handler has it; none when no attempt is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_since: Option<Timestamp>,
    /// What an operator asked for and nobody has carried out yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The job that asked for its replay last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The value that an operator put in place of [`ParkedRecord::value`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Binary>,
    /// What happened to it, oldest first.
    pub history: Vec<Entry>,
}

/// A header as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedHeader {
    /// Its name: text, or bytes where it is not UTF-8.
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub name: HeaderName,
    /// Its value.
    pub value: Option<Binary>,
}

/// How a parked record stands. Numbers are what documents hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParkedState {
    /// Stands behind another of its lane; never failed itself.
    Waiting = 0,
    /// Failed, and is tried again by itself.
    Retrying = 1,
    /// Failed for good; waits for an operator.
    Parked = 2,
    /// An operator has decided; the owner of its partition carries it out.
    Requested = 3,
    /// Handled after all.
    Done = 4,
    /// Given up by an operator.
    Discarded = 5,
}

impl ParkedState {
    /// All of them.
    pub const ALL: [ParkedState; 6] = [
        ParkedState::Waiting,
        ParkedState::Retrying,
        ParkedState::Parked,
        ParkedState::Requested,
        ParkedState::Done,
        ParkedState::Discarded,
    ];

    /// Those in which it is not handled yet: later records of its lane stand behind it.
    pub const OPEN: [ParkedState; 4] = [
        ParkedState::Waiting,
        ParkedState::Retrying,
        ParkedState::Parked,
        ParkedState::Requested,
    ];

    /// Whether it is not handled yet.
    pub fn is_open(self) -> bool {
        Self::OPEN.contains(&self)
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ParkedState::Waiting => "waiting",
            ParkedState::Retrying => "retrying",
            ParkedState::Parked => "parked",
            ParkedState::Requested => "requested",
            ParkedState::Done => "done",
            ParkedState::Discarded => "discarded",
        }
    }

    /// From how people write it.
    pub fn parse(text: &str) -> Option<ParkedState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
    }

    /// To search an index by.
    pub fn index_value(self) -> IndexValue {
        IndexValue::Int(self as i32)
    }
}

impl Serialize for ParkedState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(*self as i32)
    }
}

impl<'de> Deserialize<'de> for ParkedState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ParkedState, D::Error> {
        let number: i32 = numbers::whole(deserializer)?;
        let known = Self::ALL.into_iter().find(|state| *state as i32 == number);
        known.ok_or_else(|| D::Error::custom(format!("{number} is no state of a parked record")))
    }
}

/// What an operator wants done with a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Handle it now.
    Replay,
    /// Handle it with this value now; the old one is kept.
    Edit {
        /// The value of the record, as text.
        value: String,
    },
    /// Never handle it.
    Discard {
        /// Why.
        why: String,
    },
}

/// What happened to a parked record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Verb,
    /// Particulars: the error, the reason of an operator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The request behind it: leads to its log lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// What can happen to a parked record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// It was parked behind another.
    Parked,
    /// It failed.
    Failed,
    /// An operator asked for a replay.
    ReplayRequested,
    /// An operator put another value in its place.
    Edited,
    /// An operator asked to give it up.
    DiscardRequested,
    /// It was handled.
    Handled,
    /// It was given up.
    Discarded,
}

impl Document for ParkedRecord {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "parked",
        indexes: &[
            Index {
                fields: &["lane", "state"],
            },
            Index {
                fields: &["keyId", "state"],
            },
            Index {
                fields: &["partition", "state"],
            },
            Index { fields: &["state"] },
            Index {
                fields: &["job", "state"],
            },
        ],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl ParkedRecord {
    /// The record as it is to be handled: as it came, or with the operator's value.
    pub fn to_handle(&self) -> ConsumedRecord {
        let came = self.as_it_came();
        ConsumedRecord {
            value: self
                .edited
                .as_ref()
                .map(|edited| edited.bytes.clone())
                .or(came.value),
            ..came
        }
    }

    /// The record as it stood in the log.
    pub fn as_it_came(&self) -> ConsumedRecord {
        let bytes = |binary: &Option<Binary>| binary.as_ref().map(|binary| binary.bytes.clone());
        let header = |header: &ParkedHeader| Header {
            name: header.name.clone(),
            value: bytes(&header.value),
        };
        ConsumedRecord {
            position: Position {
                topic: self.topic.as_str().into(),
                partition: self.partition,
                offset: self.offset,
            },
            generation: 0,
            key: bytes(&self.key),
            value: bytes(&self.value),
            headers: self.headers.iter().map(header).collect(),
        }
    }
}

fn write_name<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    match name.as_str() {
        Some(text) => serializer.serialize_str(text),
        None => binary(name.as_bytes()).serialize(serializer),
    }
}

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    match Bson::deserialize(deserializer)? {
        Bson::String(text) => Ok(text.into()),
        Bson::Binary(binary) => Ok(binary.bytes.into()),
        other => Err(D::Error::custom(format!("{other} is no name of a header"))),
    }
}

/// Bytes, as documents hold them.
pub(super) fn binary(bytes: impl Into<Vec<u8>>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{
        deserialize_from_document as from_document, deserialize_from_slice, doc,
        serialize_to_document as to_document, serialize_to_vec,
    };

    use super::*;

    #[test]
    fn a_header_name_of_any_bytes_is_kept_and_documents_with_text_stay_readable() {
        let old = doc! { "name": "ce_id", "value": Bson::Null };
        let text = ParkedHeader {
            name: "ce_id".into(),
            value: None,
        };
        assert_eq!(from_document::<ParkedHeader>(old.clone()).unwrap(), text);
        assert_eq!(to_document(&text).unwrap(), old);

        let odd = ParkedHeader {
            name: vec![0xFF, 0, b'a'].into(),
            value: Some(binary(*b"value")),
        };
        assert_eq!(
            to_document(&odd).unwrap().get("name"),
            Some(&Bson::Binary(binary([0xFF, 0, b'a'])))
        );
        assert_eq!(
            deserialize_from_slice::<ParkedHeader>(&serialize_to_vec(&odd).unwrap()).unwrap(),
            odd
        );
    }
}
