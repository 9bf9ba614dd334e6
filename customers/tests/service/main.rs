//! Customers as a black box: HTTP in front, a log and a database in memory behind.

mod bad_input;
mod documents;
mod events;
mod http;
mod parking;
mod suite;

use customers::Customers;
use serde_json::{Value, json};
use testing::service::{Seen, ServiceUnderTest};
use uuid::Uuid;

type Service = ServiceUnderTest<Customers>;

/// A new customer with this limit; its id.
fn customer(service: &Service, credit_limit: impl Into<Value>) -> Uuid {
    let body = json!({ "name": "Ada", "creditLimit": credit_limit.into() });
    let id = service.http.post("/api/customers", &body).expect(201).text("id");
    id.parse().expect("a customer has a UUID")
}

/// The customer's limit, reserved and available credit.
fn credit(service: &Service, id: Uuid) -> [f64; 3] {
    let customer = service
        .http
        .get(&format!("/api/customers/{id}"))
        .expect(200)
        .json();
    ["creditLimit", "reserved", "available"].map(|field| customer[field].as_f64().unwrap_or(f64::NAN))
}

/// What Orders says about a new order.
fn order_created(id: Uuid, customer: Uuid, amount: impl Into<Value>) -> Value {
    json!({ "id": id, "customerId": customer, "amount": amount.into(), "status": 0 })
}

/// What Orders says about a cancelled order.
fn order_cancelled(id: Uuid, customer: Uuid) -> Value {
    json!({ "id": id, "customerId": customer, "amount": 1.0, "reason": "CancelledByCustomer" })
}

/// Whether an event is about this order.
fn about(order: Uuid) -> impl Fn(&Seen) -> bool {
    move |seen| seen.data["orderId"] == order.to_string()
}
