//! Whatever is sent: never a 5xx, nothing changed, and the service lives on.

use serde_json::json;
use testing::service_suite::{JSON, is_problem};
use uuid::Uuid;

use super::{Service, customer};

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
fn no_answer_about_a_customer_can_be_waited_for() {
    let service = Service::start();
    let body = json!({ "name": "Ada", "creditLimit": 100 });
    let answer = service.http.post("/api/customers?wait=1s", &body);
    is_problem("not here", &answer, 400, "invalid-field", Some("query"));
}
