//! How many orders may be open.

use std::time::Duration;

use orders::Orders;
use serde_json::json;
use testing::service::{Setup, bson::doc};
use uuid::Uuid;

use super::{Service, order, status, valid};

#[test]
fn a_customer_with_too_many_open_orders_is_refused_and_others_are_not() {
    let mut setup = Setup::<Orders>::new();
    setup.own.max_open_orders.of_key = 10;
    let service = Service::start_on(setup);
    service.until_ready();
    let (busy, other) = (Uuid::new_v4(), Uuid::new_v4());
    let body = json!({ "customerId": busy, "amount": 1 });
    let mut open = Vec::new();
    let refused = loop {
        let answer = service.http.post("/api/orders", &body);
        match answer.status {
            201 => open.push(answer.text("id").parse().unwrap()),
            _ => break answer.expect(503),
        }
    };
    // What is accepted while they are counted may count twice for a moment.
    assert!((5..=10).contains(&open.len()), "{} were taken", open.len());
    assert_eq!(refused.text("code"), "overloaded");
    assert!(refused.text("detail").contains("MAX_OPEN_ORDERS_PER_CUSTOMER"));
    order(&service, other, 1);

    for id in open {
        service.publish_event("OrderValidated", &valid(id), busy);
    }
    service.until("its orders are taken again", || {
        service.http.post("/api/orders", &body).status == 201
    });
}

#[test]
fn orders_that_are_stuck_do_not_fill_the_places_of_others() {
    let mut setup = Setup::<Orders>::new();
    setup.own.max_open_orders.all = 20;
    setup.own.reannounce_after = Duration::from_secs(2);
    let service = Service::start_on(setup);
    service.until_ready();
    let stuck = Uuid::new_v4();
    let body = json!({ "customerId": stuck, "amount": 1 });
    service.until("all places are taken", || {
        service.http.post("/api/orders", &body).status == 503
    });
    // Nobody answers these. Those of others become final, so they are taken, one behind the other.
    let other = Uuid::new_v4();
    for _ in 0..30 {
        let body = json!({ "customerId": other, "amount": 1 });
        let id = service.until("there is a place", || {
            let answer = service.http.post("/api/orders", &body);
            (answer.status == 201).then(|| answer.text("id").parse().unwrap())
        });
        service.publish_event("OrderValidated", &valid(id), other);
        service.until("it is shipped", || status(&service, id) == "Shipped");
    }
}

#[test]
fn an_idle_instance_knows_the_open_orders_of_another_and_the_age_of_the_oldest() {
    let busy = Service::start();
    let idle = Service::start_on(busy.setup.clone());
    idle.until_ready();
    let customer = Uuid::new_v4();
    let [id, ..] = [0; 3].map(|_| order(&busy, customer, 1));
    for instance in [&busy, &idle] {
        instance.until("it counts three", || instance.gauge("orders_open{") == Some(3.0));
    }
    let created = testing::service::bson::DateTime::now().timestamp_millis() - 90_000;
    let created = testing::service::bson::DateTime::from_millis(created);
    busy.setup.set("orders", id, &doc! { "createdAt": created });
    for instance in [&busy, &idle] {
        instance.until("it knows how old the oldest is", || {
            instance
                .gauge("orders_oldest_open_seconds{")
                .is_some_and(|age| (90.0..600.0).contains(&age))
        });
    }
}
