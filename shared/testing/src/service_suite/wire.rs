//! Paths that are not there, and what is hardly HTTP: garbage, and requests that stall.

#![allow(missing_docs, reason = "the name of a promise says it")]

use std::io::Write;

use uuid::Uuid;

use super::{
    ServiceDescription, UnderTest, WithPosts, is_problem,
    support::{is_well, methods, path_of},
};
use crate::{http::read_to_end, service::ServiceUnderTest};

pub fn what_is_not_there_is_404_and_what_is_not_for_it_405<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let below = format!("{}/x/y/z", D::RESOURCE);
    let cut_off = &D::RESOURCE[..D::RESOURCE.len() - 1];
    for path in [
        "/",
        "/api",
        "/api/nothing",
        &below,
        cut_off,
        "/%00",
        "/api/%2e%2e",
    ] {
        is_problem(path, &service.http.get(path), 404, "unknown-path", None);
    }
    let id = Uuid::new_v4();
    let answer = service.http.get(&path_of::<D>(id));
    is_problem("unknown", &answer, 404, "not-found", None);
    for id in [
        "seven",
        "7",
        "%F0%9F%A6%80",
        "%ff",
        "00000000-0000-0000-0000-000000000000",
    ] {
        let answer = service.http.get(&path_of::<D>(id));
        is_problem(id, &answer, 400, "invalid-field", Some("id"));
    }
    let health = ("/health/live", "GET, HEAD, OPTIONS");
    for (path, allow) in D::ROUTES.iter().copied().chain([health]) {
        let path = path.replace("{id}", &id.to_string());
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "BREW"] {
            if methods(allow).any(|allowed| allowed == method) {
                continue;
            }
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
    }
    is_well::<D>(&service);
}

pub fn what_is_no_http_is_refused_and_harms_nobody<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(200_000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let head = format!("POST {} HTTP/1.1\r\nhost: test\r\n", D::RESOURCE);
    let less_than_none = format!("{head}content-length: -1\r\n\r\n");
    let no_chunk = format!(
        "{head}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n"
    );
    let requests: [&[u8]; 9] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: test\r\n\r\n",
        less_than_none.as_bytes(),
        no_chunk.as_bytes(),
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
    is_well::<D>(&service);
}

pub fn what_is_no_http_is_refused_and_its_connection_closed<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let large = format!(
        "GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n",
        "x".repeat(200 * 1024)
    );
    let no_header = format!("GET {} HTTP/1.1\r\nhost test\r\n\r\n", D::RESOURCE);
    for (request, status) in [
        ("GET / HTTP/9.9\r\nhost: test\r\n\r\n", 400),
        (no_header.as_str(), 400),
        ("\u{1}\u{2}\u{3}\r\n\r\n", 400),
        (large.as_str(), 431),
    ] {
        let answer = service.http.raw(request.as_bytes());
        // Written by the HTTP library, which offers no place to give it a body.
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.contains("content-length: 0\r\n"), "{answer:?}");
    }
    is_well::<D>(&service);
}

pub fn a_request_that_stalls_is_given_up_after_some_seconds<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let begin = std::time::Instant::now();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n",
        D::RESOURCE
    );
    let field = D::FIELDS[0].0;
    let stalled = [
        (
            "in its body",
            format!("{head}content-length: 40\r\n\r\n{{\"{field}\":"),
        ),
        (
            "in a chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n10\r\n{{\"{field}\":"),
        ),
        ("in its headers", head),
    ];
    let streams = stalled.map(|(what, bytes)| {
        let mut stream = service.http.connect();
        stream.write_all(bytes.as_bytes()).expect("the service reads");
        (what, stream)
    });
    // Others are served meanwhile.
    is_well::<D>(&service);
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
