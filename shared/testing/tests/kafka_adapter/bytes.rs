//! Records as other clients write them: compressed in any way, with headers of any bytes. On the
//! mock cluster, which keeps batches as they come.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use shared::event_log::{EventLog as _, Header, Record, TailFrom};

use super::{Member, mock::mock, record, within};

/// Publishes one record as a client with these settings does.
fn publish_as(options: &[(&str, &str)], brokers: &str, value: &[u8]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    for (name, value) in options {
        config.set(*name, *value);
    }
    let producer: BaseProducer = config.create().unwrap();
    producer
        .send(BaseRecord::<[u8], _>::to("t").payload(value).key(b"k".as_slice()))
        .unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[tokio::test]
async fn batches_of_every_codec_are_read() {
    let (cluster, log) = mock("t", 1);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        // Shrinks well: librdkafka sends a batch as it is where compressing does not pay.
        let value = codec.repeat(2000);
        publish_as(
            &[("compression.codec", codec)],
            &cluster.bootstrap_servers(),
            value.as_bytes(),
        );
    }
    within("a delivery", log.publish(record("t", "k", "good")))
        .await
        .unwrap();
    let mut member = Member::join(&log, "g", "t");
    member
        .until("reading", |member| member.records.len() == codecs.len() + 1)
        .await;
    for (record, codec) in member.records.iter().zip(codecs) {
        assert_eq!(
            record.value.as_deref(),
            Some(codec.repeat(2000).as_bytes()),
            "{codec}"
        );
    }
}

#[tokio::test]
async fn headers_of_any_bytes_are_read_kept_and_given_back() {
    let (_cluster, log) = mock("t", 1);
    let header = |name: &[u8], value: Option<&[u8]>| Header {
        name: name.to_vec().into(),
        value: value.map(<[u8]>::to_vec),
    };
    let odd = Record {
        headers: vec![
            header(b"\xFF", Some(b"\xFE\0\xFF")),
            header(b"", None),
            header(b"", Some(b"")),
            header(b"in\0side", Some(b"value")),
            header(b"end\0", None),
            header(b"\0", Some(b"\0")),
            header(&[0xC3; 300], Some(&[0; 3000])),
            header(b"plain", Some(b"text")),
        ],
        ..record("t", "k", 1)
    };
    within("a delivery", log.publish(odd.clone())).await.unwrap();
    let mut member = Member::join(&log, "g", "t");
    member.until("reading", |member| !member.records.is_empty()).await;
    assert_eq!(member.records[0].headers, odd.headers);
    // Published again as it was read, as for a dead letter.
    let again = Record {
        headers: member.records[0].headers.clone(),
        ..record("t", "k", 2)
    };
    within("a delivery", log.publish(again)).await.unwrap();
    let mut tail = within("tailing", log.tail("t", TailFrom::Beginning))
        .await
        .unwrap();
    for _ in 0..2 {
        let seen = within("the tail", tail.recv()).await.unwrap();
        assert_eq!(seen.headers, odd.headers);
    }
}
