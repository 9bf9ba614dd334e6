//! Paths that are not there, and what is hardly HTTP: garbage, and requests that stall.

use std::io::Write;

use testing::http::read_to_end;
use uuid::Uuid;

use super::{
    Service,
    bad_input::{is_problem, is_well},
};

#[test]
fn what_is_not_there_is_404_and_what_is_not_for_it_405() {
    let service = Service::start();
    for path in [
        "/",
        "/api",
        "/api/nothing",
        "/api/orders/x/y/z",
        "/api/order",
        "/%00",
        "/api/%2e%2e",
    ] {
        is_problem(path, &service.http.get(path), 404, "unknown-path", None);
    }
    let id = Uuid::new_v4();
    is_problem(
        "unknown",
        &service.http.get(&format!("/api/orders/{id}")),
        404,
        "not-found",
        None,
    );
    for id in [
        "seven",
        "7",
        "%F0%9F%A6%80",
        "%ff",
        "00000000-0000-0000-0000-000000000000",
    ] {
        let answer = service.http.get(&format!("/api/orders/{id}"));
        is_problem(id, &answer, 400, "invalid-field", Some("id"));
    }
    for (method, path, allow) in [
        ("DELETE", "/api/orders".to_owned(), "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/api/orders".to_owned(), "GET, HEAD, POST, OPTIONS"),
        ("PATCH", format!("/api/orders/{id}"), "GET, HEAD, OPTIONS"),
        ("GET", "/api/Orders/NewOrder".to_owned(), "POST, OPTIONS"),
        ("GET", format!("/api/orders/{id}/cancel"), "POST, OPTIONS"),
        ("POST", "/health/live".to_owned(), "GET, HEAD, OPTIONS"),
        ("BREW", "/api/orders".to_owned(), "GET, HEAD, POST, OPTIONS"),
    ] {
        let raw = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = service.http.raw(raw.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
        assert!(
            answer.contains(&format!("allow: {allow}\r\n")),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains("method-not-allowed"), "{method} {path}: {answer}");
    }
    is_well(&service);
}

#[test]
fn what_is_no_http_is_refused_and_harms_nobody() {
    let service = Service::start();
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(200_000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let requests: [&[u8]; 9] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: test\r\n\r\n",
        b"POST /api/orders HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
        b"POST /api/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        long_path.as_bytes(),
        long_header.as_bytes(),
    ];
    for request in requests {
        let answer = service.http.raw(request);
        let what = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{what:?}: {answer}"
        );
    }
    is_well(&service);
}

#[test]
fn a_request_that_stalls_is_given_up_after_some_seconds() {
    let service = Service::start();
    let begin = std::time::Instant::now();
    let head = "POST /api/orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    let stalled = [
        (
            "in its body",
            format!("{head}content-length: 40\r\n\r\n{{\"amount\":"),
        ),
        (
            "in a chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n10\r\n{{\"amount\":"),
        ),
        ("in its headers", head.to_owned()),
    ];
    let streams = stalled.map(|(what, bytes)| {
        let mut stream = service.http.connect();
        stream.write_all(bytes.as_bytes()).expect("the service reads");
        (what, stream)
    });
    // Others are served meanwhile.
    is_well(&service);
    for (what, stream) in streams {
        eprintln!("waiting for the end of the request that stalls {what}");
        let answer = read_to_end(stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{what}: {answer}");
        assert_eq!(
            answer.contains("body-too-slow"),
            what != "in its headers",
            "{what}: {answer}"
        );
    }
    let took = begin.elapsed();
    assert!((4..9).contains(&took.as_secs()), "given up after {took:?}");
}
