//! What each route does when asked properly.

use orders::Orders;
use serde_json::{Value, json};
use testing::{http::Answer, service::Setup, service_suite::pages};
use uuid::Uuid;

use super::{Service, about, invalid, order, status, valid};

#[test]
fn a_new_order_is_shown_as_created() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let id = order(&service, customer, 800);
    let found = service.http.get(&format!("/api/orders/{id}")).expect(200);
    assert!(found.body.contains("\"amount\":800.0"), "{found:?}");
    assert_eq!(found.text("status"), "Created");
    assert_eq!(found.text("customerId"), customer.to_string());
    assert_eq!(found.json()["reason"], Value::Null);
}

#[test]
fn an_order_is_cancelled_while_it_is_created_and_never_after() {
    let service = Service::start();
    let (open, shipped) = (
        order(&service, Uuid::new_v4(), 1),
        order(&service, Uuid::new_v4(), 1),
    );
    let cancel = |id: Uuid| {
        service
            .http
            .send("POST", &format!("/api/orders/{id}/cancel"), &[], Some(b""))
    };
    let answer = cancel(open).expect(200);
    assert_eq!(
        (answer.text("status"), answer.text("reason")),
        ("Cancelled".into(), "CancelledByCustomer".into())
    );
    let again = cancel(open).expect(409);
    assert_eq!(
        (again.text("code"), again.text("id")),
        ("order-is-final".into(), open.to_string())
    );
    service.publish_bare("OrderValidated", &valid(shipped));
    service.until("it is shipped", || status(&service, shipped) == "Shipped");
    assert_eq!(cancel(shipped).expect(409).text("code"), "order-is-final");
    assert_eq!(status(&service, shipped), "Shipped");
    assert_eq!(cancel(Uuid::new_v4()).expect(404).text("code"), "not-found");
    // Repeating the creation of a final order answers how it stands now.
    assert_eq!(status(&service, open), "Cancelled");
}

#[test]
fn an_answer_that_waits_comes_when_the_order_is_final() {
    let service = Service::start();
    for (path, headers, done) in [
        ("/api/orders?wait=20s", vec![], 201),
        ("/api/Orders/NewOrder?Wait=20000ms", vec![], 200),
        ("/api/orders", vec![("prefer", "respond-async, wait=20")], 201),
    ] {
        let id = Uuid::new_v4();
        let body = json!({ "id": id, "customerId": Uuid::new_v4(), "amount": 1 });
        let http = service.http.clone();
        let asked = std::thread::spawn(move || http.post_with(path, &headers, &body));
        let mut tape = service.tape();
        service.until("the order is announced", || tape.find("OrderCreated", about(id)));
        assert!(!asked.is_finished(), "it waits: {path}");
        service.publish_bare("OrderValidated", &invalid(id, "UnknownCustomer"));
        let answer = asked.join().expect("no panic").expect(done);
        assert_eq!(
            (answer.text("status"), answer.text("reason")),
            ("Cancelled".into(), "UnknownCustomer".into())
        );
        // What is final needs no waiting.
        let found = service
            .http
            .get(&format!("/api/orders/{id}?wait=30s"))
            .expect(200);
        assert_eq!(found.json(), answer.json());
    }
    // Somebody who cancels wakes those who wait, too.
    let id = order(&service, Uuid::new_v4(), 1);
    let http = service.http.clone();
    let asked = std::thread::spawn(move || http.get(&format!("/api/orders/{id}?wait=20s")));
    service
        .http
        .send("POST", &format!("/api/orders/{id}/cancel"), &[], Some(b""))
        .expect(200);
    assert_eq!(
        asked.join().expect("no panic").expect(200).text("status"),
        "Cancelled"
    );
}

#[test]
fn an_answer_that_waited_in_vain_is_202() {
    let service = Service::start();
    let body = json!({ "id": Uuid::new_v4(), "customerId": Uuid::new_v4(), "amount": 1 });
    let answer = service.http.post("/api/orders?wait=20ms", &body).expect(202);
    assert_eq!(answer.text("status"), "Created");
    let location = answer.header("location").expect("where to look").to_owned();
    service.http.get(&format!("{location}?wait=0")).expect(202);
    service
        .http
        .post("/api/Orders/NewOrder?wait=20ms", &body)
        .expect(202);
    let prefer = |wait: &str, query: &str| {
        let path = format!("{location}{query}");
        service.http.send("GET", &path, &[("prefer", wait)], None)
    };
    let applied = |answer: Answer| answer.header("preference-applied").map(str::to_owned);
    assert_eq!(applied(prefer("wait=0", "").expect(202)), Some("wait=0".into()));
    assert_eq!(
        applied(prefer("wait=20ms", "").expect(202)),
        Some("wait=20ms".into())
    );
    // The parameter goes first, and a preference that makes no sense is ignored.
    assert_eq!(applied(prefer("wait=20", "?wait=0").expect(202)), None);
    assert_eq!(applied(prefer("wait=soon", "").expect(200)), None);
}

#[test]
fn pages_of_filtered_orders_visit_each_exactly_once_newest_first() {
    let service = Service::start();
    let customers = [Uuid::new_v4(), Uuid::new_v4()];
    let ids: Vec<_> = (0..24)
        .map(|n| (n, order(&service, customers[n % 2], 1)))
        .collect();
    for (n, id) in &ids {
        match n % 3 {
            0 => service.publish_bare("OrderValidated", &valid(*id)),
            1 => service.publish_bare("OrderValidated", &invalid(*id, "InsufficientCredit")),
            _ => continue,
        };
    }
    service.until_handled("OrderValidated", 16);
    let expected = |is_it: &dyn Fn(usize) -> bool| -> Vec<String> {
        let those = ids.iter().rev().filter(|(n, _)| is_it(*n));
        those.map(|(_, id)| id.to_string()).collect()
    };
    for (filter, is_it) in [
        (String::new(), &(|_| true) as &dyn Fn(usize) -> bool),
        (format!("customerId={}&", customers[1]), &|n| n % 2 == 1),
        ("status=shipped&".into(), &|n| n % 3 == 0),
        ("STATUS=2&".into(), &|n| n % 3 == 1),
        ("status=Created&".into(), &|n| n % 3 == 2),
        (format!("customerid={}&status=Cancelled&", customers[0]), &|n| {
            n % 2 == 0 && n % 3 == 1
        }),
        (format!("customerId={}&", Uuid::new_v4()), &|_| false),
    ] {
        let path = format!("/api/orders?{filter}");
        assert_eq!(pages(&service, &path, || {}), expected(is_it), "{filter}");
    }
}

#[test]
fn when_too_many_orders_are_open_further_ones_wait_until_those_are_final() {
    let mut setup = Setup::<Orders>::new();
    setup.own.max_open_orders.all = 20;
    let service = Service::start_on(setup);
    service.until_ready();
    let customer = Uuid::new_v4();
    let body = json!({ "customerId": customer, "amount": 1 });
    let mut open = Vec::new();
    let refused = loop {
        let answer = service.http.post("/api/orders", &body);
        match answer.status {
            201 => open.push(answer.text("id").parse().unwrap()),
            _ => break answer.expect(503),
        }
    };
    // What is accepted while they are counted may count twice for a moment.
    assert!((10..=20).contains(&open.len()), "{} were taken", open.len());
    assert_eq!(
        (refused.text("code"), refused.header("retry-after")),
        ("overloaded".into(), Some("1"))
    );

    for id in open {
        service.publish_event("OrderValidated", &valid(id), customer);
    }
    service.until("orders are taken again", || {
        service.http.post("/api/orders", &body).status == 201
    });
}
