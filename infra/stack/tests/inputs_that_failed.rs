//! Inputs that once stopped more than themselves, or were answered with what was not true. Each test is
//! named after what is right. In this process, on a log and a database in memory, where that shows it;
//! `inputs_that_failed/engines.rs` has those in which Kafka, MongoDB or a process matters.

mod support;

#[path = "inputs_that_failed/engines.rs"]
mod engines_matter;

use std::{thread, time::Duration};

use customers::Customers;
use orders::Orders;
use serde_json::{Value, json};
use shared::event_log::{Header, Record};
use testing::service::{Seen, ServiceUnderTest, Setup, event};
use uuid::Uuid;

type Service<S> = ServiceUnderTest<S>;

fn customer(service: &Service<Customers>) -> Uuid {
    let body = json!({ "name": "Ada", "creditLimit": 1000 });
    let id = service.http.post("/api/customers", &body).expect(201).text("id");
    id.parse().expect("a customer has a UUID")
}

fn order(service: &Service<Orders>, customer: Uuid) -> Uuid {
    let body = json!({ "customerId": customer, "amount": 1 });
    let id = service.http.post("/api/orders", &body).expect(201).text("id");
    id.parse().expect("an order has a UUID")
}

fn valid(order: Uuid) -> Value {
    json!({ "orderId": order, "isValid": true })
}

fn until_shipped(service: &Service<Orders>, id: Uuid) {
    let path = format!("/api/orders/{id}");
    service.until("the order is shipped", || {
        let status = service.http.get(&path).expect(200).text("status");
        if status == "Shipped" { Ok(()) } else { Err(status) }
    });
}

/// What Customers says to a new order of this customer.
fn until_validated(service: &Service<Customers>, customer: Uuid, headers: Vec<Header>) -> Seen {
    let id = Uuid::now_v7();
    let created = json!({ "id": id, "customerId": customer, "amount": 1, "status": 0 });
    service.publish(Record {
        headers,
        ..event("OrderCreated", &created, Some(customer))
    });
    let mut tape = service.tape();
    service.until("the order is validated", || {
        tape.find("OrderValidated", |seen| seen.data["orderId"] == id.to_string())
    })
}

fn parked<S: shared::service::Service>(service: &Service<S>) -> Vec<Value> {
    let page = service.admin.get("/admin/parked").expect(200).json();
    page["items"].as_array().expect("a list").clone()
}

fn tombstone(customer: Uuid) -> Record {
    Record {
        value: None,
        ..event("OrderCreated", &json!({}), Some(customer))
    }
}

#[test]
fn a_record_without_a_value_is_counted_and_the_next_order_of_its_customer_goes_on() {
    let customers = Service::<Customers>::start();
    let ada = customer(&customers);
    customers.publish(tombstone(ada));
    assert_eq!(until_validated(&customers, ada, Vec::new()).data["isValid"], true);

    let orders = Service::<Orders>::start();
    orders.publish(tombstone(ada));
    let id = order(&orders, ada);
    orders.publish_event("OrderValidated", &valid(id), ada);
    until_shipped(&orders, id);

    let tombstones = "records_skipped_total{why=\"tombstone\"";
    assert_eq!(
        (customers.counted(tombstones), orders.counted(tombstones)),
        (1, 1)
    );
    assert_eq!((parked(&customers).len(), parked(&orders).len()), (0, 0));
}

#[test]
fn a_validation_of_an_unknown_order_waits_alone() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.partitions = 1;
    setup.settings.park_after = Duration::from_millis(100);
    let service = Service::<Orders>::start_on(setup);
    service.until_ready();
    let (ada, stray) = (Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderValidated", &valid(stray), ada);
    for _ in 0..2 {
        let id = order(&service, ada);
        service.publish_event("OrderValidated", &valid(id), ada);
        until_shipped(&service, id);
    }
    let found = service.until("it is given up, alone", || {
        let found = parked(&service);
        let given_up = found.iter().all(|record| record["state"] == "parked");
        if given_up && found.len() == 1 {
            Ok(found)
        } else {
            Err(found)
        }
    });
    assert_eq!(
        (&found[0]["reason"], &found[0]["offset"]),
        (&json!("unknown-order"), &json!(0))
    );
}

