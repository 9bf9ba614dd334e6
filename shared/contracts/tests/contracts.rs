//! The records on the topic, held against golden files and against how the C# services read and
//! write. A golden file is never changed: a reader of every released version is out there.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::path::Path;

use contracts::{
    CancelReason, CreditLimitChanged, CustomerCreated, CustomerId, OrderCancelled, OrderCreated, OrderId,
    OrderShipped, OrderStatus, OrderValidated, Refusal, ShipmentPrepared,
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    envelope::{Context, EnvelopeError, OutboxEvent, Received},
    environment::Timestamp,
    event_log::{ConsumedRecord, Position, Record},
    events::{Event, EventError, EventType, read},
    json::Malformed,
    money::Money,
};
use uuid::Uuid;

#[path = "contracts/poison.rs"]
mod poison;

const CUSTOMER: &str = "b3d27f9b-d21d-327c-164e-7fb6776f87b0";
const ORDER: &str = "b4d27f9b-d21d-327c-164e-7fb6776f87b0";

fn customer() -> CustomerId {
    CustomerId(CUSTOMER.parse().unwrap())
}

fn order() -> OrderId {
    OrderId(ORDER.parse().unwrap())
}

fn money(text: &str) -> Money {
    Money::parse(text).unwrap()
}

fn consumed(value: Option<&[u8]>) -> ConsumedRecord {
    ConsumedRecord {
        position: Position {
            topic: "ReactiveMicroservices".into(),
            partition: 1,
            offset: 42,
        },
        generation: 1,
        key: None,
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    }
}

/// The record that announces this event, with ids and time that never change.
fn record<E: Event>(event: &E, source: &str, caused: bool) -> Record {
    let context = Context {
        correlation_id: "3f2a8c1e-request".into(),
        causation_id: caused.then(|| "0b6f7c52-1f0e-5b1c-8a38-3d0f8d1c2b4a".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    let time = Timestamp::parse("2026-11-22T18:00:00.125Z").unwrap();
    let of = event.about().subject().unwrap();
    OutboxEvent::new(event, of, 1, source, time, &context).record("ReactiveMicroservices")
}

/// Key and headers, readable.
fn beside_the_value(record: &Record) -> String {
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap()).unwrap();
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| json!([header.name.to_string(), text(&header.value)]))
        .collect();
    let all = json!({ "topic": record.topic, "key": text(&record.key), "headers": headers });
    serde_json::to_string_pretty(&all).unwrap()
}

