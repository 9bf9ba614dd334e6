//! A record as it comes from librdkafka.

use std::sync::Arc;

use rdkafka::{Message as _, error::RDKafkaErrorCode, message::BorrowedMessage};

use super::native;
use crate::event_log::{ConsumedRecord, Position};

/// A copy that outlives librdkafka's buffer. Never panics, whatever stands in the record.
pub fn consumed(message: &BorrowedMessage<'_>, topic: Arc<str>, generation: u64) -> ConsumedRecord {
    let (partition, offset) = (message.partition(), message.offset());
    let headers = native::headers(message).unwrap_or_else(|error| {
        // No broker takes such a record; what can be read of it is better than nothing.
        let error = RDKafkaErrorCode::from(error);
        log::warn!(target: "kafka", topic = &*topic, partition, offset, error:%; "headers cannot be read");
        Vec::new()
    });
    ConsumedRecord {
        position: Position {
            topic,
            partition,
            offset,
        },
        generation,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