#[test]
fn a_caller_for_whom_there_is_no_place_to_wait_is_told_the_stored_order() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.max_in_flight = 1;
    let service = Service::<Orders>::start_on(setup);
    service.until_ready();
    let (ada, bob) = (Uuid::new_v4(), Uuid::new_v4());
    let first = Uuid::now_v7();
    let waiting = {
        let http = service.http.clone();
        let body = json!({ "id": first, "customerId": ada, "amount": 1 });
        thread::spawn(move || http.post("/api/orders?wait=20s", &body))
    };
    let mut tape = service.tape();
    service.until("the first order is stored, and its caller waits", || {
        tape.find("OrderCreated", |seen| seen.data["id"] == first.to_string())
    });
    let second = Uuid::now_v7();
    let body = json!({ "id": second, "customerId": bob, "amount": 1 });
    // Until the first caller has given back its place in flight, the second is told that nothing was
    // stored, and nothing is.
    let answer = service.until("the second order is stored", || {
        let answer = service.http.post("/api/orders?wait=1s", &body);
        if answer.status != 503 {
            return Ok(answer);
        }
        service.http.get(&format!("/api/orders/{second}")).expect(404);
        Err(answer)
    });
    let answer = answer.expect(202);
    assert_eq!(
        (answer.text("id"), answer.text("status")),
        (second.to_string(), "Created".to_owned())
    );
    for (id, customer) in [(first, ada), (second, bob)] {
        service.publish_event("OrderValidated", &valid(id), customer);
    }
    // Where the second caller came first to the only place, the first one is told its order, too.
    let waited = waiting.join().expect("an answer");
    let told = (waited.status, waited.text("status"));
    let right = [(201, "Shipped".to_owned()), (202, "Created".to_owned())];
    assert!(right.contains(&told), "{waited:?}");
    assert_eq!(waited.text("id"), first.to_string());
    [first, second].into_iter().for_each(|id| {
        until_shipped(&service, id);
    });
}

#[test]
fn a_repeat_of_a_stored_order_is_answered_as_stored_however_full_the_service_is() {
    let mut setup = Setup::<Orders>::new();
    setup.own.max_open_orders.all = 1;
    let service = Service::<Orders>::start_on(setup);
    service.until_ready();
    let body = json!({ "id": Uuid::now_v7(), "customerId": Uuid::new_v4(), "amount": 1 });
    let first = service.http.post("/api/orders", &body).expect(201).json();
    service.until("the service is full", || {
        let other = json!({ "customerId": Uuid::new_v4(), "amount": 1 });
        let answer = service.http.post("/api/orders", &other);
        if answer.status == 503 { Ok(()) } else { Err(answer) }
    });
    let again = service.http.post("/api/orders", &body).expect(201).json();
    assert_eq!(again, first);
}

#[test]
fn a_traceparent_that_is_no_trace_is_not_passed_on() {
    let service = Service::<Customers>::start();
    let ada = customer(&service);
    let with = |value: &str| {
        vec![Header {
            name: "traceparent".into(),
            value: Some(value.as_bytes().to_vec()),
        }]
    };
    for wrong in [
        "garbage",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ] {
        let seen = until_validated(&service, ada, with(wrong));
        let passed_on = seen
            .headers
            .get("traceparent")
            .map(String::as_str)
            .unwrap_or_default();
        let parts: Vec<_> = passed_on.split('-').collect();
        let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{passed_on:?} for {wrong:?}");
        assert_ne!(passed_on, wrong);
        let is_hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        assert!(parts.iter().all(is_hex), "{passed_on:?}");
        assert!(!is_zero(parts[1]) && !is_zero(parts[2]), "{passed_on:?}");
    }
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let right = format!("00-{trace}-b7ad6b7169203331-01");
    let seen = until_validated(&service, ada, with(&right));
    assert!(seen.headers["traceparent"].contains(trace), "{:?}", seen.headers);
}
