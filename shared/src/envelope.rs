//! An event between its outbox and the log: the record that carries it.
//!
//! The value is what the C# services read and write, a JSON object of two strings:
//! `{"name": …, "eventData": …}`, the second being JSON again. Metadata travels beside it in headers,
//! as the CloudEvents Kafka binding in binary mode. An event that is announced again gives the same
//! record to the byte: everything in it was stored with the event.

use bson::{Binary, spec::BinarySubtype};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    environment::Timestamp,
    event_log::{ConsumedRecord, Header, Position, Record},
    events::{About, Event, EventId},
    json::{FieldError, Fields, Malformed, Text},
    parking::ParkedHeader,
};

/// What connects an event to what it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// The same for everything that one request set off.
    pub correlation_id: String,
    /// The event that was the cause; none where a request was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// An event with everything that will stand in its record. Lives in the `outbox` of the document
/// that it announces until it is known to be in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEvent {
    /// Its id, a function of what it is about.
    #[serde(rename = "_id")]
    pub id: EventId,
    /// Its name.
    pub name: String,
    /// Its content, as JSON.
    pub data: String,
    /// What it is about, each id a field of its own. Nothing in a letter.
    #[serde(flatten)]
    pub about: About,
    /// When it happened.
    pub time: Timestamp,
    /// The service that says so.
    pub source: String,
    /// What it came from.
    #[serde(flatten)]
    pub context: Context,
    /// A record that goes out as it is, in place of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<Letter>,
}

/// A record in an outbox, byte for byte: a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    topic: String,
    key: Option<Binary>,
    value: Option<Binary>,
    headers: Vec<ParkedHeader>,
}

impl Letter {
    /// Its name among events.
    pub const NAME: &'static str = "DeadLetter";
    /// The largest value that a letter may have, in bytes. The document with the letter holds the
    /// parked record too, hence the value twice, and MongoDB takes no document over 16 MB.
    pub const LARGEST: usize = 7 * 1024 * 1024;

    fn of(record: &Record) -> Letter {
        let header = |header: &Header| ParkedHeader {
            name: header.name.clone(),
            value: header.value.as_deref().map(binary),
        };
        Letter {
            topic: record.topic.clone(),
            key: record.key.as_deref().map(binary),
            value: record.value.as_deref().map(binary),
            headers: record.headers.iter().map(header).collect(),
        }
    }

    fn record(&self) -> Record {
        let bytes = |binary: &Option<Binary>| binary.as_ref().map(|binary| binary.bytes.clone());
        let header = |header: &ParkedHeader| Header {
            name: header.name.clone(),
            value: bytes(&header.value),
        };
        Record {
            topic: self.topic.clone(),
            key: bytes(&self.key),
            value: bytes(&self.value),
            headers: self.headers.iter().map(header).collect(),
        }
    }

    /// The text of its first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == *name)?;
        str::from_utf8(&header.value.as_ref()?.bytes).ok()
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

impl OutboxEvent {
    /// An event of the aggregate `of`, which reaches `version` by it.
    pub fn new<E: Event>(
        event: &E,
        of: impl Into<Uuid>,
        version: i64,
        source: &str,
        time: Timestamp,
        context: &Context,
    ) -> OutboxEvent {
        let id = EventId::of(of, E::NAME, version);
        OutboxEvent {
            id,
            name: E::NAME.to_owned(),
            data: serde_json::to_string(event).expect("an event has string keys and finite numbers only"),
            about: event.about(),
            time,
            source: source.to_owned(),
            context: Context {
                traceparent: context
                    .traceparent
                    .as_deref()
                    .map(|parent| child_span(parent, id)),
                ..context.clone()
            },
            letter: None,
        }
    }

    /// A record that is to go out as it is.
    pub fn letter(id: EventId, record: &Record, time: Timestamp) -> OutboxEvent {
        OutboxEvent {
            id,
            name: Letter::NAME.to_owned(),
            data: String::new(),
            about: About::default(),
            time,
            source: String::new(),
            context: Context::default(),
            letter: Some(Letter::of(record)),
        }
    }

    /// What it is about: of one subject, events are published in their order.
    pub fn subject(&self) -> Uuid {
        self.about.subject().unwrap_or(self.id.0)
    }

    /// Whether what it rests on is in the log for sure: it was caused by a record of the log.
    pub fn rests_on_log(&self) -> bool {
        self.letter.is_some() || self.context.causation_id.is_some()
    }

