//! Records that are no events: each has its error, none a panic.

use super::*;

/// Part of the text of the error with which a value is refused.
fn refusal(value: Option<&[u8]>) -> String {
    match Received::read(&consumed(value)) {
        Err(error) => format!("envelope: {error}"),
        Ok(received) => {
            assert_eq!(received.name, "OrderCreated");
            match read::<OrderCreated>(&received.data) {
                Err(error) => format!("event: {error}"),
                Ok(event) => panic!("{event:?} was read from {value:?}"),
            }
        }
    }
}

#[track_caller]
fn refused(value: &[u8], expected: &str) {
    let error = refusal(Some(value));
    let start = String::from_utf8_lossy(&value[..value.len().min(120)]);
    assert!(
        error.contains(expected),
        "{start}: {error:?} does not say {expected:?}"
    );
    assert!(error.len() < 2000, "{start}: an error of {} bytes", error.len());
}

fn data(data: &str) -> Vec<u8> {
    json!({ "name": "OrderCreated", "eventData": data })
        .to_string()
        .into_bytes()
}

/// An order with one field of another value, given as JSON.
fn with(field: &str, value: &str) -> Vec<u8> {
    let fields = [
        ("id", format!("{ORDER:?}")),
        ("customerId", format!("{CUSTOMER:?}")),
        ("amount", "800.0".to_owned()),
        ("status", "0".to_owned()),
    ];
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, right)| format!("\"{name}\":{}", if *name == field { value } else { right }))
        .collect();
    data(&format!("{{{}}}", fields.join(",")))
}

#[test]
fn a_tombstone_is_no_event() {
    assert_eq!(Received::read(&consumed(None)), Err(EnvelopeError::Tombstone));
}

#[test]
fn a_value_of_another_shape_is_no_event() {
    refused(b"", "envelope: the value is empty");
    refused(b" \r\n\t", "envelope: the value is empty");
    refused(b"\xff\xfe{\x00}", "envelope: the value is not UTF-8 (byte 0)");
    refused(
        b"{\"name\":\"\xc3\x28\"}",
        "envelope: the value is not UTF-8 (byte 9)",
    );
    refused(b"hello", "envelope: the value is not JSON");
    refused(b"{\"name\":\"OrderCreated\"", "envelope: the value is not JSON");
    refused(b"{\"name\":\"OrderCreated\",}", "envelope: the value is not JSON");
    refused(b"{} {}", "envelope: the value is not JSON");
    refused(b"\x00\x00\x00\x05magic", "envelope: the value is not JSON");
    refused(b"null", "envelope: the value is not a JSON object");
    refused(b"7", "envelope: the value is not a JSON object");
    refused(
        b"[{\"name\":\"OrderCreated\"}]",
        "envelope: the value is not a JSON object",
    );
    refused(b"\"OrderCreated\"", "envelope: the value is not a JSON object");
}

