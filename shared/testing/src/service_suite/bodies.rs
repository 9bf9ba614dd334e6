//! Whatever is posted: never a 5xx, nothing stored, and the service lives on.

#![allow(missing_docs, reason = "the name of a promise says it")]

use std::io::Write;

use serde_json::json;

use super::{
    JSON, UnderTest, WithPosts, is_problem,
    support::{good_body, is_well, post, post_routes, with},
};
use crate::{
    http::{chunked, read_to_end},
    service::ServiceUnderTest,
};

/// Wrong for every amount of money.
const NO_MONEY: [&str; 14] = [
    "null",
    "-0.01",
    "-1",
    "\"NaN\"",
    "\"Infinity\"",
    "1e300",
    "1000000000000000",
    "0.00001",
    "1e-5",
    "\"\"",
    "\"a lot\"",
    "true",
    "[100]",
    "{}",
];

/// Wrong for every id.
const NO_ID: [&str; 9] = [
    "7",
    "{}",
    "\"\"",
    "\"seven\"",
    "\"b3d27f9b-d21d-327c-164e-7fb6776f87b\"",
    "\"b3d27f9b-d21d-327c-164e-7fb6776f87b0 \"",
    "\"b3d27f9b\\u0000d21d-327c-164e-7fb6776f87b0\"",
    "\"\\ud800\"",
    "\"00000000-0000-0000-0000-000000000000\"",
];

/// The beginning of a text, for messages.
fn beginning(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned()
}

/// A good body with one more field.
fn with_another<D: WithPosts>(name: &str, value: &str) -> Vec<u8> {
    let mut body = with::<D>("", b"");
    body.pop();
    [body, format!(",\"{name}\":{value}}}").into_bytes()].concat()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

pub fn a_body_that_cannot_be_read_is_400<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let (text, money) = (D::TEXT_FIELD, D::MONEY_FIELD);
    let good = with::<D>("", b"");
    let bodies: [Vec<u8>; 19] = [
        b"".into(),
        b" \n".into(),
        b"{".into(),
        format!("{{\"{money}\":").into(),
        format!("{{\"{money}\":1,}}").into(),
        b"{} {}".into(),
        format!("{text}=a&{money}=1").into(),
        b"<order/>".into(),
        b"null".into(),
        b"7".into(),
        b"true".into(),
        b"\"order\"".into(),
        [b"[", good.as_slice(), b"]"].concat(),
        with::<D>(text, b"\"\xff\xfe\""),
        with::<D>(text, b"\"a\nb\""),
        [good.as_slice(), b"\x00"].concat(),
        with::<D>(money, b"NaN"),
        "[".repeat(30_000).into(),
        nested(15_000).into(),
    ];
    for body in bodies {
        for path in post_routes::<D>() {
            let answer = service.http.send("POST", path, &[JSON], Some(&body));
            is_problem(&beginning(&body), &answer, 400, "malformed-body", None);
        }
    }
    is_well::<D>(&service);
}

pub fn a_body_in_chunks_without_their_lengths_is_400<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n",
        D::RESOURCE
    );
    let request = format!("{head}transfer-encoding: chunked\r\n\r\nno length\r\n");
    let answer = service.http.raw(request.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed-body"),
        "{answer:?}"
    );
    is_well::<D>(&service);
}

pub fn a_field_that_is_wrong_is_400_and_named<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let mut cases: Vec<_> = NO_MONEY.map(|value| (D::MONEY_FIELD, value.to_owned())).into();
    cases.push((D::MONEY_FIELD, "9".repeat(30_000)));
    cases.push((D::MONEY_FIELD, nested(10_000)));
    for field in D::ID_FIELDS.iter().copied() {
        cases.extend(NO_ID.map(|value| (field, value.to_owned())));
        cases.push((field, format!("\"{}\"", "f".repeat(30_000))));
    }
    cases.extend(D::wrong_values());
    for (field, value) in cases {
        let body = with::<D>(field, value.as_bytes());
        for path in post_routes::<D>() {
            let answer = service.http.send("POST", path, &[JSON], Some(&body));
            let what = format!("{field}: {}", beginning(value.as_bytes()));
            is_problem(&what, &answer, 400, "invalid-field", Some(field));
        }
    }
    let required = D::FIELDS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| *name != "id");
    let answer = post::<D>(&service, &json!({})).expect(400);
    assert_eq!(answer.wrong_fields(), required.collect::<Vec<_>>(), "all at once");
    let other_case = D::MONEY_FIELD.to_uppercase();
    let twice = with_another::<D>(&other_case, "2");
    let answer = service.http.send("POST", D::RESOURCE, &[JSON], Some(&twice));
    is_problem("twice", &answer, 400, "invalid-field", Some(D::MONEY_FIELD));
    is_well::<D>(&service);
}

pub fn what_is_not_known_in_a_body_is_ignored_however_deep<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let body = with_another::<D>("other", &nested(10_000));
    service
        .http
        .send("POST", D::RESOURCE, &[JSON], Some(&body))
        .expect(201);
}

pub fn a_body_of_another_type_or_size_is_refused<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let good = with::<D>("", b"");
    let types: [&[(&str, &str)]; 6] = [
        &[],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[("content-type", "application/jsonx")],
        &[JSON, ("content-encoding", "gzip")],
    ];
    for headers in types {
        let answer = service.http.send("POST", D::RESOURCE, headers, Some(&good));
        is_problem(
            &format!("{headers:?}"),
            &answer,
            415,
            "unsupported-media-type",
            None,
        );
    }
    let long = format!("\"{}\"", "x".repeat(33 * 1024));
    let large = with::<D>(D::TEXT_FIELD, long.as_bytes());
    let answer = service.http.send("POST", D::RESOURCE, &[JSON], Some(&large));
    is_problem("declared", &answer, 413, "body-too-large", None);
    let json = "content-type: application/json\r\n";
    let answer = service.http.raw(&chunked("POST", D::RESOURCE, json, &large));
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"),
        "{answer}"
    );
    let huge = format!(
        "POST {} HTTP/1.1\r\nhost: test\r\n{json}content-length: 99999999999\r\n\r\n{{",
        D::RESOURCE
    );
    let mut stream = service.http.connect();
    stream.write_all(huge.as_bytes()).expect("the service reads");
    let answer = read_to_end(stream);
    assert!(
        answer.starts_with("HTTP/1.1 413 "),
        "refused before it is read: {answer}"
    );
    is_well::<D>(&service);
}

pub fn an_idempotency_key_that_is_wrong_is_400<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let long = "k".repeat(256);
    for key in ["", long.as_str(), "schlüssel"] {
        let headers = [("idempotency-key", key)];
        let answer = service.http.post_with(D::RESOURCE, &headers, &good_body::<D>());
        is_problem(key, &answer, 400, "invalid-field", Some("Idempotency-Key"));
    }
    is_well::<D>(&service);
}
