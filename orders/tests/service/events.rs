//! The service as seen from the log.

use std::time::Duration;

use contracts::TOPIC;
use orders::Orders;
use serde_json::json;
use shared::event_log::Header;
use testing::service::{Setup, event, headers};
use uuid::Uuid;

use super::{Service, about, invalid, order, status, valid};

#[test]
fn a_new_order_is_announced_under_the_key_of_its_customer() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let id = order(&service, customer, "800.50");
    let mut tape = service.tape();
    let created = service.until("it is announced", || tape.find("OrderCreated", about(id)));
    let expected = json!({ "id": id, "customerId": customer, "amount": 800.5, "status": 0 });
    assert_eq!(created.data, expected);
    assert_eq!(created.record.key, Some(customer.to_string().into_bytes()));
}

#[test]
fn a_valid_order_is_shipped() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let id = order(&service, customer, 800);
    service.publish_event("OrderValidated", &valid(id), customer);
    let mut tape = service.tape();
    let shipped = service.until("it is shipped", || tape.find("OrderShipped", about(id)));
    assert_eq!(
        shipped.data,
        json!({ "id": id, "customerId": customer, "amount": 800.0 })
    );
    assert_eq!(status(&service, id), "Shipped");
}

#[test]
fn an_invalid_order_is_cancelled_for_the_reason_given() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    // A C# service gives no reason; credit is all that it checks.
    let bare = json!({ "OrderId": order(&service, customer, 1), "IsValid": false });
    let unknown = invalid(order(&service, customer, 1), "UnknownCustomer");
    let mut tape = service.tape();
    for (said, reason) in [(bare, "InsufficientCredit"), (unknown, "UnknownCustomer")] {
        service.publish_bare("OrderValidated", &said);
        let id = said.get("OrderId").or(said.get("orderId")).cloned();
        let cancelled = service.until("it is cancelled", || {
            tape.find("OrderCancelled", |seen| Some(&seen.data["id"]) == id.as_ref())
        });
        let expected = json!({ "id": id, "customerId": customer, "amount": 1.0, "reason": reason });
        assert_eq!(cancelled.data, expected);
    }
}

#[test]
fn a_late_or_doubled_validation_changes_nothing() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let (shipped, called_off) = (order(&service, customer, 1), order(&service, customer, 1));
    let cancel = format!("/api/orders/{called_off}/cancel");
    service.http.send("POST", &cancel, &[], Some(b"")).expect(200);
    for said in [
        valid(shipped),
        valid(shipped),
        invalid(shipped, "InsufficientCredit"),
        valid(called_off),
        invalid(called_off, "UnknownCustomer"),
    ] {
        // Under one key, so in this order.
        service.publish_event("OrderValidated", &said, customer);
    }
    service.until_handled("OrderValidated", 5);
    let found = service.http.get(&format!("/api/orders/{called_off}")).json();
    assert_eq!(
        (&found["status"], &found["reason"]),
        (&json!("Cancelled"), &json!("CancelledByCustomer"))
    );
    assert_eq!(status(&service, shipped), "Shipped");
    let marker = order(&service, Uuid::new_v4(), 1);
    let mut tape = service.tape();
    service.until("what came after is announced", || {
        tape.find("OrderCreated", about(marker))
    });
    let ends: Vec<_> = ["OrderShipped", "OrderCancelled"]
        .iter()
        .flat_map(|name| tape.events(name))
        .collect();
    assert_eq!(ends.len(), 2, "one end each: {ends:?}");
}

#[test]
fn the_validation_of_an_unknown_order_is_tried_for_a_while_and_goes_to_the_dead_letters() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.park_after = Duration::from_millis(250);
    let service = Service::start_on(setup);
    service.until_ready();
    let mut record = event("OrderValidated", &valid(Uuid::new_v4()), Some(Uuid::new_v4()));
    record.headers = vec![Header {
        name: "from".into(),
        value: None,
    }];
    let place = service.publish(record.clone());
    let mut tape = service.dead_letters();
    let letter = service.until("it is a dead letter", || tape.records().first().cloned());
    assert_eq!((&letter.key, &letter.value), (&record.key, &record.value));
    assert_eq!(letter.headers[0], record.headers[0]);
    let headers = headers(&letter);
    for (header, value) in [
        ("dl-topic", TOPIC.to_owned()),
        ("dl-partition", place.partition.to_string()),
        ("dl-offset", place.offset.to_string()),
        ("dl-group", "order-service".into()),
        ("dl-reason", "unknown-order".into()),
    ] {
        assert_eq!(headers.get(header), Some(&value), "{header}");
    }
    assert!(headers["dl-error"].contains("there is no order"), "{headers:?}");
    let attempts: u32 = headers["dl-attempts"].parse().unwrap();
    assert!(attempts > 1, "it waited for its order: {headers:?}");
    assert_eq!(headers["dl-time"].len(), "2026-11-22T18:00:00.000Z".len());
}

#[test]
fn an_order_that_stays_open_is_announced_again_with_the_same_bytes() {
    let mut setup = Setup::<Orders>::new();
    setup.own.reannounce_after = Duration::from_millis(100);
    let service = Service::start_on(setup);
    service.until_ready();
    let (open, shipped) = (
        order(&service, Uuid::new_v4(), 1),
        order(&service, Uuid::new_v4(), 1),
    );
    service.publish_bare("OrderValidated", &valid(shipped));
    service.until("the other order is shipped", || {
        status(&service, shipped) == "Shipped"
    });
    let mut tape = service.tape();
    let of_shipped = tape
        .events("OrderCreated")
        .into_iter()
        .filter(about(shipped))
        .count();
    let announced = service.until("it is announced again and again", || {
        let announced: Vec<_> = tape
            .events("OrderCreated")
            .into_iter()
            .filter(about(open))
            .collect();
        (announced.len() >= 4).then_some(announced)
    });
    for again in &announced[1..] {
        assert_eq!(again.record.value, announced[0].record.value);
        assert_eq!(again.record.headers, announced[0].record.headers);
        assert_eq!(again.record.key, announced[0].record.key);
    }
    let now = tape
        .events("OrderCreated")
        .into_iter()
        .filter(about(shipped))
        .count();
    assert!(
        now <= of_shipped + 1,
        "a final order is left alone: {of_shipped}, then {now}"
    );
    service.publish_bare("OrderValidated", &valid(open));
    service.until("it is final at last", || status(&service, open) == "Shipped");
}
