//! Bad and odd records, as they come from foreign writers, and what has to become of each. Used by
//! `chaos run`, which puts them in under load, and by the tests of the whole system.

use serde_json::{Value, json};
use shared::event_log::{Header, Record};
use uuid::Uuid;

use Fate::{Dead, Handled, Skipped};

/// What becomes of a record in one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its event is handled.
    Handled,
    /// Nobody here is meant by it: counted, with this label.
    Skipped(&'static str),
    /// Parked alone for this reason, and told on the dead-letter topic.
    Dead(&'static str),
}

/// An event that the other service handles.
const NOT_HANDLED: Fate = Skipped("not-handled");
/// Its name is known nowhere.
const UNKNOWN: Fate = Skipped("unknown-name");
const TOMBSTONE: Fate = Skipped("tombstone");
const NO_ENVELOPE: Fate = Dead("malformed-envelope");
const NO_EVENT: Fate = Dead("malformed-event");

/// A record and its fate in Customers and in Orders.
#[derive(Clone)]
pub struct Row {
    /// What is odd about it.
    pub what: String,
    /// The record; its topic is left to whoever publishes it.
    pub record: Record,
    /// In Customers, in Orders.
    pub fates: [Fate; 2],
}

fn row(what: impl Into<String>, record: Record, fates: [Fate; 2]) -> Row {
    Row {
        what: what.into(),
        record,
        fates,
    }
}

/// A value as bytes, under a key of its own, so that nothing has to wait behind it.
pub fn bytes(value: impl Into<Vec<u8>>) -> Record {
    Record {
        key: Some(Uuid::new_v4().to_string().into_bytes()),
        value: Some(value.into()),
        ..Record::default()
    }
}

/// An event, under a key of its own and without headers.
pub fn named(name: &str, data: &Value) -> Record {
    bytes(json!({ "name": name, "eventData": data.to_string() }).to_string())
}

/// The same record under the key of this customer, if it has a key.
pub fn under_key(record: Record, customer: Uuid) -> Record {
    let key = record.key.map(|_| customer.to_string().into_bytes());
    Record { key, ..record }
}

/// An order with one field of another value, given as JSON.
pub fn order_with(field: &str, value: &str) -> Record {
    let fields = [
        ("id", format!("\"{}\"", Uuid::now_v7())),
        ("customerId", format!("\"{}\"", Uuid::now_v7())),
        ("amount", "8".to_owned()),
        ("status", "0".to_owned()),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, right)| format!("\"{name}\":{}", if *name == field { value } else { right }))
        .collect();
    let data = format!("{{{}}}", fields.join(","));
    bytes(json!({ "name": "OrderCreated", "eventData": data }).to_string())
}

type NameAndValue<'a> = (&'a str, Option<&'a [u8]>);

fn with_headers(mut record: Record, headers: &[NameAndValue<'_>]) -> Record {
    let header = |(name, value): &NameAndValue<'_>| Header {
        name: (*name).into(),
        value: value.map(<[u8]>::to_vec),
    };
    record.headers = headers.iter().map(header).collect();
    record
}