/// Compares with the golden file; `GOLDEN=write` writes one that is missing.
fn same_as_golden(file: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    if !path.exists() && std::env::var("GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, [bytes, b"\n"].concat()).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden = golden.strip_suffix(b"\n").unwrap_or(&golden);
    assert!(
        bytes == golden,
        "{file}:\n written {}\n golden  {}",
        String::from_utf8_lossy(bytes),
        String::from_utf8_lossy(golden)
    );
}

/// Writes as the golden files have it, byte for byte, and reads its own writing back.
fn is_golden<E: Event + PartialEq + std::fmt::Debug>(file: &str, event: &E, source: &str, caused: bool) {
    assert!(EventType::named(contracts::EVENTS, E::NAME).is_some());
    let written = record(event, source, caused);
    let value = written.value.clone().unwrap();
    same_as_golden(&format!("{file}.json"), &value);
    same_as_golden(
        &format!("{file}.headers.json"),
        beside_the_value(&written).as_bytes(),
    );

    let mut back = consumed(Some(&value));
    back.headers = written.headers.clone();
    let received = Received::read(&back).unwrap();
    assert_eq!(received.name, E::NAME);
    assert_eq!(received.correlation_id, "3f2a8c1e-request");
    assert_eq!(&read::<E>(&received.data).unwrap(), event);
}

#[test]
fn customer_created_is_written_exactly_and_read_back() {
    let event = CustomerCreated {
        id: customer(),
        name: "Ada \"Countess\" Łoś".into(),
        credit_limit: money("1000"),
    };
    is_golden("CustomerCreated", &event, "customers", false);
}

#[test]
fn credit_limit_changed_is_written_exactly_and_read_back() {
    let event = CreditLimitChanged {
        customer_id: customer(),
        credit_limit: money("0"),
    };
    is_golden("CreditLimitChanged", &event, "customers", false);
}

fn order_created() -> OrderCreated {
    OrderCreated {
        id: order(),
        customer_id: customer(),
        amount: money("800"),
        status: OrderStatus::Created,
    }
}

#[test]
fn order_created_is_written_exactly_and_read_back() {
    is_golden("OrderCreated", &order_created(), "orders", false);
}

fn validated(is_valid: bool, reason: Option<Refusal>) -> OrderValidated {
    OrderValidated {
        order_id: order(),
        is_valid,
        customer_id: Some(customer()),
        amount: Some(money("12.3456")),
        reason,
    }
}

#[test]
fn order_validated_is_written_exactly_and_read_back() {
    is_golden("OrderValidated", &validated(true, None), "customers", true);
    let refused = validated(false, Some(Refusal::InsufficientCredit));
    is_golden("OrderValidated.refused", &refused, "customers", true);
    let unknown = validated(false, Some(Refusal::UnknownCustomer));
    is_golden("OrderValidated.unknown", &unknown, "customers", true);
}

#[test]
fn order_shipped_is_written_exactly_and_read_back() {
    let event = OrderShipped {
        id: order(),
        customer_id: Some(customer()),
        amount: Some(money("800")),
    };
    is_golden("OrderShipped", &event, "orders", true);
}

#[test]
fn order_cancelled_is_written_exactly_and_read_back() {
    for reason in CancelReason::ALL {
        let event = OrderCancelled {
            id: order(),
            customer_id: Some(customer()),
            amount: Some(money("800")),
            reason: Some(*reason),
        };
        is_golden(&format!("OrderCancelled.{reason}"), &event, "orders", true);
    }
}

#[test]
fn shipment_prepared_is_written_exactly_and_read_back() {
    let event = ShipmentPrepared {
        order_id: order(),
        customer_id: Some(customer()),
        tracking_number: "SHP097343141808".to_owned(),
    };
    is_golden("ShipmentPrepared", &event, "shipping", true);
}

#[test]
fn a_record_as_the_csharp_services_write_it_is_understood() {
    let data = format!(r#"{{"Id":"{ORDER}","CustomerId":"{CUSTOMER}","Amount":800.0,"Status":0}}"#);
    let camel = format!(r#"{{"id":"{ORDER}","customerId":"{CUSTOMER}","amount":800.0,"status":0}}"#);
    let spaced = format!(
        "\u{feff}\r\n {{ \"Status\" : 0 ,\t\"Amount\": \"800.00\", \"CUSTOMERID\":\"{}\",\n \"Extra\": {{\"a\":[1,2]}}, \"id\" : \"{{{ORDER}}}\" }} ",
        CUSTOMER.to_uppercase()
    );
    let values = [
        json!({ "Name": "OrderCreated", "EventData": data }).to_string(),
        json!({ "name": "OrderCreated", "eventData": camel }).to_string(),
        json!({ "NAME": "OrderCreated", "eventdata": spaced, "Version": 3, "Meta": null }).to_string(),
        format!(" \r\n{}\n", json!({ "Name": "OrderCreated", "EventData": data })),
    ];
    for value in values {
        let received = Received::read(&consumed(Some(value.as_bytes()))).unwrap();
        assert_eq!(received.name, "OrderCreated");
        // Neither key nor headers: it is named by its place.
        assert_eq!(received.event_id, "ReactiveMicroservices/1/42");
        assert_eq!(received.correlation_id, received.event_id);
        let event = read::<OrderCreated>(&received.data).unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(event, order_created(), "{value}");
    }
}

#[test]
fn the_events_of_the_csharp_services_are_understood_without_our_extra_fields() {
    let validated = format!(r#"{{"OrderId":"{ORDER}","IsValid":false}}"#);
    let expected = OrderValidated {
        order_id: order(),
        is_valid: false,
        customer_id: None,
        amount: None,
        reason: None,
    };
    assert_eq!(read::<OrderValidated>(&validated), Ok(expected));
    let shipped = format!(r#"{{"Id":"{ORDER}","CustomerId":null}}"#);
    assert_eq!(read::<OrderShipped>(&shipped).map(|event| event.id), Ok(order()));
    let cancelled = format!(r#"{{"Id":"{ORDER}"}}"#);
    assert_eq!(
        read::<OrderCancelled>(&cancelled).map(|event| event.reason),
        Ok(None)
    );
    let created = format!(r#"{{"Id":"{CUSTOMER}","Name":"Ada","CreditLimit":1e3}}"#);
    let event = read::<CustomerCreated>(&created).unwrap();
    assert_eq!(event.credit_limit, money("1000"));
    let changed = format!(r#"{{"CustomerId":"{CUSTOMER}","CreditLimit":"0"}}"#);
    assert_eq!(
        read::<CreditLimitChanged>(&changed).map(|event| event.credit_limit),
        Ok(Money::ZERO)
    );
}

/// Reads as System.Text.Json does with the C# services' classes: exact names, a number for an
/// amount, a number for a status; what it does not know it ignores.
mod strict {
    use super::*;

    #[derive(Deserialize)]
    pub struct Envelope {
        pub name: String,
        #[serde(rename = "eventData")]
        pub event_data: String,
    }

    #[derive(Deserialize)]
    pub struct OrderCreated {
        pub id: Uuid,
        #[serde(rename = "customerId")]
        pub customer_id: Uuid,
        pub amount: f64,
        pub status: i32,
    }

    #[derive(Deserialize)]
    pub struct OrderValidated {
        #[serde(rename = "orderId")]
        pub order_id: Uuid,
        #[serde(rename = "isValid")]
        pub is_valid: bool,
    }

    #[derive(Deserialize)]
    pub struct CustomerCreated {
        pub id: Uuid,
        pub name: String,
        #[serde(rename = "creditLimit")]
        pub credit_limit: f64,
    }

    #[derive(Deserialize)]
    pub struct Finished {
        pub id: Uuid,
    }

    pub fn event<T: for<'a> Deserialize<'a>>(record: &Record, name: &str) -> T {
        let envelope: Envelope = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(envelope.name, name);
        serde_json::from_str(&envelope.event_data).unwrap()
    }
}

#[test]
fn what_we_write_is_understood_by_a_strict_reader() {
    let created: strict::OrderCreated =
        strict::event(&record(&order_created(), "orders", false), "OrderCreated");
    assert_eq!((created.id, created.customer_id), (order().0, customer().0));
    assert_eq!((created.amount, created.status), (800.0, 0));

    let refused = validated(false, Some(Refusal::UnknownCustomer));
    let read: strict::OrderValidated = strict::event(&record(&refused, "customers", true), "OrderValidated");
    assert_eq!((read.order_id, read.is_valid), (order().0, false));

    let customer_created = CustomerCreated {
        id: customer(),
        name: "Ada\u{7f}".into(),
        credit_limit: money("999999999999999.9999"),
    };
    let read: strict::CustomerCreated =
        strict::event(&record(&customer_created, "customers", false), "CustomerCreated");
    assert_eq!((read.id, read.name.as_str()), (customer().0, "Ada\u{7f}"));
    assert_eq!(read.credit_limit, 1e15);

    let shipped = OrderShipped {
        id: order(),
        customer_id: None,
        amount: None,
    };
    let read: strict::Finished = strict::event(&record(&shipped, "orders", true), "OrderShipped");
    assert_eq!(read.id, order().0);
}

#[test]
fn fields_that_an_event_does_not_have_are_left_out() {
    let bare = OrderCancelled {
        id: order(),
        customer_id: None,
        amount: None,
        reason: None,
    };
    assert_eq!(
        serde_json::to_value(&bare).unwrap(),
        json!({ "id": ORDER }),
        "null would be another thing to a reader"
    );
}
