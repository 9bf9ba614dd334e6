//! The service as seen from the log.

use std::time::{Duration, Instant};

use serde_json::json;
use testing::service::{Seen, headers};
use uuid::Uuid;

use super::{Service, about, credit, customer, order_cancelled, order_created};

/// The first answer to an order.
fn answer(service: &Service, order: Uuid) -> Seen {
    let mut tape = service.tape();
    service.until("the order is validated", || {
        tape.find("OrderValidated", about(order))
    })
}

#[test]
fn an_order_within_the_credit_is_valid_and_reserved() {
    let service = Service::start();
    let (id, order) = (customer(&service, 1000), Uuid::new_v4());
    service.publish_event("OrderCreated", &order_created(order, id, 800.5), id);
    let valid = answer(&service, order);
    let expected = json!({ "orderId": order, "isValid": true, "customerId": id, "amount": 800.5 });
    assert_eq!(valid.data, expected);
    assert_eq!(credit(&service, id), [1000.0, 800.5, 199.5]);
}

#[test]
fn an_order_of_exactly_what_is_available_is_valid_and_the_next_is_not() {
    let service = Service::start();
    let (id, all, more) = (customer(&service, "0.3"), Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderCreated", &order_created(all, id, 0.3), id);
    service.publish_event("OrderCreated", &order_created(more, id, 0.0001), id);
    assert_eq!(answer(&service, all).data["isValid"], true);
    let refused = answer(&service, more).data;
    assert_eq!(
        (&refused["isValid"], &refused["reason"]),
        (&json!(false), &json!("InsufficientCredit"))
    );
    assert_eq!(credit(&service, id), [0.3, 0.3, 0.0]);
}

#[test]
fn an_order_of_an_unknown_customer_is_invalid_for_that_reason() {
    let service = Service::start();
    let (nobody, order) = (Uuid::new_v4(), Uuid::new_v4());
    // As a C# service writes it: no key, no headers, names in Pascal case.
    let data = json!({ "Id": order, "CustomerId": nobody, "Amount": 1.0, "Status": 0 });
    let place = service.publish_bare("OrderCreated", &data);
    let refused = answer(&service, order);
    assert_eq!(
        (&refused.data["isValid"], &refused.data["reason"]),
        (&json!(false), &json!("UnknownCustomer"))
    );
    assert_eq!(refused.headers["ce_causationid"], place.to_string());
    assert_eq!(refused.record.key, Some(nobody.to_string().into_bytes()));
}

#[test]
fn a_redelivered_order_is_answered_again_with_the_same_bytes_and_reserved_once() {
    let service = Service::start();
    let (id, order) = (customer(&service, 1000), Uuid::new_v4());
    let data = order_created(order, id, 800);
    service.publish_event("OrderCreated", &data, id);
    let first = answer(&service, order);
    // Decided once: neither more credit nor another amount change what was said.
    let path = format!("/api/customers/{id}/credit-limit");
    service.http.put(&path, &json!(5000)).expect(200);
    service.publish_bare("OrderCreated", &order_created(order, id, 801));
    let (mut tape, mut created) = (service.tape(), 2);
    // Not while the first answer has only just arrived in the log: it is there.
    let begin = Instant::now();
    let answers = loop {
        service.publish_event("OrderCreated", &data, id);
        created += 1;
        service.until_handled("OrderCreated", created);
        let answers = tape.events("OrderValidated");
        if answers.len() >= 2 {
            break answers;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "it is not answered again"
        );
    };
    for again in answers {
        assert_eq!(again.record.value, first.record.value);
        assert_eq!(again.record.headers, first.record.headers);
        assert_eq!(again.record.key, first.record.key);
    }
    assert_eq!(credit(&service, id), [5000.0, 800.0, 4200.0]);
}

#[test]
fn a_cancelled_order_is_released_once() {
    let service = Service::start();
    let (id, order, kept) = (customer(&service, 1000), Uuid::new_v4(), Uuid::new_v4());
    for (order, amount) in [(order, 300), (kept, 500)] {
        service.publish_event("OrderCreated", &order_created(order, id, amount), id);
    }
    for _ in 0..3 {
        service.publish_event("OrderCancelled", &order_cancelled(order, id), id);
    }
    service.until_handled("OrderCancelled", 3);
    assert_eq!(credit(&service, id), [1000.0, 500.0, 500.0]);
    // A redelivered creation does not reserve again what was released.
    service.publish_event("OrderCreated", &order_created(order, id, 300), id);
    service.until_handled("OrderCreated", 3);
    assert_eq!(credit(&service, id), [1000.0, 500.0, 500.0]);
}

#[test]
fn a_cancel_that_overtakes_its_order_voids_it() {
    let service = Service::start();
    let (id, order, next) = (customer(&service, 1000), Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderCancelled", &order_cancelled(order, id), id);
    service.publish_event("OrderCreated", &order_created(order, id, 800), id);
    service.publish_event("OrderCreated", &order_created(next, id, 900), id);
    let mut tape = service.tape();
    let valid = service.until("the next order is validated", || {
        tape.find("OrderValidated", about(next))
    });
    assert_eq!(valid.data["isValid"], true);
    // Of one key, so its answer would stand before.
    assert!(tape.find("OrderValidated", about(order)).is_none());
    assert_eq!(credit(&service, id), [1000.0, 900.0, 100.0]);
    let listed = service
        .http
        .get(&format!("/api/customers/{id}/reservations"))
        .json();
    let states: Vec<_> = listed["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| &item["state"])
        .collect();
    assert!(states.contains(&&json!("Void")), "{listed}");
}

#[test]
fn a_cancel_that_names_another_customer_takes_nothing_from_either() {
    let service = Service::start();
    let (id, other) = (customer(&service, 1000), customer(&service, 1000));
    let (order, of_other) = (Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderCreated", &order_created(order, id, 300), id);
    service.publish_event("OrderCreated", &order_created(of_other, other, 400), other);
    service.until_handled("OrderCreated", 2);
    service.publish_event("OrderCancelled", &order_cancelled(order, other), other);
    service.until_handled("OrderCancelled", 1);
    assert_eq!(credit(&service, other), [1000.0, 400.0, 600.0]);
    assert_eq!(credit(&service, id), [1000.0, 300.0, 700.0]);
}

#[test]
fn a_cancel_without_its_customer_goes_to_the_dead_letters() {
    let service = Service::start();
    let order = Uuid::new_v4();
    service.publish_bare("OrderCancelled", &json!({ "id": order }));
    let mut letters = service.dead_letters();
    let letter = service.until("it is a dead letter", || letters.records().first().cloned());
    assert_eq!(headers(&letter)["dl-reason"], "no-customer");
}
