//! Whatever is sent: never a 5xx, nothing stored, and the service lives on.

use std::io::Write;

use serde_json::json;
use testing::http::{Answer, chunked, read_to_end};
use uuid::Uuid;

use super::{Service, order, status};

const JSON: (&str, &str) = ("content-type", "application/json");
const CUSTOMER: &str = "b3d27f9b-d21d-327c-164e-7fb6776f87b0";

/// The answer is a problem of this kind, which names this field (if any).
#[track_caller]
pub fn is_problem(what: &str, answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}: {answer:?}"
    );
    assert_eq!(answer.text("code"), code, "{what}: {answer:?}");
    assert_eq!(
        Some(answer.text("correlationId").as_str()),
        answer.header("x-request-id"),
        "{what}"
    );
    let wrong = answer.wrong_fields();
    let expected: Vec<_> = field.into_iter().map(str::to_owned).collect();
    assert_eq!(wrong, expected, "{what}: {answer:?}");
}

/// Nothing was stored, and a good request is answered.
#[track_caller]
pub fn is_well(service: &Service) {
    assert_eq!(
        service.http.get("/api/orders").expect(200).json(),
        json!({ "items": [] })
    );
    order(service, Uuid::new_v4(), 100);
    let listed = service.http.get("/api/orders").expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    service.until_ready();
}

/// An order with one field of another value, given as JSON.
fn with(field: &str, value: &str) -> String {
    let customer = format!("{CUSTOMER:?}");
    let fields = [
        ("id", "null"),
        ("customerId", customer.as_str()),
        ("amount", "100"),
    ];
    let fields =
        fields.map(|(name, right)| format!("\"{name}\":{}", if name == field { value } else { right }));
    format!("{{{}}}", fields.join(","))
}

#[test]
fn a_body_that_cannot_be_read_is_400() {
    let service = Service::start();
    let deep = "[".repeat(30_000);
    let balanced = format!("{}{}", "[".repeat(15_000), "]".repeat(15_000));
    let bodies: [&[u8]; 19] = [
        b"",
        b" \n",
        b"{",
        b"{\"amount\":",
        b"{\"amount\":1,}",
        b"{} {}",
        b"customerId=1&amount=1",
        b"<order/>",
        b"null",
        b"7",
        b"true",
        b"\"order\"",
        b"[{\"amount\":1}]",
        b"{\"customerId\":\"\xff\xfe\",\"amount\":1}",
        b"{\"customerId\":\"a\nb\",\"amount\":1}",
        b"{\"customerId\":\"x\",\"amount\":1}\x00",
        b"{\"customerId\":\"x\",\"amount\":NaN}",
        deep.as_bytes(),
        balanced.as_bytes(),
    ];
    for body in bodies {
        for path in ["/api/orders", "/api/Orders/NewOrder"] {
            let answer = service.http.send("POST", path, &[JSON], Some(body));
            let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            is_problem(&what, &answer, 400, "malformed-body", None);
        }
    }
    is_well(&service);
}

#[test]
fn a_field_that_is_wrong_is_400_and_named() {
    let service = Service::start();
    let long = format!("\"{}\"", "f".repeat(30_000));
    let digits = "9".repeat(30_000);
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let mut cases = vec![
        ("amount", "null"),
        ("amount", "0"),
        ("amount", "-0"),
        ("amount", "\"0.0000\""),
        ("amount", "-0.01"),
        ("amount", "-1"),
        ("amount", "\"NaN\""),
        ("amount", "\"Infinity\""),
        ("amount", "1e300"),
        ("amount", "1000000000000000"),
        ("amount", "0.00001"),
        ("amount", "1e-5"),
        ("amount", digits.as_str()),
        ("amount", nested.as_str()),
        ("amount", "\"\""),
        ("amount", "\"a lot\""),
        ("amount", "true"),
        ("amount", "[100]"),
        ("amount", "{}"),
        ("customerId", "null"),
    ];
    for field in ["id", "customerId"] {
        for value in [
            "7",
            "{}",
            "\"\"",
            "\"seven\"",
            "\"b3d27f9b-d21d-327c-164e-7fb6776f87b\"",
            "\"b3d27f9b-d21d-327c-164e-7fb6776f87b0 \"",
            "\"b3d27f9b\\u0000d21d-327c-164e-7fb6776f87b0\"",
            "\"\\ud800\"",
            "\"00000000-0000-0000-0000-000000000000\"",
            long.as_str(),
        ] {
            cases.push((field, value));
        }
    }
    for (field, value) in cases {
        for path in ["/api/orders", "/api/Orders/NewOrder"] {
            let answer = service
                .http
                .send("POST", path, &[JSON], Some(with(field, value).as_bytes()));
            let what = format!("{field}: {}", &value[..value.len().min(60)]);
            is_problem(&what, &answer, 400, "invalid-field", Some(field));
        }
    }
    let answer = service.http.post("/api/orders", &json!({}));
    assert_eq!(
        answer.expect(400).wrong_fields(),
        ["customerId", "amount"],
        "all at once"
    );
    let twice = format!("{{\"customerId\":{CUSTOMER:?},\"amount\":1,\"Amount\":2}}");
    let answer = service
        .http
        .send("POST", "/api/orders", &[JSON], Some(twice.as_bytes()));
    is_problem("twice", &answer, 400, "invalid-field", Some("amount"));
    is_well(&service);
}

#[test]
fn what_is_not_known_in_a_body_is_ignored_however_deep() {
    let service = Service::start();
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let body = format!("{{\"customerId\":{CUSTOMER:?},\"amount\":1,\"other\":{nested}}}");
    service
        .http
        .send("POST", "/api/orders", &[JSON], Some(body.as_bytes()))
        .expect(201);
}

