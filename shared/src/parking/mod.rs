//! What becomes of a record that cannot be handled: it is parked, and so are the later ones of its
//! key, in order, until it can be, or until an operator decides.
//!
//! Promise: a failure stops its own key and nothing else. A parked record is a document of the
//! service's own database, with everything that stood in the log, so the offset may advance. Its
//! id is a function of where it stood: parked twice, it is parked once.
//!
//! The records of a key that are open (see [`ParkedState::OPEN`]) are its *lane*. The consumer that
//! owns the partition works a lane off from its head; when nothing is left in it, the key joins
//! the live stream. What an operator asks for is written into the record, by whichever instance was
//! asked, and carried out by that owner.
//!
//! - [`record`](ParkedRecord): the document
//! - [`rules`](decide): what may happen to it, pure

use std::time::Duration;

use uuid::Uuid;

use crate::{
    contracts::id,
    event_log::{ConsumedRecord, Offset, Partition},
};

mod record;
mod rules;

pub use record::{Entry, ParkedHeader, ParkedRecord, ParkedState, Request, Verb};
pub use rules::{Change, Due, NewParked, Refusal, decide, due};

id!(
    /// A parked record: made of where it stood, so that the order of ids is that of offsets.
    ParkedId
);

id!(
    /// The records of a key; a record without a key is one of its own.
    LaneId
);

impl ParkedId {
    /// The record of this place. Laid out as a UUID of version 8: 48 bits of the topic's hash, 18 of
    /// the partition, 56 of the offset.
    pub fn of(topic: &str, partition: Partition, offset: Offset) -> ParkedId {
        let topic = Uuid::new_v5(&NAMESPACE, topic.as_bytes()).as_u128() >> 80;
        let partition = u128::from(partition.cast_unsigned() & 0x3_ffff);
        let offset = u128::from(offset.cast_unsigned() & 0xff_ffff_ffff_ffff);
        let (high, low) = (partition >> 6, partition & 0x3f);
        ParkedId(Uuid::from_u128(
            topic << 80 | 0x8 << 76 | high << 64 | 0b10 << 62 | low << 56 | offset,
        ))
    }
}

/// Makes these ids differ from other name-based ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x2d1c_71a0_93b4_4f5e_8f5a_0c67_52f1_9be3);

impl LaneId {
    /// The lane of a key.
    pub fn of_key(topic: &str, key: &[u8]) -> LaneId {
        LaneId(Uuid::new_v5(&NAMESPACE, &[topic.as_bytes(), &[0], key].concat()))
    }

    /// The lane in which a record is parked: that of its key, or one of its own.
    pub fn of(record: &ConsumedRecord) -> LaneId {
        let position = &record.position;
        match usable(record.key.as_deref()) {
            Some(key) => LaneId::of_key(&position.topic, key),
            None => LaneId(ParkedId::of(&position.topic, position.partition, position.offset).0),
        }
    }

    /// Whether it is that of a record without a key: nothing can stand behind that.
    pub fn is_alone(self) -> bool {
        self.0.get_version_num() == 8
    }
}

/// A key that says to whom a record belongs.
pub fn usable(key: Option<&[u8]>) -> Option<&[u8]> {
    key.filter(|key| !key.is_empty())
}

/// Why a record could not be handled, and what that means for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whether and when it is tried again.
    pub fate: Fate,
    /// A stable word.
    pub reason: String,
    /// What went wrong.
    pub error: String,
}

/// No pause before a record is tried again is longer, but for its jitter.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again after this pause.
    Retry(Duration),
    /// It waits for an operator.
    Final,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_the_log_and_are_uuids_of_version_8() {
        let places = [(0, 0), (0, 1), (0, 1 << 40), (1, 0), (63, 9), (64, 9), (9_999, 7)];
        let ids = places.map(|(partition, offset)| ParkedId::of("topic", partition, offset));
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        assert!(ids.iter().all(|id| id.0.get_version_num() == 8), "{ids:?}");
        assert_ne!(ParkedId::of("other", 0, 0), ids[0]);
    }
}
