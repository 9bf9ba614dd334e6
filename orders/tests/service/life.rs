//! From start to stop, with a log and a database that come and go.

use std::{thread, time::Duration};

use orders::Orders;
use serde_json::{Value, json};
use testing::{
    faults::Mode,
    http::Answer,
    service::{Setup, event},
};
use uuid::Uuid;

use super::{Service, about, order, status, valid};

fn setup() -> Setup {
    Setup::new::<Orders>()
}

/// Why `ready` says no, check by check.
fn reasons(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    let down = json["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["status"] == "down");
    down.map(|check| {
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        (text("name"), text("reason"))
    })
    .collect()
}

/// Waits until `ready` names this check as down; its reason.
fn until_down(service: &Service, check: &str) -> String {
    service.until(&format!("{check} is down"), || {
        let answer = service.http.get("/health/ready");
        let reason = reasons(&answer).into_iter().find(|(name, _)| name == check);
        if answer.status == 503 {
            reason.map(|(_, reason)| reason)
        } else {
            None
        }
    })
}

fn post(service: &Service) -> Answer {
    service.http.post(
        "/api/orders",
        &json!({ "customerId": Uuid::new_v4(), "amount": 100 }),
    )
}

#[test]
fn a_service_without_its_database_answers_and_is_ready_once_it_comes() {
    let setup = setup();
    setup.store.switch(Mode::Fails);
    let service = Service::start_on(setup);
    assert!(until_down(&service, "database").contains("switched off"));
    assert_eq!(
        until_down(&service, "consumer"),
        "waiting for the database and the log"
    );
    service.http.get("/health/live").expect(200);
    let refused = post(&service).expect(503);
    assert_eq!(
        (refused.text("code"), refused.header("retry-after")),
        ("database-unavailable".into(), Some("1"))
    );
    service.http.get("/api/orders").expect(503);
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    post(&service).expect(201);
}

#[test]
fn a_service_without_its_log_takes_orders_and_is_ready_once_it_comes() {
    let setup = setup();
    setup.log.switch(Mode::Fails);
    let service = Service::start_on(setup);
    assert!(until_down(&service, "log").contains("switched off"));
    let id = service.until("the database is there", || {
        let answer = post(&service);
        (answer.status == 201).then(|| answer.text("id"))
    });
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    let mut tape = service.tape();
    service.until("what was accepted is announced", || {
        tape.find("OrderCreated", |seen| seen.data["id"] == id)
    });
}

#[test]
fn while_the_database_is_away_nothing_is_accepted_and_nothing_lost() {
    let mut setup = setup();
    setup.settings.request_timeout = Duration::from_millis(300);
    let service = Service::start_on(setup);
    service.until_ready();
    let id = order(&service, Uuid::new_v4(), 800);
    service.setup.store.switch(Mode::Fails);
    assert!(until_down(&service, "database").contains("switched off"));
    let refused = post(&service).expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        refused.text("id").parse::<Uuid>().is_ok(),
        "the id to repeat it with: {refused:?}"
    );
    service.http.get(&format!("/api/orders/{id}")).expect(503);
    service.publish_bare("OrderValidated", &valid(id));
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    let mut tape = service.tape();
    service.until("the order is shipped", || tape.find("OrderShipped", about(id)));
    assert_eq!(status(&service, id), "Shipped");
    assert!(service.dead_letters().records().is_empty());
}

#[test]
fn while_the_log_is_away_orders_are_accepted_and_announced_when_it_is_back() {
    let service = Service::start();
    service.setup.log.switch(Mode::Fails);
    assert!(until_down(&service, "log").contains("switched off"));
    let ids: Vec<_> = (0..5)
        .map(|_| order(&service, Uuid::new_v4(), 1).to_string())
        .collect();
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    let mut tape = service.tape();
    service.until("all are announced", || {
        let announced = tape.events("OrderCreated");
        ids.iter()
            .all(|id| announced.iter().any(|seen| seen.data["id"] == *id))
    });
}

