//! Orders as a black box: HTTP in front, a log and a database in memory behind.

mod admission;
mod bad_input;
mod documents;
mod events;
mod http;
mod parking;
mod suite;
mod waiting;

use orders::Orders;
use serde_json::{Value, json};
use testing::service::{Seen, ServiceUnderTest};
use uuid::Uuid;

type Service = ServiceUnderTest<Orders>;

/// A new order of this customer; its id.
fn order(service: &Service, customer: Uuid, amount: impl Into<Value>) -> Uuid {
    let body = json!({ "customerId": customer, "amount": amount.into() });
    let id = service.http.post("/api/orders", &body).expect(201).text("id");
    id.parse().expect("an order has a UUID")
}

/// The order's status.
fn status(service: &Service, id: Uuid) -> String {
    service
        .http
        .get(&format!("/api/orders/{id}"))
        .expect(200)
        .text("status")
}

/// What Customers says about an order with credit enough.
fn valid(order: Uuid) -> Value {
    json!({ "orderId": order, "isValid": true })
}

/// What Customers says about an order without.
fn invalid(order: Uuid, reason: &str) -> Value {
    json!({ "orderId": order, "isValid": false, "reason": reason })
}

/// Whether an event is about this order.
fn about(order: Uuid) -> impl Fn(&Seen) -> bool {
    move |seen| seen.data["id"] == order.to_string()
}
