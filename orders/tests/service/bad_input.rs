//! Whatever is sent: never a 5xx, nothing changed, and the service lives on.

use serde_json::json;
use testing::service_suite::{JSON, is_problem};
use uuid::Uuid;

use super::{Service, order, status};

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
fn a_wait_that_is_wrong_is_400_and_named() {
    let service = Service::start();
    let id = order(&service, Uuid::new_v4(), 100);
    let body = json!({ "customerId": Uuid::new_v4(), "amount": 100 });
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
            let answer = service.http.post(&path, &body);
            is_problem(wait, &answer, 400, "invalid-field", Some("wait"));
        }
    }
    let listed = service.http.get("/api/orders").expect(200).json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "only the good one is stored"
    );
}
