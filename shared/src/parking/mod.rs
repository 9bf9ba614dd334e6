//! What becomes of a record that cannot be handled: it is parked until it can be, or until an
//! operator decides. Later events of the same subject are parked behind it, in order.
//!
//! Promise: a failure stops its own subject and nothing else. The subject of an event is the
//! aggregate whose state it moves. A record that cannot be
//! read has no subject and is parked alone. A parked record is a document of the service's own
//! database, with everything that stood in the log, so the offset may advance. Its id is a function
//! of its partition and offset: parked twice, it is parked once.
//!
//! The open records of a subject (see [`ParkedState::OPEN`]) in one partition are a *lane*. The
//! consumer that owns the partition works a lane off from its head; when the lane is empty, the
//! subject's records are handled as they come again. What an operator asks for is written into the
//! record, by whichever instance was asked, and carried out by that owner.
//!
//! The dead letter of a record that has failed for good stands in the outbox of the parked document.
//! It is published as every other event is. A dead letter that the log refuses holds no offset back.
//!
//! - [`record`](ParkedRecord): the document
//! - [`rules`](decide): what may happen to it, pure
//! - [`job`](ReplayJob): the replay of many records
//! - [`letter`](letter()): the record for the dead-letter topic

use std::time::Duration;

use uuid::Uuid;

use crate::{
    event_log::{ConsumedRecord, Offset, Partition, Position},
    id,
};

mod job;
mod letter;
mod record;
mod rules;

pub use job::{JOB_LEASE, JobChange, ReplayJob, UNFINISHED, decide_job};
pub use letter::letter;
pub use record::{Entry, ParkedHeader, ParkedRecord, ParkedState, Request, Verb};
pub use rules::{Change, Due, NewParked, Refusal, decide, due};

id!(
    /// A parked record: made of where it stood, so that the order of ids is that of offsets.
    ParkedId
);

id!(
    /// The records of a subject in one partition; a record without a subject has a lane of its own.
    LaneId
);

id!(
    /// The records of a key, for operators who look for them.
    KeyId
);

id!(
    /// A replay of many records.
    JobId
);

id!(
    /// What a record says: a digest of its key and its value. A log that has lost its tail gives the same
    /// offset to another record.
    ContentId
);

impl ContentId {
    /// The digest of this record.
    pub fn of(record: &ConsumedRecord) -> ContentId {
        let key = record.key.as_deref().unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        let length = key.len().to_be_bytes();
        ContentId(Uuid::new_v5(&NAMESPACE, &[&length, key, value].concat()))
    }
}

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
    /// The lane of a subject. Of one partition: when partitions are added, keys move, and records of
    /// one subject stand in two partitions, perhaps in the hands of two instances.
    pub fn of(topic: &str, partition: Partition, subject: Uuid) -> LaneId {
        let name = [
            topic.as_bytes(),
            &[0],
            &partition.to_be_bytes(),
            subject.as_bytes(),
        ]
        .concat();
        LaneId(Uuid::new_v5(&NAMESPACE, &name))
    }

    /// The lane of a record without a subject. No other record can stand behind it.
    pub fn alone(position: &Position) -> LaneId {
        LaneId(ParkedId::of(&position.topic, position.partition, position.offset).0)
    }

    /// Whether it is that of a record without a subject.
    pub fn is_alone(self) -> bool {
        self.0.get_version_num() == 8
    }
}

impl KeyId {
    /// The records of this key.
    pub fn of(topic: &str, key: &[u8]) -> KeyId {
        KeyId(Uuid::new_v5(&NAMESPACE, &[topic.as_bytes(), &[0], key].concat()))
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
    /// The consumer group that failed, for the dead letter.
    pub group: String,
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