#[test]
fn a_dead_letter_that_the_log_does_not_take_holds_no_offset_back_and_follows() {
    let mut setup = setup();
    setup.settings.shutdown_timeout = Duration::from_millis(300);
    let service = Service::start_on(setup);
    service.until_ready();
    service.setup.log.switch(Mode::Silent);
    service.publish_bare("OrderValidated", &json!({ "id": 1 }));
    service.until("it is parked", || {
        let parked = service.admin.get("/admin/parked").expect(200).json();
        parked["items"].as_array().is_some_and(|items| items.len() == 1)
    });
    service.until("no offset waits for its letter", || {
        service.counted("consumer_in_flight") == 0
    });
    assert!(service.dead_letters().records().is_empty());
    let (in_time, setup) = service.stop();
    assert!(!in_time, "the log did not confirm");
    setup.log.switch(Mode::Works);
    let next = Service::start_on(setup);
    next.until_ready();
    let mut letters = next.dead_letters();
    next.until("its letter follows", || !letters.records().is_empty());
    next.until("it is counted", || {
        next.counted("dead_letters_total{reason=\"malformed-event\"") == 1
    });
}

#[test]
fn more_than_may_be_under_way_is_503_overloaded_until_the_log_confirms() {
    let mut setup = setup();
    setup.settings.max_in_flight = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    service.setup.log.switch(Mode::Silent);
    post(&service).expect(201);
    let refused = post(&service).expect(503);
    assert_eq!(
        (refused.text("code"), refused.header("retry-after")),
        ("overloaded".into(), Some("1"))
    );
    let listed = service.http.get("/api/orders").expect(200).json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "reading is not held up"
    );
    service.setup.log.switch(Mode::Works);
    service.until("there is room again", || post(&service).status == 201);
}

