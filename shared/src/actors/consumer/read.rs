//! Reads a record as far as the consumer has to know it: for whom it is, and whose order it keeps.

use super::{
    lanes::InOrder,
    routes::{Addressed, HandlerError, Routes, Traces},
};
use crate::{
    envelope::Received,
    event_log::{Assignment, ConsumedRecord},
    parking::{ContentId, KeyId, LaneId, ParkedId, usable},
};

/// A record in the hands of the consumer.
pub struct Item {
    pub record: ConsumedRecord,
    lane: LaneId,
    key: KeyId,
    /// Taken when it is handed over.
    pub event: Option<Box<dyn Addressed>>,
}

/// For whom a record is.
pub enum Content {
    /// One of our handlers.
    Event(Box<dyn Addressed>),
    /// Nobody here.
    Nobody(Skipped),
    /// It cannot be read.
    Unreadable(HandlerError, Traces),
}

/// Why a record is meant for nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// An event of these contracts, which this service does not handle.
    NotHandled,
    /// An event of another name.
    UnknownName,
    /// A record without a value. Compacted topics and change-data captures have them.
    Tombstone,
}

impl Skipped {
    /// As the metric calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Skipped::NotHandled => "not-handled",
            Skipped::UnknownName => "unknown-name",
            Skipped::Tombstone => "tombstone",
        }
    }
}

/// Reads for whom a record is.
pub fn content(routes: &Routes, record: &ConsumedRecord) -> Content {
    if record.value.is_none() {
        return Content::Nobody(Skipped::Tombstone);
    }
    let received = match Received::read(record) {
        Ok(received) => received,
        Err(error) => {
            let poison = HandlerError::Poison {
                code: "malformed-envelope",
                message: error.to_string(),
            };
            return Content::Unreadable(poison, Traces::of_headers(record));
        }
    };
    let Some(route) = routes.get(&received.name) else {
        if routes.knows(&received.name) {
            return Content::Nobody(Skipped::NotHandled);
        }
        log::warn!(target: "KafkaConsumerActor", event_id = received.event_id.as_str(),
            event = received.name.as_str(); "skipped: an event of this name is not known here");
        return Content::Nobody(Skipped::UnknownName);
    };
    let traces = Traces::of(&received);
    match route.read(received) {
        Ok(event) => Content::Event(event),
        Err(error) => {
            let poison = HandlerError::Poison {
                code: "malformed-event",
                message: error.to_string(),
            };
            Content::Unreadable(poison, traces)
        }
    }
}

/// What log lines say of a record, wherever it can be read.
pub fn traces(routes: &Routes, record: &ConsumedRecord) -> Traces {
    match content(routes, record) {
        Content::Event(event) => event.traces(),
        Content::Unreadable(_, traces) => traces,
        Content::Nobody(_) => Traces::default(),
    }
}

impl Item {
    /// A record, with its event if it is one for a handler.
    pub fn new(record: ConsumedRecord, event: Option<Box<dyn Addressed>>) -> Item {
        let position = &record.position;
        let subject = event.as_ref().and_then(|event| event.subject());
        let lane = match subject {
            Some(subject) => LaneId::of(&position.topic, position.partition, subject),
            None => LaneId::alone(position),
        };
        let key = match usable(record.key.as_deref()) {
            Some(key) => KeyId::of(&position.topic, key),
            // Without a key a record stands in the order of its partition.
            None => KeyId(LaneId::of(&position.topic, position.partition, uuid::Uuid::nil()).0),
        };
        Item {
            record,
            lane,
            key,
            event,
        }
    }
}

impl InOrder for Item {
    fn key(&self) -> KeyId {
        self.key
    }

    fn lane(&self) -> LaneId {
        self.lane
    }

    fn assignment(&self) -> Assignment {
        self.record.assignment()
    }

    fn content_id(&self) -> ContentId {
        ContentId::of(&self.record)
    }

    fn bytes(&self) -> usize {
        self.record.bytes()
    }

    fn parked_id(&self) -> ParkedId {
        let position = &self.record.position;
        ParkedId::of(&position.topic, position.partition, position.offset)
    }
}