    /// The record to publish.
    pub fn record(&self, topic: &str) -> Record {
        if let Some(letter) = &self.letter {
            return letter.record();
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Value<'a> {
            name: &'a str,
            event_data: &'a str,
        }
        let value = Value {
            name: &self.name,
            event_data: &self.data,
        };
        let subject = self.subject();
        let mut headers = Vec::with_capacity(10);
        let mut header = |name: &str, value: String| headers.push(text_header(name, value));
        header("ce_specversion", "1.0".into());
        header("ce_id", self.id.to_string());
        header("ce_type", self.name.clone());
        header("ce_source", format!("/{}", self.source));
        header("ce_subject", subject.to_string());
        header("ce_time", self.time.to_string());
        header("ce_correlationid", self.context.correlation_id.clone());
        if let Some(causation) = &self.context.causation_id {
            header("ce_causationid", causation.clone());
        }
        if let Some(traceparent) = &self.context.traceparent {
            header("traceparent", traceparent.clone());
        }
        header("content-type", "application/json".into());
        Record {
            topic: topic.to_owned(),
            key: self.about.key().map(|key| key.to_string().into_bytes()),
            value: Some(serde_json::to_vec(&value).expect("two strings are always JSON")),
            headers,
        }
    }
}

/// A header with a text.
pub fn text_header(name: &str, value: impl Into<String>) -> Header {
    Header {
        name: name.into(),
        value: Some(value.into().into_bytes()),
    }
}

/// The trace goes on, with the event as the parent of what it causes.
fn child_span(traceparent: &str, event: EventId) -> String {
    let span: String = event.0.as_bytes()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match traceparent.split('-').collect::<Vec<_>>()[..] {
        [version, trace, _, flags] => format!("{version}-{trace}-{span}-{flags}"),
        _ => traceparent.to_owned(),
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>` in lower case, neither id all zeros, as W3C Trace Context has it.
pub(crate) fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, length| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    matches!(parts[..], [version, trace, span, flags]
        if hex(version, 2) && version != "ff" && id(trace, 32) && id(span, 16) && hex(flags, 2))
}

/// Begins a trace at an event whose own is none. It follows from the event's id, so that what is
/// decided again after a redelivery has the same bytes.
fn trace_of(event_id: &str) -> String {
    const NAMESPACE: Uuid = Uuid::from_u128(0x5c64_2f0e_0d0b_4c55_9d8e_6a1c_27f3_41b7);
    let trace = Uuid::new_v5(&NAMESPACE, event_id.as_bytes());
    let span = Uuid::new_v5(&trace, b"span").simple().to_string();
    format!("00-{}-{}-01", trace.simple(), &span[..16])
}

/// An event as it was read from the log; its content not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// `ce_id`, or `topic/partition/offset` where the writer gave none.
    pub event_id: String,
    /// Its name.
    pub name: String,
    /// Its content, as JSON.
    pub data: String,
    /// Where it stood.
    pub position: Position,
    /// What it came from. A record without correlation is the begin of one.
    pub correlation_id: String,
    /// W3C trace context: the record's, or a new one where the record's is malformed.
    pub traceparent: Option<String>,
}

/// Why a record is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A record without a value.
    #[error("the record has no value")]
    Tombstone,
    /// The value is no JSON object.
    #[error("the value {0}")]
    Malformed(#[from] Malformed),
    /// The value lacks `name` or `eventData`.
    #[error("the value: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
}

impl Received {
    /// Reads the envelope: property names in any case, no key and no headers needed.
    pub fn read(record: &ConsumedRecord) -> Result<Received, EnvelopeError> {
        let mut fields = Fields::parse(record.value.as_deref().ok_or(EnvelopeError::Tombstone)?)?;
        let name = fields.required::<Text>("name");
        let data = fields.required::<Text>("eventData");
        let (Some(name), Some(data)) = (name, data) else {
            return Err(EnvelopeError::Fields(fields.into_errors()));
        };
        let event_id = header(record, "ce_id").unwrap_or_else(|| record.position.to_string());
        Ok(Received {
            correlation_id: header(record, "ce_correlationid").unwrap_or_else(|| event_id.clone()),
            traceparent: header(record, "traceparent").map(|given| {
                if is_traceparent(&given) {
                    given
                } else {
                    trace_of(&event_id)
                }
            }),
            event_id,
            name,
            data,
            position: record.position.clone(),
        })
    }

    /// The context of what this event causes.
    pub fn context(&self) -> Context {
        Context {
            correlation_id: self.correlation_id.clone(),
            causation_id: Some(self.event_id.clone()),
            traceparent: self.traceparent.clone(),
        }
    }
}

/// The first header of that name, where it is a sane text: it will stand in log lines and documents.
pub(crate) fn header(record: &ConsumedRecord, name: &str) -> Option<String> {
    const MAX_LENGTH: usize = 256;
    let value = record
        .headers
        .iter()
        .find(|header| header.name == name)?
        .value
        .as_deref()?;
    let text = str::from_utf8(value).ok()?;
    let sane = !text.is_empty() && text.len() <= MAX_LENGTH && !text.chars().any(char::is_control);
    sane.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct ParcelSent {
        id: Uuid,
        house: Uuid,
    }

    impl Event for ParcelSent {
        const NAME: &'static str = "ParcelSent";
        fn read(fields: Fields<'_>) -> Result<ParcelSent, Vec<FieldError>> {
            Err(fields.into_errors())
        }
        fn about(&self) -> About {
            About::default()
                .with("house_id", self.house)
                .with("parcel_id", self.id)
        }
    }

    fn consumed(value: &str, headers: Vec<Header>) -> ConsumedRecord {
        ConsumedRecord {
            position: Position {
                topic: "t".into(),
                partition: 2,
                offset: 7,
            },
            generation: 1,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers,
        }
    }

    fn parcel_sent() -> OutboxEvent {
        let sent = ParcelSent {
            id: Uuid::from_u128(1),
            house: Uuid::from_u128(2),
        };
        let context = Context {
            correlation_id: "request".into(),
            causation_id: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        };
        OutboxEvent::new(&sent, sent.id, 1, "parcels", Timestamp(0), &context)
    }

    #[test]
    fn what_is_published_is_read_back() {
        let event = parcel_sent();
        let record = event.record("t");
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        let received = Received::read(&consumed(&value, record.headers)).unwrap();
        assert_eq!(
            (received.event_id, received.name),
            (event.id.to_string(), event.name)
        );
        assert_eq!(
            (received.data, received.correlation_id),
            (event.data, "request".into())
        );
    }

    #[test]
    fn the_trace_goes_on_through_the_event() {
        let traceparent = parcel_sent().context.traceparent.unwrap();
        assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(!traceparent.contains("b7ad6b7169203331"));
        assert_eq!(traceparent.len(), 55);
    }

    #[test]
    fn what_is_no_trace_is_not_passed_on_a_new_one_begins() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |traceparent: &str| {
            let headers = vec![text_header("traceparent", traceparent)];
            let received = Received::read(&consumed(r#"{"name":"X","eventData":"{}"}"#, headers));
            received.unwrap().context().traceparent.unwrap()
        };
        assert_eq!(read(given), given);
        for wrong in [
            "garbage",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        ] {
            let begun = read(wrong);
            assert_ne!(begun, wrong);
            assert!(is_traceparent(&begun), "{begun}");
            assert_eq!(read(wrong), begun, "a redelivery has the same trace");
        }
    }

    #[test]
    fn a_bare_record_is_named_by_its_place() {
        let received = Received::read(&consumed(r#"{"Name":"X","EVENTDATA":"{}"}"#, vec![])).unwrap();
        assert_eq!(
            (&*received.event_id, &*received.correlation_id),
            ("t/2/7", "t/2/7")
        );
    }

    #[test]
    fn headers_that_would_forge_log_lines_are_not_taken() {
        let headers = vec![
            text_header("ce_id", "a\nb"),
            text_header("ce_correlationid", "x".repeat(300)),
        ];
        let received = Received::read(&consumed(r#"{"name":"X","eventData":"{}"}"#, headers)).unwrap();
        assert_eq!(
            (&*received.event_id, &*received.correlation_id),
            ("t/2/7", "t/2/7")
        );
    }

    #[test]
    fn a_letter_survives_its_document_and_goes_out_as_it_is() {
        let record = Record {
            topic: "t.dead-letters".into(),
            key: Some(vec![0xff]),
            value: Some(vec![0, 1, 2]),
            headers: vec![
                text_header("dl-reason", "Malformed"),
                Header {
                    name: "none".into(),
                    value: None,
                },
            ],
        };
        let letter = OutboxEvent::letter(EventId(Uuid::from_u128(7)), &record, Timestamp(5));
        let bytes = bson::serialize_to_vec(&letter).unwrap();
        let read: OutboxEvent = bson::deserialize_from_slice(&bytes).unwrap();
        assert_eq!(read, letter);
        assert_eq!(read.record("t"), record);
        assert_eq!(read.letter.unwrap().header("dl-reason"), Some("Malformed"));
    }

    #[test]
    fn an_event_is_stored_as_before_there_were_letters() {
        let bytes = bson::serialize_to_vec(&parcel_sent()).unwrap();
        let stored: bson::Document = bson::deserialize_from_slice(&bytes).unwrap();
        let fields: Vec<_> = stored.keys().map(String::as_str).collect();
        let before = "_id name data houseId parcelId time source correlationId traceparent";
        assert_eq!(fields.join(" "), before);
    }

    #[test]
    fn an_outbox_event_survives_its_document() {
        let event = parcel_sent();
        let bytes = bson::serialize_to_vec(&event).unwrap();
        assert_eq!(
            bson::deserialize_from_slice::<OutboxEvent>(&bytes).unwrap(),
            event
        );
    }
}
