//! What rdkafka's safe interface cannot do, by librdkafka's own. The only unsafe code of the workspace.
//!
//! Why: rdkafka takes the name of a header for text and panics where it is not (`Headers::get`, 0.39),
//! on the thread that polls; it does not tell the generation of a member, which is the only sign of a
//! membership without partitions under `group.protocol=consumer`; and it tells no client of brokers.

#![allow(
    unsafe_code,
    reason = "rdkafka 0.39 neither reads nor writes header names of any bytes, hides the member's generation, and adds no brokers"
)]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr, slice,
};

use rdkafka::{
    ClientContext,
    bindings::{
        rd_kafka_brokers_add, rd_kafka_consumer_group_metadata, rd_kafka_consumer_group_metadata_destroy,
        rd_kafka_consumer_group_metadata_generation_id, rd_kafka_header_add, rd_kafka_header_get_all,
        rd_kafka_headers_t, rd_kafka_message_headers, rd_kafka_version,
    },
    client::Client,
    consumer::ConsumerContext,
    message::{BorrowedMessage, OwnedHeaders},
    types::RDKafkaRespErr,
};

use crate::event_log::{Header, HeaderName};

/// The versions of librdkafka whose `rd_kafka_header_t` is as [`name_of`] takes it: 2.12.x.
const KNOWN_LAYOUT: c_int = 0x020c;

/// The headers of a record as they came. `Err` where librdkafka cannot take them apart.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Result<Vec<Header>, RDKafkaRespErr> {
    let mut native: *mut rd_kafka_headers_t = ptr::null_mut();
    // SAFETY: the message is alive, for it is borrowed; librdkafka keeps the headers with it, and this
    // thread alone holds the message while librdkafka takes the headers apart.
    let answer = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut native) };
    match answer {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => return Ok(Vec::new()),
        error => return Err(error),
    }
    let mut headers = Vec::new();
    loop {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0_usize);
        // SAFETY: `native` was given above and lives as long as the message; an index past the end is
        // answered with an error.
        let answer = unsafe {
            rd_kafka_header_get_all(
                native,
                headers.len(),
                &raw mut name,
                &raw mut value,
                &raw mut size,
            )
        };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(headers);
        }
        // SAFETY: name and value belong to the header just given, which lives as long as the message;
        // a value that is not null has `size` bytes.
        let header = unsafe {
            Header {
                name: name_of(name, value, size),
                value: (!value.is_null()).then(|| slice::from_raw_parts(value.cast(), size).to_vec()),
            }
        };
        headers.push(header);
    }
}

/// The bytes of a name. librdkafka tells a name without its length, so a zero byte would cut it. In the
/// versions whose source was read (`rdkafka_header.h`) the length stands beside the name: in front of
/// the name lie the size of the value, the size of the name and the address of the value. The first
/// and the last are known from the answer, and are compared before the middle one is believed.
///
/// # Safety
/// `name`, `value` and `size` are one answer of `rd_kafka_header_get_all`, for headers that live.
unsafe fn name_of(name: *const c_char, value: *const c_void, size: usize) -> HeaderName {
    // SAFETY: librdkafka ends each name with a zero byte.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    // SAFETY: no arguments, no state.
    if unsafe { rd_kafka_version() } >> 16 == KNOWN_LAYOUT {
        // SAFETY: in these versions the name is the last field of a struct and the three fields are
        // in front of it, without padding: each is as wide as an address, and the name needs none.
        let (value_size, length, value_at) = unsafe {
            let fields = name.cast::<usize>();
            (
                fields.sub(3).read_unaligned(),
                fields.sub(2).read_unaligned(),
                fields.sub(1).read_unaligned(),
            )
        };
        if value_size == size && value_at == value.addr() && length >= text.len() {
            // SAFETY: the name has that many bytes, and a zero byte after them.
            return unsafe { slice::from_raw_parts(name.cast::<u8>(), length) }
                .to_vec()
                .into();
        }
    }
    text.to_vec().into()
}

/// Headers to publish, as they are.
pub(super) fn owned(headers: &[Header]) -> OwnedHeaders {
    let owned = OwnedHeaders::new_with_capacity(headers.len());
    // rdkafka's reference to headers is librdkafka's pointer to them.
    let native = ptr::from_ref(owned.as_borrowed())
        .cast::<rd_kafka_headers_t>()
        .cast_mut();
    for Header { name, value } in headers {
        let name = name.as_bytes();
        let (value, size) = match value {
            Some(value) => (value.as_ptr().cast::<c_void>(), value.len()),
            None => (ptr::null(), 0),
        };
        // SAFETY: `native` belongs to `owned`, which is alive and which nobody else knows yet; librdkafka
        // copies name and value, of the lengths given. The lengths of slices fit into `isize`.
        unsafe {
            rd_kafka_header_add(
                native,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value,
                size.cast_signed(),
            );
        }
    }
    owned
}

/// Tells a client of brokers to ask, `host:port` each, separated by commas.
pub(super) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &CStr) {
    // SAFETY: the client is alive, for it is borrowed; librdkafka copies the text and takes its own locks.
    // It answers how many it took, which is less than all only where an address cannot be read.
    unsafe { rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
}

/// Whether the group's coordinator has taken this member in, with partitions or without.
pub(super) fn is_member<C: ConsumerContext>(client: &Client<C>) -> bool {
    // SAFETY: the client is alive, for it is borrowed. The answer is ours and destroyed once, after its
    // last use; it is null where the client has no group.
    let generation = unsafe {
        let metadata = rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    };
    generation > 0
}
