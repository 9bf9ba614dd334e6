//! Documents that people have changed with their tools, and orders whose end was lost.

use std::time::Duration;

use orders::Orders;
use serde_json::{Value, json};
use shared::environment::Timestamp;
use testing::service::{
    Setup,
    bson::{Bson, DateTime, doc},
};
use uuid::Uuid;

use super::{Service, about, order, status, valid};

#[test]
fn a_status_of_another_type_of_number_is_read_and_found() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    for status in [Bson::Double(0.0), Bson::Int64(0)] {
        let id = order(&service, customer, 5);
        service
            .setup
            .set("orders", id, &doc! { "status": status, "amount": 5 });
        let open = service
            .http
            .get(&format!("/api/orders?customerId={customer}&status=Created"));
        let open = open.expect(200).json();
        assert_eq!(open["items"][0]["id"], json!(id));
        service.publish_event("OrderValidated", &valid(id), customer);
        service.until("it is shipped", || super::status(&service, id) == "Shipped");
    }
}

#[test]
fn an_order_that_cannot_be_read_holds_up_nobody_else() {
    let mut setup = Setup::<Orders>::new();
    setup.own.reannounce_after = Duration::from_millis(200);
    let service = Service::start_on(setup);
    service.until_ready();
    let customer = Uuid::new_v4();
    let [older, sick, younger] = [0; 3].map(|_| order(&service, customer, 1));
    service.setup.set("orders", sick, &doc! { "amount": true });

    let list = service.http.get("/api/orders?status=Created").expect(200).json();
    let listed: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["id"])
        .collect();
    assert_eq!(listed, [&json!(younger), &json!(older)]);
    assert_eq!(list["unreadable"], json!({ "count": 1, "ids": [sick] }));
    let answer = service.http.get(&format!("/api/orders/{sick}")).expect(500);
    assert_eq!(answer.text("code"), "document-unreadable");

    let mut tape = service.tape();
    for id in [older, younger] {
        service.until("it is announced again", || {
            let announced = tape.events("OrderCreated");
            announced.into_iter().filter(about(id)).count() >= 2
        });
    }
    service.publish_event("OrderValidated", &valid(younger), customer);
    let waited = service
        .http
        .get(&format!("/api/orders/{younger}?wait=20s"))
        .expect(200);
    assert_eq!(waited.text("status"), "Shipped");
}

#[test]
fn an_end_that_the_log_lost_is_announced_again_with_the_same_bytes() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let id = order(&service, customer, 800);
    let cancel = format!("/api/orders/{id}/cancel");
    service.http.post(&cancel, &json!({})).expect(200);
    let mut tape = service.tape();
    let first = service.until("it is announced", || tape.find("OrderCancelled", about(id)));
    service.until("it is known to be announced", || {
        !service.setup.stored("orders", id).contains_key("outbox")
    });

    // In the ordinary race the validation comes just behind.
    service.publish_event("OrderValidated", &valid(id), customer);
    service.until_handled("OrderValidated", 1);
    let ended = |tape: &mut testing::service::Tape| {
        tape.events("OrderCancelled")
            .into_iter()
            .filter(about(id))
            .collect::<Vec<_>>()
    };
    assert!(!service.setup.stored("orders", id).contains_key("outbox"));
    assert_eq!(ended(&mut tape).len(), 1);

    // An hour later it is no race any more.
    let earlier = DateTime::from_millis(DateTime::now().timestamp_millis() - 3_600_000);
    service.setup.set("orders", id, &doc! { "updatedAt": earlier });
    service.publish_event("OrderValidated", &valid(id), customer);
    let again = service.until("it is announced again", || {
        let ended = ended(&mut tape);
        (ended.len() == 2).then_some(ended)
    });
    assert_eq!(again[1].record.key, first.record.key);
    assert_eq!(again[1].record.value, first.record.value);
    let but_time = |seen: &testing::service::Seen| {
        let mut headers = seen.headers.clone();
        headers.remove("ce_time");
        headers
    };
    assert_eq!(but_time(&again[1]), but_time(&first));
    // The test itself has moved the stored time, and that is what is told.
    let stored = Timestamp(earlier.timestamp_millis()).to_string();
    assert_eq!(again[1].headers["ce_time"], stored);
    assert_eq!(status(&service, id), "Cancelled");
}
