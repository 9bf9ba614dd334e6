//! A record as it comes from librdkafka.

use std::sync::Arc;

use rdkafka::{
    Message as _,
    message::{BorrowedMessage, Headers as _},
};

use crate::event_log::{ConsumedRecord, Header, Position};

/// A copy that outlives librdkafka's buffer.
pub fn consumed(message: &BorrowedMessage<'_>, topic: Arc<str>, generation: u64) -> ConsumedRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let copy = |header: rdkafka::message::Header<'_, &[u8]>| Header {
            name: header.key.to_owned(),
            value: header.value.map(<[u8]>::to_vec),
        };
        headers.iter().map(copy).collect()
    });
    ConsumedRecord {
        position: Position {
            topic,
            partition: message.partition(),
            offset: message.offset(),
        },
        generation,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