#[test]
fn a_caller_who_waits_takes_no_place_from_others() {
    let mut setup = setup();
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
fn a_repeat_of_a_stored_order_is_answered_as_stored_however_full_the_service_is() {
    for (max_in_flight, max_open_orders) in [(1, 1000), (1000, 1)] {
        let mut setup = setup();
        setup.settings.max_in_flight = max_in_flight;
        setup.settings.max_open_orders = max_open_orders;
        let service = Service::start_on(setup);
        service.until_ready();
        service.setup.log.switch(Mode::Silent);
        let (id, customer) = (Uuid::new_v4(), Uuid::new_v4());
        let body = |id: Uuid, amount: i32| json!({ "id": id, "customerId": customer, "amount": amount });
        let post = |body: &Value| service.http.post("/api/orders", body);
        let stored = post(&body(id, 1)).expect(201);
        let again = post(&body(id, 1)).expect(201);
        assert_eq!(
            (again.json(), again.header("location")),
            (stored.json(), stored.header("location"))
        );
        let waited = service
            .http
            .post("/api/orders?wait=20ms", &body(id, 1))
            .expect(202);
        assert_eq!(waited.json(), stored.json());
        assert_eq!(post(&body(id, 2)).expect(409).text("code"), "id-taken");

        let other = Uuid::new_v4();
        let refused = post(&body(other, 1)).expect(503);
        assert_eq!(
            (refused.text("code"), refused.text("id")),
            ("overloaded".into(), other.to_string())
        );
        assert!(refused.text("detail").contains("this request stored nothing"));
        // Where nobody can look, nothing is said of what an earlier request stored.
        service.setup.store.switch(Mode::Fails);
        let unknown = post(&body(id, 1)).expect(503);
        assert_eq!(
            (unknown.text("code"), unknown.text("id")),
            ("overloaded".into(), id.to_string())
        );
        assert!(!unknown.text("detail").contains("nothing"), "{unknown:?}");
        service.setup.store.switch(Mode::Works);
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

#[test]
fn while_load_balancers_notice_a_service_that_stops_serves_on_and_is_not_ready() {
    let mut setup = setup();
    setup.settings.drain_delay = Duration::from_secs(2);
    let service = Service::start_on(setup);
    service.until_ready();
    let http = service.http.clone();
    let stopped = thread::spawn(move || service.stop().0);
    let refused = loop {
        let answer = http.get("/health/ready");
        if answer.status == 503 {
            break answer;
        }
    };
    assert_eq!(reasons(&refused), [("service".into(), "it is stopping".into())]);
    let body = json!({ "customerId": Uuid::new_v4(), "amount": 1 });
    let answer = http.post("/api/orders", &body).expect(201);
    assert_eq!(answer.header("connection"), Some("close"));
    http.get("/health/live").expect(200);
    assert!(stopped.join().expect("no panic"));
}

#[test]
fn what_arrives_while_a_request_is_finished_is_told_that_the_service_stops() {
    let service = Service::start();
    let (http, setup) = (service.http.clone(), service.setup.clone());
    setup.store.switch(Mode::Silent);
    let id = Uuid::new_v4();
    let body = json!({ "id": id, "customerId": Uuid::new_v4(), "amount": 1 });
    let asked = {
        let (http, body) = (http.clone(), body.clone());
        thread::spawn(move || http.post("/api/orders", &body))
    };
    // A commit that waits for the database is seen nowhere but here.
    service.until("it is under way", || setup.store.silenced() == 1);
    let stopped = thread::spawn(move || service.stop().0);
    let refused = loop {
        let answer = http.get("/api/orders");
        if answer.status != 200 {
            break answer.expect(503);
        }
    };
    assert_eq!(
        (
            refused.text("code"),
            refused.header("retry-after"),
            refused.header("connection")
        ),
        ("stopping".into(), Some("1"), Some("close"))
    );
    setup.store.switch(Mode::Works);
    assert_eq!(
        asked.join().expect("an answer").expect(201).text("id"),
        id.to_string()
    );
    assert!(stopped.join().expect("no panic"));
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let service = Service::start();
    service.setup.log.switch(Mode::Silent);
    let id = order(&service, Uuid::new_v4(), 1).to_string();
    let log = service.setup.log.clone();
    let opener = std::thread::spawn(move || {
        // The stop may or may not have begun: it waits for the confirmation either way.
        log.switch(Mode::Works);
    });
    let (in_time, setup) = service.stop();
    opener.join().expect("no panic");
    assert!(in_time);
    let next = Service::start_on(setup);
    next.until_ready();
    let mut tape = next.tape();
    next.until("it is in the log", || {
        tape.find("OrderCreated", |seen| seen.data["id"] == id)
    });
    let again = next.counted("events_published_total{event=\"OrderCreated\"");
    assert_eq!(again, 0, "it is there from before the stop");
}

#[test]
fn what_a_stop_could_not_finish_goes_on_at_the_next_start() {
    let mut setup = setup();
    setup.settings.shutdown_timeout = Duration::from_millis(300);
    let service = Service::start_on(setup);
    service.until_ready();
    service.setup.log.switch(Mode::Silent);
    let id = order(&service, Uuid::new_v4(), 1).to_string();
    let (in_time, setup) = service.stop();
    assert!(!in_time, "the log did not confirm");
    setup.log.switch(Mode::Works);
    let next = Service::start_on(setup);
    next.until_ready();
    let mut tape = next.tape();
    next.until("it is announced", || {
        tape.find("OrderCreated", |seen| seen.data["id"] == id)
    });
}

#[test]
fn a_restart_begins_where_the_last_run_ended() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let (first, second) = (order(&service, customer, 1), order(&service, customer, 1));
    service.publish_event("OrderValidated", &valid(first), customer);
    service.until_handled("OrderValidated", 1);
    let (in_time, setup) = service.stop();
    assert!(in_time);
    setup.publish(event("OrderValidated", &valid(second), Some(customer)));
    let next = Service::start_on(setup);
    next.until_ready();
    next.until("what came meanwhile is handled", || {
        status(&next, second) == "Shipped"
    });
    assert_eq!(
        next.counted("events_consumed_total{event=\"OrderValidated\""),
        1,
        "the first is not read again"
    );
}
