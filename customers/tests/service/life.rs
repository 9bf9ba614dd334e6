//! From start to stop, with a log and a database that come and go.

use std::time::Duration;

use customers::Customers;
use serde_json::json;
use testing::{
    faults::Mode,
    http::Answer,
    service::{Setup, event},
};
use uuid::Uuid;

use super::{Service, about, credit, customer, order_created};

fn setup() -> Setup {
    Setup::new::<Customers>()
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
    service
        .http
        .post("/api/customers", &json!({ "name": "Ada", "creditLimit": 100 }))
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
    service.http.get("/api/customers").expect(503);
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    post(&service).expect(201);
}

#[test]
fn a_service_without_its_log_takes_customers_and_is_ready_once_it_comes() {
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
        tape.find("CustomerCreated", |seen| seen.data["id"] == id)
    });
}

#[test]
fn while_the_database_is_away_nothing_is_accepted_and_nothing_lost() {
    let mut setup = setup();
    setup.settings.request_timeout = Duration::from_millis(300);
    let service = Service::start_on(setup);
    service.until_ready();
    let (id, order) = (customer(&service, 1000), Uuid::new_v4());
    service.setup.store.switch(Mode::Fails);
    assert!(until_down(&service, "database").contains("switched off"));
    let refused = post(&service).expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        refused.text("id").parse::<Uuid>().is_ok(),
        "the id to repeat it with: {refused:?}"
    );
    service.http.get(&format!("/api/customers/{id}")).expect(503);
    service.publish_event("OrderCreated", &order_created(order, id, 800), id);
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    let mut tape = service.tape();
    service.until("the order is validated", || {
        tape.find("OrderValidated", about(order))
    });
    assert_eq!(credit(&service, id), [1000.0, 800.0, 200.0]);
    assert!(service.dead_letters().records().is_empty());
}

#[test]
fn while_the_log_is_away_customers_are_accepted_and_announced_when_it_is_back() {
    let service = Service::start();
    service.setup.log.switch(Mode::Fails);
    assert!(until_down(&service, "log").contains("switched off"));
    let ids: Vec<_> = (0..5)
        .map(|limit| customer(&service, limit).to_string())
        .collect();
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    let mut tape = service.tape();
    service.until("all are announced", || {
        let announced = tape.events("CustomerCreated");
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
    service.publish_bare("OrderCreated", &json!({ "id": 1 }));
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
    let listed = service.http.get("/api/customers").expect(200).json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "reading is not held up"
    );
    service.setup.log.switch(Mode::Works);
    service.until("there is room again", || post(&service).status == 201);
}

#[test]
fn a_repeat_of_a_stored_customer_is_answered_as_stored_however_full_the_service_is() {
    let mut setup = setup();
    setup.settings.max_in_flight = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    service.setup.log.switch(Mode::Silent);
    let id = Uuid::new_v4();
    let post = |id: Uuid, name: &str| {
        let body = json!({ "id": id, "name": name, "creditLimit": 1 });
        service.http.post("/api/customers", &body)
    };
    let stored = post(id, "Ada").expect(201);
    let again = post(id, "Ada").expect(201);
    assert_eq!(
        (again.json(), again.header("location")),
        (stored.json(), stored.header("location"))
    );
    assert_eq!(post(id, "Eve").expect(409).text("code"), "id-taken");
    let refused = post(Uuid::new_v4(), "Ada").expect(503);
    assert_eq!(refused.text("code"), "overloaded");
    assert!(refused.text("detail").contains("this request stored nothing"));
    // Where nobody can look, nothing is said of what an earlier request stored.
    service.setup.store.switch(Mode::Fails);
    let unknown = post(id, "Ada").expect(503);
    assert_eq!(
        (unknown.text("code"), unknown.text("id")),
        ("overloaded".into(), id.to_string())
    );
    assert!(!unknown.text("detail").contains("nothing"), "{unknown:?}");
    service.setup.store.switch(Mode::Works);
    service.setup.log.switch(Mode::Works);
}

#[test]
fn stopping_finishes_what_is_under_way() {
    let service = Service::start();
    service.setup.log.switch(Mode::Silent);
    let id = customer(&service, 1000).to_string();
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
        tape.find("CustomerCreated", |seen| seen.data["id"] == id)
    });
    let again = next.counted("events_published_total{event=\"CustomerCreated\"");
    assert_eq!(again, 0, "it is there from before the stop");
}

#[test]
fn what_a_stop_could_not_finish_goes_on_at_the_next_start() {
    let mut setup = setup();
    setup.settings.shutdown_timeout = Duration::from_millis(300);
    let service = Service::start_on(setup);
    service.until_ready();
    service.setup.log.switch(Mode::Silent);
    let id = customer(&service, 1000).to_string();
    let (in_time, setup) = service.stop();
    assert!(!in_time, "the log did not confirm");
    setup.log.switch(Mode::Works);
    let next = Service::start_on(setup);
    next.until_ready();
    let mut tape = next.tape();
    next.until("it is announced", || {
        tape.find("CustomerCreated", |seen| seen.data["id"] == id)
    });
}

#[test]
fn a_restart_begins_where_the_last_run_ended() {
    let service = Service::start();
    let (id, first, second) = (customer(&service, 1000), Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderCreated", &order_created(first, id, 400), id);
    service.until_handled("OrderCreated", 1);
    let (in_time, setup) = service.stop();
    assert!(in_time);
    setup.publish(event("OrderCreated", &order_created(second, id, 500), Some(id)));
    let next = Service::start_on(setup);
    next.until_ready();
    next.until("the order that came meanwhile is reserved", || {
        credit(&next, id) == [1000.0, 900.0, 100.0]
    });
    assert_eq!(
        next.counted("events_consumed_total{event=\"OrderCreated\""),
        1,
        "the first is not read again"
    );
}
