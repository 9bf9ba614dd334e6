//! Two requests of Kafka's protocol, byte by byte: for records that no client library would write, and
//! for reading them as they are. To the only broker, without a response that is looked into further than
//! its error code. <https://kafka.apache.org/protocol>

use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A header: its name and its value, of any bytes.
pub type RawHeader<'a> = (&'a [u8], &'a [u8]);

/// Writes one record to the first partition of a topic.
pub fn produce(broker: &str, topic: &str, key: &[u8], value: &[u8], headers: &[RawHeader<'_>]) {
    let mut body = Bytes::default();
    body.i16(-1); // no transaction
    body.i16(-1); // all replicas
    body.i32(10_000);
    body.only_partition_of(topic);
    body.sized(batch(&record(key, value, headers)));
    let answer = ask(broker, 0, 3, body);
    // correlation, one topic, its name, one partition, its number; then the error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer.get(at..at + 2), Some(&[0, 0][..]), "the broker refuses it");
}

/// The first partition of a topic, as the broker gives it: at most a megabyte.
pub fn fetch(broker: &str, topic: &str) -> Vec<u8> {
    const MOST: i32 = 1 << 20;
    let mut body = Bytes::default();
    body.i32(-1); // no replica
    body.i32(500);
    body.i32(1);
    body.i32(MOST);
    body.0.push(0); // uncommitted ones, too
    body.only_partition_of(topic);
    body.0.extend(0i64.to_be_bytes());
    body.i32(MOST);
    ask(broker, 1, 4, body)
}

/// As a header stands in a record.
pub fn header((name, value): RawHeader<'_>) -> Vec<u8> {
    let mut bytes = Bytes::default();
    bytes.counted(name);
    bytes.counted(value);
    bytes.0
}

fn ask(broker: &str, api: i16, version: i16, body: Bytes) -> Vec<u8> {
    let mut request = Bytes::default();
    request.i16(api);
    request.i16(version);
    request.i32(7);
    request.text("test");
    request.0.extend(body.0);
    let mut stream = TcpStream::connect(broker).expect("the broker answers");
    let mut sized = Bytes::default();
    sized.sized(request.0);
    stream.write_all(&sized.0).expect("the broker reads");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("the broker answers");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream
        .read_exact(&mut answer)
        .expect("the broker answers in full");
    answer
}

fn record(key: &[u8], value: &[u8], headers: &[RawHeader<'_>]) -> Vec<u8> {
    let mut record = Bytes::default();
    record.0.push(0); // attributes
    record.varint(0); // time since the batch's
    record.varint(0); // offset since the batch's
    record.counted(key);
    record.counted(value);
    record.varint(headers.len() as i64);
    headers.iter().for_each(|one| record.0.extend(header(*one)));
    let mut counted = Bytes::default();
    counted.counted(&record.0);
    counted.0
}

fn batch(records: &[u8]) -> Vec<u8> {
    let mut checked = Bytes::default();
    checked.i16(0); // attributes: no codec
    checked.i32(0); // the last offset
    checked.0.extend([0; 16]); // first and last time
    checked.0.extend([0xff; 8 + 2 + 4]); // no producer, no epoch, no sequence
    checked.i32(1);
    checked.0.extend(records);
    let mut behind_length = Bytes::default();
    behind_length.i32(-1); // no leader epoch
    behind_length.0.push(2); // the format
    behind_length.0.extend(crc32c(&checked.0).to_be_bytes());
    behind_length.0.extend(checked.0);
    let mut batch = Bytes::default();
    batch.0.extend([0; 8]); // the first offset
    batch.sized(behind_length.0);
    batch.0
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => (crc >> 1) ^ 0x82f6_3b78,
        })
    };
    !bytes.iter().fold(!0, step)
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn i16(&mut self, number: i16) {
        self.0.extend(number.to_be_bytes());
    }

    fn i32(&mut self, number: i32) {
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).expect("a short text"));
        self.0.extend(text.as_bytes());
    }

    /// Bytes behind their number, in four bytes.
    fn sized(&mut self, bytes: Vec<u8>) {
        self.i32(i32::try_from(bytes.len()).expect("not too much"));
        self.0.extend(bytes);
    }

    /// Bytes behind their number, as records have it.
    fn counted(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as i64);
        self.0.extend(bytes);
    }

    fn varint(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn only_partition_of(&mut self, topic: &str) {
        self.i32(1);
        self.text(topic);
        self.i32(1);
        self.i32(0);
    }
}