#[test]
fn an_envelope_with_wrong_fields_is_no_event() {
    refused(b"{}", "`name` is missing");
    refused(b"{}", "`eventData` is missing");
    refused(
        br#"{"name":"OrderCreated"}"#,
        "envelope: the value: `eventData` is missing",
    );
    refused(br#"{"eventData":"{}"}"#, "envelope: the value: `name` is missing");
    refused(br#"{"name":null,"eventData":"{}"}"#, "`name` is null");
    refused(br#"{"name":7,"eventData":"{}"}"#, "`name` is a number");
    refused(
        br#"{"name":"OrderCreated","eventData":{"id":1}}"#,
        "`eventData` is an object",
    );
    refused(
        br#"{"name":"OrderCreated","Name":"X","eventData":"{}"}"#,
        "`name` is given twice",
    );
    refused(
        br#"{"name":"\ud800","eventData":"{}"}"#,
        "`name` is not a valid string",
    );
}

#[test]
fn event_data_of_another_shape_is_poison() {
    refused(&data(""), "event: eventData is empty");
    refused(&data("hello"), "event: eventData is not JSON");
    refused(&data("[]"), "event: eventData is not a JSON object");
    refused(&data("{\"id\":"), "event: eventData is not JSON");
    assert_eq!(
        read::<OrderCreated>("[]"),
        Err(EventError::Malformed(Malformed::OtherShape("object")))
    );
}

#[test]
fn missing_fields_are_all_named() {
    let Err(EventError::Fields(errors)) = read::<OrderCreated>("{}") else {
        panic!("an order without fields was read");
    };
    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    assert_eq!(fields, ["id", "customerId", "amount"]);
    assert!(errors.iter().all(|error| error.problem == "is missing"));
}

#[test]
fn wrong_fields_say_what_is_wrong() {
    for id in ["id", "customerId"] {
        let nil = "\"00000000-0000-0000-0000-000000000000\"";
        for (value, problem) in [
            ("\"seven\"", "is not a UUID"),
            ("\"\"", "is not a UUID"),
            ("\"b4d27f9b-d21d-327c-164e-7fb6776f87b\"", "is not a UUID"),
            (nil, "is all zeros"),
            ("null", "is null"),
            ("7", "is a number"),
            ("{}", "is an object"),
        ] {
            refused(&with(id, value), &format!("event: eventData: `{id}` {problem}"));
        }
    }
    for (value, problem) in [
        ("-800.0", "is negative"),
        ("\"-0.01\"", "is negative"),
        ("0", "is zero"),
        ("-0.0", "is zero"),
        ("\"0.0\"", "is zero"),
        ("0.00001", "has more than 4 fraction digits"),
        ("1e300", "is out of range"),
        ("1000000000000000", "is out of range"),
        ("9999999999999999999999999999999999999999", "is out of range"),
        ("1e99999999999999999999", "is out of range"),
        ("\"eight hundred\"", "is not a decimal number"),
        ("\"NaN\"", "is not a decimal number"),
        ("\"Infinity\"", "is not a decimal number"),
        ("\"800,00\"", "is not a decimal number"),
        ("\" 800\"", "is not a decimal number"),
        ("\"\"", "is not a decimal number"),
        ("true", "is a boolean"),
        ("[800]", "is an array"),
        ("null", "is null"),
    ] {
        refused(
            &with("amount", value),
            &format!("event: eventData: `amount` {problem}"),
        );
    }
    for value in ["NaN", "Infinity", "+800", "0x10", "800.", ".8", "01", "1_000"] {
        refused(&with("amount", value), "event: eventData is not JSON");
    }
    for value in ["3", "-1", "\"Lost\"", "0.5", "true", "{}", "99999999999999999999"] {
        refused(
            &with("status", value),
            "event: eventData: `status` is no order status",
        );
    }
}

#[test]
fn wrong_extra_fields_of_ours_are_poison_too() {
    let said = |extra: &str| format!(r#"{{"orderId":"{ORDER}","isValid":true,{extra}}}"#);
    for extra in [
        r#""customerId":"x""#,
        r#""amount":-1"#,
        r#""reason":"Whim""#,
        r#""reason":7"#,
        r#""isvalid":false"#,
    ] {
        assert!(read::<OrderValidated>(&said(extra)).is_err(), "{extra}");
    }
    for valid in ["1", "\"true\"", "null"] {
        let data = format!(r#"{{"orderId":"{ORDER}","isValid":{valid}}}"#);
        assert!(read::<OrderValidated>(&data).is_err(), "{valid}");
    }
}

#[test]
fn deep_nesting_and_a_megabyte_cost_nothing_but_the_record() {
    for depth in [200, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        refused(open.as_bytes(), "envelope: the value is not JSON");
        refused(format!("{open}{close}").as_bytes(), "envelope: the value is not");
        refused(
            "{\"a\":".repeat(depth).as_bytes(),
            "envelope: the value is not JSON",
        );
        refused(&data(&format!("{open}{close}")), "event: eventData is not");
        refused(&with("amount", &format!("{open}{close}")), "`amount` is an array");
    }
    refused(&with("amount", &"9".repeat(1 << 20)), "`amount` is out of range");
    refused(&with("amount", &format!("0.{}", "0".repeat(1 << 20))), "`amount`");
    refused(
        &with("id", &format!("{:?}", "f".repeat(1 << 20))),
        "`id` is not a UUID",
    );
    refused(&vec![b' '; 1 << 20], "envelope: the value is empty");
    refused(&data(&" ".repeat(1 << 20)), "event: eventData is empty");
    let many: Vec<_> = (0..50_000)
        .map(|number| format!("\"f{number}\":{number}"))
        .collect();
    refused(&data(&format!("{{{}}}", many.join(","))), "`id` is missing");
    let unknown: Value = json!({ "name": "OrderCreated", "eventData": "{}", "x": "y".repeat(1 << 20) });
    refused(
        unknown.to_string().as_bytes(),
        "event: eventData: `id` is missing",
    );
}
