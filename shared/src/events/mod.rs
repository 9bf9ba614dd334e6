//! What services tell each other: events, their ids, and what they are about.
//!
//! A contract is a type with [`Event`]: read tolerantly, written exactly. Ids and closed lists of words
//! are made with [`id!`](crate::id) and [`words!`](crate::words).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::MapAccess, ser::SerializeMap};
use uuid::Uuid;

use crate::{
    document_store::BinaryUuid,
    json::{FieldError, Fields, Malformed},
};

mod words;

/// What an event says. Its JSON (`eventData`) is written by [`Serialize`]: field names and order
/// are the contract, held by golden files.
pub trait Event: Serialize + Send + Sized + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// Reads `eventData`: names in any case, unknown fields ignored, missing extras tolerated.
    fn read(fields: Fields<'_>) -> Result<Self, Vec<FieldError>>;
    /// The ids of what it is about. The first is the key of its record, the last its subject: the
    /// aggregate whose state it moves. Later events of the same subject wait behind one that has
    /// failed; others do not.
    fn about(&self) -> About;
}

/// A type of events as a value: for whoever looks at every event of a list and needs no line for each.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    /// Its name on the wire.
    pub name: &'static str,
    about: fn(&str) -> Result<About, EventError>,
}

impl EventType {
    /// That of these events.
    pub const fn of<E: Event>() -> EventType {
        EventType {
            name: E::NAME,
            about: |data| read::<E>(data).map(|event| event.about()),
        }
    }

    /// The one of this name.
    pub fn named<'a>(types: &'a [EventType], name: &str) -> Option<&'a EventType> {
        types.iter().find(|known| known.name == name)
    }

    /// Reads `eventData`, as [`Event::read`] does, and says what the event is about.
    pub fn about(&self, data: &str) -> Result<About, EventError> {
        (self.about)(data)
    }
}

/// Ids of what an event is about, from the widest to the narrowest, each with the name that log lines
/// have for it, such as `parcel_id`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About(Vec<(Cow<'static, str>, Uuid)>);

impl About {
    /// This id, and so on.
    pub fn with(mut self, name: &'static str, id: impl Into<Uuid>) -> About {
        self.0.push((Cow::Borrowed(name), id.into()));
        self
    }

    /// This id, where the event says it.
    pub fn with_some(self, name: &'static str, id: Option<impl Into<Uuid>>) -> About {
        match id {
            Some(id) => self.with(name, id),
            None => self,
        }
    }

    /// Whom it is about; the key of the record.
    pub fn key(&self) -> Option<Uuid> {
        self.0.first().map(|(_, id)| *id)
    }

    /// The aggregate whose state it moves.
    pub fn subject(&self) -> Option<Uuid> {
        self.0.last().map(|(_, id)| *id)
    }

    /// Names and ids, the narrowest first, as log lines have them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Uuid)> {
        self.0.iter().rev().map(|(name, id)| (&**name, id))
    }
}

impl Serialize for About {
    /// A field for each id, named as fields of documents are: `parcelId`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, id) in &self.0 {
            map.serialize_entry(&camel_case(name), &BinaryUuid::from_bytes(id.into_bytes()))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for About {
    /// Every field that is a binary UUID, in their order. Others are somebody else's, a UUID that is
    /// text (a correlation id) as well.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<About, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = About;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the ids of an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<About, A::Error> {
                let mut about = About::default();
                while let Some((name, field)) = map.next_entry::<String, bson::Bson>()? {
                    if let bson::Bson::Binary(field) = field
                        && let Ok(id) = field.to_uuid()
                    {
                        let id = Uuid::from_bytes(id.bytes());
                        about.0.push((Cow::Owned(snake_case(&name)), id));
                    }
                }
                Ok(about)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 2);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

crate::id!(
    /// An event: a function of what it is about, so an event announced again has the same.
    EventId
);

impl EventId {
    /// Makes ids of this system differ from other name-based ids.
    const NAMESPACE: Uuid = Uuid::from_u128(0x8e3c_5a1e_5f0b_4c5e_9d57_6b1f_0f3a_2c41);

    /// The id of the event that this aggregate announces at this version.
    pub fn of(aggregate: impl Into<Uuid>, name: &str, version: i64) -> EventId {
        let about = format!("{}/{name}/{version}", aggregate.into());
        EventId(Uuid::new_v5(&Self::NAMESPACE, about.as_bytes()))
    }
}

/// Why `eventData` is not the event that its name promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// No JSON object.
    #[error("eventData {0}")]
    Malformed(#[from] Malformed),
    /// An object with wrong fields.
    #[error("eventData: {}", list(.0))]
    Fields(Vec<FieldError>),
}

fn list(errors: &[FieldError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Reads the event of a type from its `eventData`.
pub fn read<E: Event>(data: &str) -> Result<E, EventError> {
    E::read(Fields::parse(data.as_bytes())?).map_err(EventError::Fields)
}

/// The topic of what could not be handled, beside a topic.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_announced_again_has_the_same_id() {
        let of = |version| EventId::of(Uuid::from_u128(1), "ParcelCreated", version);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1).to_string(), "bb48b297-eb5b-58d4-bf1c-539602390680");
    }

    #[test]
    fn what_an_event_is_about_is_stored_in_its_order_beside_fields_of_others() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Stored {
            name: String,
            #[serde(flatten)]
            about: About,
            #[serde(flatten)]
            others: Others,
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Others {
            note: String,
        }
        let about = About::default()
            .with("house_id", Uuid::from_u128(1))
            .with_some("none_id", None::<Uuid>)
            .with("parcel_id", Uuid::from_u128(2));
        let stored = Stored {
            name: "n".into(),
            about,
            // As a correlation id may be.
            others: Others {
                note: Uuid::from_u128(3).to_string(),
            },
        };
        let bytes = bson::serialize_to_vec(&stored).unwrap();
        let document: bson::Document = bson::deserialize_from_slice(&bytes).unwrap();
        let names: Vec<_> = document.keys().map(String::as_str).collect();
        assert_eq!(names, ["name", "houseId", "parcelId", "note"]);
        let read: Stored = bson::deserialize_from_slice(&bytes).unwrap();
        assert_eq!(read, stored);
        assert_eq!(read.about.key(), Some(Uuid::from_u128(1)));
        assert_eq!(read.about.subject(), Some(Uuid::from_u128(2)));
        let fields: Vec<_> = read.about.fields().map(|(name, _)| name).collect();
        assert_eq!(fields, ["parcel_id", "house_id"]);
    }
}