#[test]
fn a_cancellation_that_is_wrong_changes_nothing() {
    let service = Service::start();
    let id = order(&service, Uuid::new_v4(), 1);
    let path = format!("/api/orders/{id}/cancel");
    let answer = service
        .http
        .send("POST", &path, &[("content-type", "text/plain")], Some(b"please"));
    is_problem("type", &answer, 415, "unsupported-media-type", None);
    let answer = service
        .http
        .send("POST", &path, &[JSON], Some(&vec![b' '; 33 * 1024]));
    is_problem("size", &answer, 413, "body-too-large", None);
    let answer = service
        .http
        .send("POST", &format!("{path}?wait=1s"), &[], Some(b""));
    is_problem("parameter", &answer, 400, "invalid-field", Some("query"));
    let answer = service
        .http
        .send("POST", "/api/orders/seven/cancel", &[], Some(b""));
    is_problem("no id", &answer, 400, "invalid-field", Some("id"));
    let answer = service.http.send(
        "POST",
        &format!("/api/orders/{}/cancel", Uuid::new_v4()),
        &[],
        Some(b""),
    );
    is_problem("unknown", &answer, 404, "not-found", None);
    assert_eq!(status(&service, id), "Created");
}

#[test]
fn a_body_of_another_type_or_size_is_refused() {
    let service = Service::start();
    let good = with("", "");
    let types: [&[(&str, &str)]; 6] = [
        &[],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[("content-type", "application/jsonx")],
        &[JSON, ("content-encoding", "gzip")],
    ];
    for headers in types {
        let answer = service
            .http
            .send("POST", "/api/orders", headers, Some(good.as_bytes()));
        is_problem(
            &format!("{headers:?}"),
            &answer,
            415,
            "unsupported-media-type",
            None,
        );
    }
    let large = with("customerId", &format!("\"{}\"", "x".repeat(33 * 1024)));
    let answer = service
        .http
        .send("POST", "/api/orders", &[JSON], Some(large.as_bytes()));
    is_problem("declared", &answer, 413, "body-too-large", None);
    let raw = chunked(
        "POST",
        "/api/orders",
        "content-type: application/json\r\n",
        large.as_bytes(),
    );
    let answer = service.http.raw(&raw);
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"),
        "{answer}"
    );
    let huge = "POST /api/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{";
    let mut stream = service.http.connect();
    stream.write_all(huge.as_bytes()).expect("the service reads");
    let answer = read_to_end(stream);
    assert!(
        answer.starts_with("HTTP/1.1 413 "),
        "refused before it is read: {answer}"
    );
    is_well(&service);
}

#[test]
fn what_is_no_http_is_refused_and_its_connection_closed() {
    let service = Service::start();
    let large = format!(
        "GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
        "x".repeat(200 * 1024)
    );
    for (request, status) in [
        ("GET / HTTP/9.9\r\nhost: test\r\n\r\n", 400),
        ("GET /api/orders HTTP/1.1\r\nhost test\r\n\r\n", 400),
        ("\u{1}\u{2}\u{3}\r\n\r\n", 400),
        (large.as_str(), 431),
    ] {
        let answer = service.http.raw(request.as_bytes());
        // Written by the HTTP library, which offers no place to give it a body.
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.contains("content-length: 0\r\n"), "{answer:?}");
    }
    let head = "POST /api/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    let answer = service
        .http
        .raw(format!("{head}transfer-encoding: chunked\r\n\r\nno length\r\n").as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed-body"),
        "{answer:?}"
    );
    is_well(&service);
}

#[test]
fn an_idempotency_key_that_is_wrong_is_400() {
    let service = Service::start();
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "schlüssel"] {
        let headers = [("idempotency-key", key)];
        let answer = service.http.post_with(
            "/api/orders",
            &headers,
            &json!({ "customerId": CUSTOMER, "amount": 1 }),
        );
        is_problem(key, &answer, 400, "invalid-field", Some("Idempotency-Key"));
    }
    is_well(&service);
}

#[test]
fn parameters_that_are_wrong_are_400_and_named() {
    let service = Service::start();
    let id = order(&service, Uuid::new_v4(), 100);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=501", "limit"),
        ("limit=", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=1&LIMIT=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=next", "cursor"),
        ("cursor=00000000-0000-0000-0000-000000000000", "cursor"),
        ("customerId=", "customerId"),
        ("customerId=seven", "customerId"),
        ("status=", "status"),
        ("status=Lost", "status"),
        ("status=3", "status"),
        ("status=0&status=1", "status"),
        ("wait=1s", "query"),
        ("page=2", "query"),
        ("%ff=1", "query"),
        ("limit=1&%00=x", "query"),
    ] {
        let answer = service.http.get(&format!("/api/orders?{query}"));
        is_problem(query, &answer, 400, "invalid-field", Some(field));
    }
    for wait in [
        "",
        "soon",
        "-1s",
        "31s",
        "30001ms",
        "1h",
        "1.5s",
        "99999999999999999999s",
        "1s&wait=2s",
    ] {
        let answer = service.http.get(&format!("/api/orders/{id}?wait={wait}"));
        is_problem(wait, &answer, 400, "invalid-field", Some("wait"));
        for path in ["/api/orders", "/api/Orders/NewOrder"] {
            let path = format!("{path}?wait={wait}");
            let answer = service
                .http
                .send("POST", &path, &[JSON], Some(with("", "").as_bytes()));
            is_problem(wait, &answer, 400, "invalid-field", Some("wait"));
        }
    }
    let answer = service.http.get(&format!("/api/orders/{id}?verbose=1"));
    is_problem("unknown", &answer, 400, "invalid-field", Some("query"));
    let listed = service.http.get("/api/orders").expect(200).json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "only the good one is stored"
    );
}
