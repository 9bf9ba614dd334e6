//! Callers who wait, while the service is full and when it stops.

use std::thread;

use serde_json::json;
use testing::{faults::Mode, service::Setup, service_suite::WithPosts};
use uuid::Uuid;

use super::{Orders, Service, order, suite::Description, valid};

#[test]
fn a_caller_who_waits_takes_no_place_from_others() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.max_in_flight = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    let awaited = order(&service, Uuid::new_v4(), 1);
    let http = service.http.clone();
    let waiter = thread::spawn(move || http.get(&format!("/api/orders/{awaited}?wait=20s")));
    let id = Uuid::new_v4();
    let body = json!({ "id": id, "customerId": Uuid::new_v4(), "amount": 1 });
    // Until the one before it is in the log there is no place for another order.
    service.until("there is a place for a command", || {
        let answer = service.http.post("/api/orders", &body);
        answer.status == 201
    });
    for _ in 0..3 {
        let answer = service.http.post("/api/orders?wait=20ms", &body).expect(202);
        assert_eq!(
            (answer.text("id"), answer.text("status")),
            (id.to_string(), "Created".into())
        );
    }
    service.http.get("/api/orders").expect(200);
    assert!(!waiter.is_finished());
    service.publish_bare("OrderValidated", &valid(awaited));
    assert_eq!(
        waiter.join().expect("no panic").expect(200).text("status"),
        "Shipped"
    );
}

#[test]
fn a_repeat_that_waits_is_answered_as_stored_however_full_the_service_is() {
    for fill in Description::ways_to_be_full() {
        let mut setup = Setup::<Orders>::new();
        fill(&mut setup);
        let service = Service::start_on(setup);
        service.until_ready();
        service.setup.log.switch(Mode::Silent);
        let body = json!({ "id": Uuid::new_v4(), "customerId": Uuid::new_v4(), "amount": 1 });
        let stored = service.http.post("/api/orders", &body).expect(201);
        let waited = service.http.post("/api/orders?wait=20ms", &body).expect(202);
        assert_eq!(waited.json(), stored.json());
        service.setup.log.switch(Mode::Works);
    }
}

#[test]
fn whoever_waits_when_the_service_stops_is_answered() {
    let service = Service::start();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let http = service.http.clone();
            thread::spawn(move || {
                let body = json!({ "customerId": Uuid::new_v4(), "amount": 1 });
                http.post("/api/orders?wait=30s", &body)
            })
        })
        .collect();
    service.until("all are stored", || {
        let listed = service.http.get("/api/orders").expect(200).json();
        listed["items"].as_array().map(Vec::len) == Some(20)
    });
    let (in_time, _) = service.stop();
    assert!(in_time);
    for waiting in waiting {
        let answer = waiting.join().expect("an answer").expect(202);
        assert_eq!(answer.text("status"), "Created");
        assert_eq!(
            answer.header("location"),
            Some(format!("/api/orders/{}", answer.text("id")).as_str())
        );
    }
}