/// Values that are no events for anybody.
fn without_envelope() -> Vec<(&'static str, Record)> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let keyless = |record: Record| Record { key: None, ..record };
    vec![
        ("empty value", bytes("")),
        ("white space", bytes(" \r\n\t")),
        ("not UTF-8", bytes(b"\xff\xfe{\x00}".as_slice())),
        (
            "not UTF-8 within",
            bytes(b"{\"name\":\"\xc3\x28\",\"eventData\":\"{}\"}".as_slice()),
        ),
        ("not JSON", bytes("hello")),
        ("not JSON, without key", keyless(bytes("hello"))),
        ("cut off", bytes("{\"name\":\"OrderCreated\",\"eventData\":\"{")),
        ("two values", bytes("{} {}")),
        (
            "a schema registry's magic byte",
            bytes(b"\x00\x00\x00\x00\x05abc".as_slice()),
        ),
        ("null", bytes("null")),
        ("a number", bytes("7")),
        (
            "an array",
            bytes("[{\"name\":\"OrderCreated\",\"eventData\":\"{}\"}]"),
        ),
        ("an empty object", bytes("{}")),
        ("no name", bytes(r#"{"eventData":"{}"}"#)),
        ("no eventData", bytes(r#"{"name":"OrderCreated"}"#)),
        ("a name that is null", bytes(r#"{"name":null,"eventData":"{}"}"#)),
        ("a name that is a number", bytes(r#"{"name":7,"eventData":"{}"}"#)),
        (
            "eventData that is an object",
            bytes(r#"{"name":"OrderCreated","eventData":{"id":1}}"#),
        ),
        (
            "a name given twice",
            bytes(r#"{"name":"OrderCreated","Name":"X","eventData":"{}"}"#),
        ),
        ("deep nesting", bytes(deep("[", "]"))),
        ("deep nesting, not closed", bytes("{\"a\":".repeat(100_000))),
        ("1 MB of nothing", bytes(vec![b' '; 1_000_000])),
        ("1 MB that is no JSON", bytes(vec![b'x'; 1_000_000])),
    ]
}

/// Orders that nobody can validate; only Customers reads them.
fn wrong_orders() -> Vec<(String, Record)> {
    let mut rows = Vec::new();
    for id in ["id", "customerId"] {
        for value in [
            "\"seven\"",
            "\"\"",
            "7",
            "null",
            "{}",
            "\"00000000-0000-0000-0000-000000000000\"",
        ] {
            rows.push((format!("{id} {value}"), order_with(id, value)));
        }
    }
    for value in [
        "-1",
        "-0.01",
        "\"-12.50\"",
        "0",
        "\"0.0\"",
        "1e300",
        "1000000000000000",
        "0.00001",
        "NaN",
        "\"NaN\"",
        "Infinity",
        "\"Infinity\"",
        "\"a lot\"",
        "\"12,50\"",
        "\"\"",
        "true",
        "null",
        "[8]",
        "{}",
    ] {
        rows.push((format!("amount {value}"), order_with("amount", value)));
    }
    let megabyte = "9".repeat(900_000);
    rows.push((
        "amount of 900,000 digits".to_owned(),
        order_with("amount", &megabyte),
    ));
    rows.push(("status \"Lost\"".to_owned(), order_with("status", "\"Lost\"")));
    rows.push(("status 3".to_owned(), order_with("status", "3")));
    rows.push(("no fields".to_owned(), named("OrderCreated", &json!({}))));
    for data in ["", "hello", "[]", "null", "{\"id\":"] {
        let value = json!({ "name": "OrderCreated", "eventData": data }).to_string();
        rows.push((format!("eventData {data:?}"), bytes(value)));
    }
    rows
}

fn said([id, customer]: [Uuid; 2], amount: &Value) -> Value {
    json!({ "id": id, "customerId": customer, "amount": amount, "status": 0 })
}

/// Orders that look odd and are right. Each says once more what `known` has ordered (the order and its
/// customer, for an amount): it is handled, so it is answered once more.
pub fn odd_orders(known: impl Fn(Value) -> [Uuid; 2]) -> Vec<(&'static str, Record, Uuid)> {
    let mut rows = Vec::new();
    for (what, amount) in [
        ("an amount that is a numeric string", json!("12.50")),
        ("four fraction digits", json!("0.0001")),
        ("the largest amount", json!(999_999_999_999_999_u64)),
    ] {
        let of = known(amount.clone());
        rows.push((what, named("OrderCreated", &said(of, &amount)), of[0]));
    }
    let of = known(json!(8));
    rows.extend(
        odd_forms(of, &json!(8))
            .into_iter()
            .map(|(what, record)| (what, record, of[0])),
    );
    rows
}

/// What was ordered (the order and its customer, for an amount), said once more in each odd form that
/// is right.
pub fn odd_forms(of: [Uuid; 2], amount: &Value) -> Vec<(&'static str, Record)> {
    let order = || named("OrderCreated", &said(of, amount));
    let [id, customer] = of;
    let upper = json!({ "ID": id, "CUSTOMERID": customer, "Amount": amount, "Status": 0 }).to_string();
    let upper = json!({ "NAME": "OrderCreated", "EventData": upper });
    let mut future = said(of, amount);
    future["currency"] = json!("EUR");
    future["lines"] = json!([{ "sku": "a", "quantity": 2 }]);
    let data = said(of, amount).to_string();
    let padded = json!({ "name": "OrderCreated", "eventData": data, "x": "y".repeat(900_000) });
    let long = [b'x'; 100_000];
    let headers: [(&'static str, &[NameAndValue<'_>]); 6] = [
        (
            "binary headers",
            &[("ce_id", Some(b"\xff\x00\x01")), ("traceparent", Some(b"\x00"))],
        ),
        (
            "empty headers",
            &[
                ("ce_id", Some(b"")),
                ("ce_correlationid", Some(b"")),
                ("", Some(b"")),
            ],
        ),
        (
            "headers without a value",
            &[("ce_id", None), ("ce_correlationid", None), ("traceparent", None)],
        ),
        (
            "headers given twice",
            &[
                ("ce_id", Some(b"one")),
                ("ce_id", Some(b"two")),
                ("ce_type", Some(b"OrderShipped")),
            ],
        ),
        (
            "headers with line breaks",
            &[
                ("ce_id", Some(b"a\nINFO forged")),
                ("ce_correlationid", Some(b"\r\n")),
            ],
        ),
        ("a header of 100 KB", &[("ce_correlationid", Some(&long))]),
    ];
    let mut forms = vec![
        ("no key and no headers", Record { key: None, ..order() }),
        (
            "no key and no headers, once more",
            Record { key: None, ..order() },
        ),
        ("names in another case", bytes(upper.to_string())),
        (
            "a future version with more fields",
            named("OrderCreated", &future),
        ),
        ("900 KB beside the event", bytes(padded.to_string())),
    ];
    forms.extend(headers.map(|(what, headers)| (what, with_headers(order(), headers))));
    forms
}

/// A validation of an order that Orders does not know.
pub fn stray(id: Uuid, valid: bool) -> Row {
    let said = json!({ "orderId": id, "isValid": valid });
    row(
        "a validation of an unknown order",
        named("OrderValidated", &said),
        [NOT_HANDLED, Dead("unknown-order")],
    )
}

/// Everything at once: what nobody can handle, what nobody is meant by, and these odd orders, which
/// are right.
pub fn table(odd: &[(&str, Record, Uuid)]) -> Vec<Row> {
    let mut rows = bad();
    for (what, record, _) in odd {
        rows.push(row(*what, record.clone(), [Handled, NOT_HANDLED]));
    }
    rows
}

/// What nobody can handle, and what nobody is meant by.
pub fn bad() -> Vec<Row> {
    let mut rows = vec![
        row(
            "tombstone",
            Record {
                value: None,
                ..bytes("")
            },
            [TOMBSTONE, TOMBSTONE],
        ),
        row("tombstone without key", Record::default(), [TOMBSTONE, TOMBSTONE]),
    ];
    for (what, record) in without_envelope() {
        rows.push(row(what, record, [NO_ENVELOPE, NO_ENVELOPE]));
    }
    for (what, record) in wrong_orders() {
        rows.push(row(what, record, [NO_EVENT, NOT_HANDLED]));
    }
    let id = Uuid::now_v7();
    for said in [
        json!({}),
        json!({ "orderId": "seven", "isValid": true }),
        json!({ "orderId": id, "isValid": "yes" }),
        json!({ "orderId": id, "isValid": 1 }),
        json!({ "orderId": id, "isValid": false, "reason": "Whim" }),
        json!({ "orderId": id, "isValid": true, "amount": -1 }),
    ] {
        rows.push(row(
            format!("OrderValidated {said}"),
            named("OrderValidated", &said),
            [NOT_HANDLED, NO_EVENT],
        ));
    }
    let nobody = json!({ "id": id, "amount": 8 });
    rows.push(row(
        "a cancel of nobody",
        named("OrderCancelled", &nobody),
        [Dead("no-customer"), NOT_HANDLED],
    ));
    rows.push(row(
        "a cancel without its order",
        named("OrderCancelled", &json!({})),
        [NO_EVENT, NOT_HANDLED],
    ));
    for name in ["CustomerCreated", "CreditLimitChanged", "OrderShipped"] {
        rows.push(row(
            format!("{name} without fields"),
            named(name, &json!({})),
            [NOT_HANDLED, NOT_HANDLED],
        ));
    }
    for name in [
        "",
        "ordercreated",
        "ORDERCREATED",
        "OrderCreated ",
        "OrderCreatedV2",
        "Ordér\u{0}\nINFO forged",
    ] {
        let record = named(name, &json!({ "id": id }));
        rows.push(row(
            format!("an event called {name:?}"),
            record,
            [UNKNOWN, UNKNOWN],
        ));
    }
    let endless = named(&"x".repeat(900_000), &json!({}));
    rows.push(row("a name of 900 KB", endless, [UNKNOWN, UNKNOWN]));
    rows
}
