//! Whatever is sent: never a 5xx, nothing stored, and the service lives on.

use std::io::Write;

use serde_json::json;
use testing::http::{Answer, chunked, read_to_end};
use uuid::Uuid;

use super::{Service, customer};

const JSON: (&str, &str) = ("content-type", "application/json");

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
        service.http.get("/api/customers").expect(200).json(),
        json!({ "items": [] })
    );
    customer(service, 100);
    let listed = service.http.get("/api/customers").expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    service.until_ready();
}

/// A customer with one field of another value, given as JSON.
fn with(field: &str, value: &str) -> String {
    let fields = [("id", "null"), ("name", "\"Ada\""), ("creditLimit", "100")];
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
        b"{\"name\":",
        b"{\"name\":\"Ada\",}",
        b"{} {}",
        b"name=Ada&creditLimit=1",
        b"<customer/>",
        b"null",
        b"7",
        b"true",
        b"\"Ada\"",
        b"[{\"name\":\"Ada\",\"creditLimit\":1}]",
        b"{\"name\":\"\xff\xfe\",\"creditLimit\":1}",
        b"{\"name\":\"A\nda\",\"creditLimit\":1}",
        b"{\"name\":\"Ada\",\"creditLimit\":1}\x00",
        b"{\"name\":\"Ada\",\"creditLimit\":NaN}",
        deep.as_bytes(),
        balanced.as_bytes(),
    ];
    for body in bodies {
        for path in ["/api/customers", "/api/Customer/NewCustomer"] {
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
    let long_name = format!("\"{}\"", "x".repeat(201));
    let longer_name = format!("\"{}\"", "x".repeat(30_000));
    let digits = "9".repeat(30_000);
    let cases = [
        ("name", "null"),
        ("name", "7"),
        ("name", "{}"),
        ("name", "\"\""),
        ("name", "\" \\t \""),
        ("name", "\"A\\u0000da\""),
        ("name", "\"A\\u001b[31mda\""),
        ("name", "\"A\\nda\""),
        ("name", "\"\\ud800\""),
        ("name", long_name.as_str()),
        ("name", longer_name.as_str()),
        ("creditLimit", "null"),
        ("creditLimit", "-0.01"),
        ("creditLimit", "-1"),
        ("creditLimit", "\"NaN\""),
        ("creditLimit", "\"Infinity\""),
        ("creditLimit", "1e300"),
        ("creditLimit", "1000000000000000"),
        ("creditLimit", "0.00001"),
        ("creditLimit", "1e-5"),
        ("creditLimit", digits.as_str()),
        ("creditLimit", "\"\""),
        ("creditLimit", "\"a lot\""),
        ("creditLimit", "true"),
        ("creditLimit", "[100]"),
        ("creditLimit", "{}"),
        ("id", "7"),
        ("id", "\"\""),
        ("id", "\"seven\""),
        ("id", "\"b3d27f9b-d21d-327c-164e-7fb6776f87b\""),
        ("id", "\"00000000-0000-0000-0000-000000000000\""),
    ];
    for (field, value) in cases {
        for path in ["/api/customers", "/api/Customer/NewCustomer"] {
            let answer = service
                .http
                .send("POST", path, &[JSON], Some(with(field, value).as_bytes()));
            let what = format!("{field}: {}", &value[..value.len().min(60)]);
            is_problem(&what, &answer, 400, "invalid-field", Some(field));
        }
    }
    let answer = service.http.post("/api/customers", &json!({}));
    assert_eq!(
        answer.expect(400).wrong_fields(),
        ["name", "creditLimit"],
        "all at once"
    );
    let twice = br#"{"name":"Ada","creditLimit":1,"CreditLimit":2}"#;
    let answer = service.http.send("POST", "/api/customers", &[JSON], Some(twice));
    is_problem("twice", &answer, 400, "invalid-field", Some("creditLimit"));
    is_well(&service);
}

#[test]
fn a_credit_limit_that_is_wrong_changes_nothing() {
    let service = Service::start();
    let id = customer(&service, 100);
    let paths = [
        format!("/api/customers/{id}/credit-limit"),
        format!("/api/Customer/{id}"),
    ];
    for path in &paths {
        for body in [
            "-1",
            "\"x\"",
            "1e300",
            "0.00001",
            "[1]",
            "{}",
            "{\"creditLimit\":-1}",
            "null",
            "true",
        ] {
            let answer = service.http.send("PUT", path, &[JSON], Some(body.as_bytes()));
            is_problem(body, &answer, 400, "invalid-field", Some("creditLimit"));
        }
        for body in ["", "1 2", "ten", "{\"creditLimit\":", "NaN"] {
            let answer = service.http.send("PUT", path, &[JSON], Some(body.as_bytes()));
            is_problem(body, &answer, 400, "malformed-body", None);
        }
    }
    let answer = service.http.put("/api/customers/seven/credit-limit", &json!(1));
    is_problem("no id", &answer, 400, "invalid-field", Some("id"));
    let answer = service
        .http
        .put(&format!("/api/Customer/{}", Uuid::new_v4()), &json!(1));
    is_problem("unknown", &answer, 404, "not-found", None);
    let found = service
        .http
        .get(&format!("/api/customers/{id}"))
        .expect(200)
        .json();
    assert_eq!(found["creditLimit"], 100.0);
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
            .send("POST", "/api/customers", headers, Some(good.as_bytes()));
        is_problem(
            &format!("{headers:?}"),
            &answer,
            415,
            "unsupported-media-type",
            None,
        );
    }
    let large = with("name", &format!("\"{}\"", "x".repeat(33 * 1024)));
    let answer = service
        .http
        .send("POST", "/api/customers", &[JSON], Some(large.as_bytes()));
    is_problem("declared", &answer, 413, "body-too-large", None);
    let raw = chunked(
        "POST",
        "/api/customers",
        "content-type: application/json\r\n",
        large.as_bytes(),
    );
    let answer = service.http.raw(&raw);
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"),
        "{answer}"
    );
    let huge = "POST /api/customers HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{";
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
fn an_idempotency_key_that_is_wrong_is_400() {
    let service = Service::start();
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "schlüssel"] {
        let headers = [("idempotency-key", key)];
        let answer = service.http.post_with(
            "/api/customers",
            &headers,
            &json!({ "name": "Ada", "creditLimit": 1 }),
        );
        is_problem(key, &answer, 400, "invalid-field", Some("Idempotency-Key"));
    }
    is_well(&service);
}

#[test]
fn parameters_that_are_wrong_are_400_and_named() {
    let service = Service::start();
    let id = customer(&service, 100);
    for list in [
        "/api/customers".to_owned(),
        format!("/api/customers/{id}/reservations"),
    ] {
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
            ("page=2", "query"),
            ("%ff=1", "query"),
            ("limit=1&%00=x", "query"),
        ] {
            let answer = service.http.get(&format!("{list}?{query}"));
            is_problem(query, &answer, 400, "invalid-field", Some(field));
        }
    }
    let answer = service.http.get(&format!("/api/customers/{id}?verbose=1"));
    is_problem("none is known", &answer, 400, "invalid-field", Some("query"));
    let answer = service.http.send(
        "POST",
        "/api/customers?wait=1s",
        &[JSON],
        Some(with("", "").as_bytes()),
    );
    is_problem("not here", &answer, 400, "invalid-field", Some("query"));
}
