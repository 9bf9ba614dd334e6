//! How a record is stored, and to which partition its key belongs.

use crate::event_log::{Header, Partition, Record};

/// Length that stands for "none".
const NONE: u32 = u32::MAX;

/// Key, value and headers, each with its length in front.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + size(record));
    put(&mut bytes, record.key.as_deref());
    put(&mut bytes, record.value.as_deref());
    for header in &record.headers {
        put(&mut bytes, Some(header.name.as_bytes()));
        put(&mut bytes, header.value.as_deref());
    }
    bytes
}

/// Key, value and headers as they were published.
pub(super) type Decoded = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

/// `None` where these are not the bytes of a record.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Decoded> {
    let key = take(&mut bytes)?;
    let value = take(&mut bytes)?;
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        headers.push(Header {
            name: take(&mut bytes)??.into(),
            value: take(&mut bytes)?,
        });
    }
    Some((key, value, headers))
}

/// What counts against a topic's largest record.
pub(super) fn size(record: &Record) -> usize {
    let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|header| header.name.as_bytes().len() + of(&header.value))
        .sum();
    of(&record.key) + of(&record.value) + headers
}

/// The same for ever, since it decides the order of what is already stored: FNV-1a, folded.
pub(super) fn partition_of(key: &[u8], partitions: usize) -> Partition {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 32)) & u64::from(u32::MAX);
    Partition::try_from(folded % partitions.max(1) as u64).unwrap_or_default()
}

fn put(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    // `Pending::new` refuses what a length cannot tell.
    let length = field.map_or(NONE, |field| u32::try_from(field.len()).unwrap_or(NONE));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(field.unwrap_or_default());
}

/// The outer `Option` is whether it can be read.
#[expect(
    clippy::option_option,
    reason = "an absent field and an unreadable one are different things"
)]
fn take(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if length == NONE {
        *bytes = rest;
        return Some(None);
    }
    let (field, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(field.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let header = |name: &[u8], value: Option<&[u8]>| Header {
            name: name.to_vec().into(),
            value: value.map(<[u8]>::to_vec),
        };
        for (key, value) in [
            (None, None),
            (Some(vec![]), Some(vec![])),
            (Some(vec![1]), Some(vec![2; 70_000])),
        ] {
            let headers = vec![
                header(b"name", None),
                header(b"", Some(b"")),
                header(b"\xFF\0n", Some(b"value")),
            ];
            let record = Record {
                topic: String::new(),
                key,
                value,
                headers,
            };
            let bytes = encode(&record);
            assert_eq!(decode(&bytes), Some((record.key, record.value, record.headers)));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn keys_keep_their_partition_for_ever() {
        assert_eq!(partition_of(b"", 12), 5);
        assert_eq!(partition_of(b"customer", 12), 8);
    }
}
