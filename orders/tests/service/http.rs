//! What each route does when asked properly.

use std::collections::BTreeSet;

use orders::Orders;
use serde_json::{Value, json};
use testing::{http::Answer, service::Setup};
use uuid::Uuid;

use super::{Service, about, invalid, order, status, valid};

#[test]
fn a_new_order_answers_201_and_is_found_at_its_location() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let body = json!({ "customerId": customer, "amount": 800 });
    let answer = service.http.post("/api/orders", &body).expect(201);
    let id = answer.text("id");
    assert_eq!(id.parse::<Uuid>().map(|id| id.get_version_num()), Ok(7));
    let location = format!("/api/orders/{id}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let found = service.http.get(&location).expect(200);
    assert_eq!(found.json(), answer.json());
    assert!(found.body.contains("\"amount\":800.0"), "{found:?}");
    assert_eq!(found.text("status"), "Created");
    assert_eq!(found.text("customerId"), customer.to_string());
    assert_eq!(found.json()["reason"], Value::Null);
}

#[test]
fn the_csharp_route_answers_200_in_any_case() {
    let service = Service::start();
    let (id, customer) = (Uuid::new_v4(), Uuid::new_v4());
    let body = json!({ "Id": id, "CustomerId": customer, "Amount": 800.0 });
    let created = service.http.post("/api/Orders/NewOrder", &body).expect(200);
    assert_eq!(created.text("id"), id.to_string());
    assert_eq!(created.header("location"), None);
    let shouted = json!({ "ID": id.to_string().to_uppercase(), "CUSTOMERID": customer, "AMOUNT": "800.00" });
    let again = service.http.post("/API/ORDERS/NEWORDER/", &shouted).expect(200);
    assert_eq!(again.json(), created.json());
    let path = format!("/api/Orders/{}", id.to_string().to_uppercase());
    assert_eq!(service.http.get(&path).expect(200).json(), created.json());
}

#[test]
fn a_repeated_order_answers_as_the_first_and_is_announced_once() {
    let service = Service::start();
    let body = json!({ "id": Uuid::new_v4(), "customerId": Uuid::new_v4(), "amount": 10.5 });
    let first = service.http.post("/api/orders", &body).expect(201);
    let again = service.http.post("/api/orders", &body).expect(201);
    assert_eq!(
        (again.json(), again.header("location")),
        (first.json(), first.header("location"))
    );
    let other = order(&service, Uuid::new_v4(), 1);
    let mut tape = service.tape();
    service.until("the other order is announced", || {
        tape.find("OrderCreated", about(other))
    });
    let announced = tape.events("OrderCreated");
    assert_eq!(
        announced
            .iter()
            .filter(|seen| seen.data["id"] == body["id"])
            .count(),
        1
    );
}

#[test]
fn the_same_id_with_another_content_is_409() {
    let service = Service::start();
    let (id, customer) = (Uuid::new_v4(), Uuid::new_v4());
    let body = |customer: Uuid, amount: i32| json!({ "id": id, "customerId": customer, "amount": amount });
    service.http.post("/api/orders", &body(customer, 10)).expect(201);
    for (path, body) in [
        ("/api/orders", body(Uuid::new_v4(), 10)),
        ("/api/orders", body(customer, 11)),
        ("/api/Orders/NewOrder", body(customer, 11)),
    ] {
        let answer = service.http.post(path, &body).expect(409);
        assert_eq!(
            (answer.text("code"), answer.text("id")),
            ("id-taken".into(), id.to_string())
        );
    }
    let found = service.http.get(&format!("/api/orders/{id}")).json();
    assert_eq!(
        (&found["customerId"], &found["amount"]),
        (&json!(customer), &json!(10.0))
    );
}

#[test]
fn an_idempotency_key_stands_for_an_id() {
    let service = Service::start();
    let customer = Uuid::new_v4();
    let create = |key: &str, amount: i32| {
        let body = json!({ "customerId": customer, "amount": amount });
        service
            .http
            .post_with("/api/orders", &[("idempotency-key", key)], &body)
    };
    let first = create("checkout 7", 10).expect(201);
    assert_eq!(create("checkout 7", 10).expect(201).json(), first.json());
    assert_eq!(create("checkout 7", 11).expect(409).text("code"), "id-taken");
    assert_ne!(create("checkout 8", 10).expect(201).text("id"), first.text("id"));
    let id = Uuid::new_v4();
    assert_eq!(create(&id.to_string(), 10).expect(201).text("id"), id.to_string());
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
fn a_request_is_followed_by_its_ids_into_its_events() {
    let service = Service::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("x-request-id", "checkout-7/a"), ("traceparent", parent.as_str())];
    let customer = Uuid::new_v4().to_string();
    let body = json!({ "customerId": customer, "amount": 10 });
    let answer = service.http.post_with("/api/orders", &headers, &body).expect(201);
    assert_eq!(answer.header("x-request-id"), Some("checkout-7/a"));
    assert_eq!(answer.header("traceparent"), Some(parent.as_str()));
    let id = answer.text("id");
    let mut tape = service.tape();
    let event = service.until("it is announced", || {
        tape.find("OrderCreated", |seen| seen.data["id"] == id)
    });
    assert_eq!(event.record.key.as_deref(), Some(customer.as_bytes()));
    for (header, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", "OrderCreated"),
        ("ce_source", "/orders"),
        ("ce_subject", id.as_str()),
        ("ce_correlationid", "checkout-7/a"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(
            event.headers.get(header).map(String::as_str),
            Some(value),
            "{header}"
        );
    }
    assert!(event.headers["traceparent"].starts_with(&format!("00-{trace}-")));
    assert_ne!(
        event.headers["traceparent"], parent,
        "the event is a span of its own"
    );

    // Without, or with what would forge a log line, ids are made, and a problem tells them too.
    let answer = service
        .http
        .send("GET", "/api/orders/x", &[("x-request-id", "a b")], None)
        .expect(400);
    let made = answer.header("x-request-id").expect("an id is made").to_owned();
    assert_eq!(answer.text("correlationId"), made);
    assert_ne!(made, "a b");
    assert_eq!(answer.header("traceparent").map(str::len), Some(55));
}

/// The ids on all pages of a list.
fn pages(service: &Service, filter: &str, meanwhile: impl Fn()) -> Vec<String> {
    let (mut visited, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service
            .http
            .get(&format!("/api/orders?limit=5{filter}{cursor}"))
            .expect(200)
            .json();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        visited.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap_or("?").to_owned()),
        );
        meanwhile();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return visited,
        }
        assert_eq!(items.len(), 5, "only the last page is short");
    }
}

#[test]
fn pages_visit_each_order_exactly_once_newest_first() {
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
        (format!("&customerId={}", customers[1]), &|n| n % 2 == 1),
        ("&status=shipped".into(), &|n| n % 3 == 0),
        ("&STATUS=2".into(), &|n| n % 3 == 1),
        ("&status=Created".into(), &|n| n % 3 == 2),
        (format!("&customerid={}&status=Cancelled", customers[0]), &|n| {
            n % 2 == 0 && n % 3 == 1
        }),
        (format!("&customerId={}", Uuid::new_v4()), &|_| false),
    ] {
        assert_eq!(pages(&service, &filter, || {}), expected(is_it), "{filter}");
    }
    // What is created meanwhile is newer than every cursor.
    let among = pages(&service, "", || {
        order(&service, Uuid::new_v4(), 1);
    });
    assert_eq!(among, expected(&|_| true));
}

#[test]
fn every_service_tells_about_itself() {
    let service = Service::start();
    assert_eq!(
        service.http.get("/health/live").expect(200).json(),
        json!({ "status": "up" })
    );
    let ready = service.http.get("/Health/Ready").expect(200).json();
    let checks = ready["checks"].as_array().into_iter().flatten();
    let checks: BTreeSet<_> = checks.map(|check| check["name"].as_str()).collect();
    assert_eq!(checks, [Some("database"), Some("log"), Some("consumer")].into());
    order(&service, Uuid::new_v4(), 1);
    let metrics = service.http.get("/metrics").expect(200);
    assert!(
        metrics.body.contains("commands_total{service=\"orders\"} 1"),
        "{metrics:?}"
    );
    assert!(metrics.body.contains("route=\"/api/orders\""), "{metrics:?}");
    let docs = service.http.get("/docs").expect(200);
    assert!(
        docs.header("content-type")
            .is_some_and(|value| value.starts_with("text/html"))
    );
}

#[test]
fn head_is_answered_where_get_is_and_options_tells_what_is_allowed() {
    let service = Service::start();
    let answer = service
        .http
        .post(
            "/api/orders",
            &json!({ "customerId": Uuid::new_v4(), "amount": 1 }),
        )
        .expect(201);
    let one = answer.header("location").expect("where it is").to_owned();
    for path in ["/api/orders", &one, "/health/live", "/openapi.json"] {
        let got = service.http.get(path).expect(200);
        let head = service.http.send("HEAD", path, &[], None).expect(200);
        assert_eq!(head.body, "", "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
        assert_eq!(
            head.header("content-length"),
            got.header("content-length"),
            "{path}"
        );
    }
    service
        .http
        .send("HEAD", &format!("/api/orders/{}", Uuid::new_v4()), &[], None)
        .expect(404);
    for (path, allow) in [
        ("/api/orders", "GET, HEAD, POST, OPTIONS"),
        (&one, "GET, HEAD, OPTIONS"),
        ("/health/ready", "GET, HEAD, OPTIONS"),
    ] {
        let options = service.http.send("OPTIONS", path, &[], None).expect(204);
        assert_eq!(
            (options.header("allow"), options.body.as_str()),
            (Some(allow), "")
        );
        let refused = service.http.send("DELETE", path, &[], None).expect(405);
        assert_eq!(refused.header("allow"), Some(allow));
    }
    let unknown = service.http.send("OPTIONS", "/nowhere", &[], None).expect(404);
    assert_eq!(unknown.text("code"), "unknown-path");
}

#[test]
fn the_description_names_exactly_the_methods_that_are_there() {
    let service = Service::start();
    let description = service.http.get("/openapi.json").expect(200).json();
    let paths = description["paths"].as_object().expect("a description has paths");
    for (path, described) in paths {
        let path = path.replace("{id}", &Uuid::new_v4().to_string());
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let is_described = described.get(method.to_lowercase()).is_some();
            let body: Option<&[u8]> = matches!(method, "POST" | "PUT").then_some(b"{");
            let headers = [("content-type", "application/json")];
            let answer = service.http.send(method, &path, &headers, body);
            let status = answer.status;
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
            let unknown = status == 404 && answer.text("code") == "unknown-path";
            assert!(!unknown, "nothing is at {path}");
        }
    }
}

#[test]
fn when_too_many_orders_are_open_further_ones_wait_until_those_are_final() {
    let mut setup = Setup::new::<Orders>();
    setup.settings.max_open_orders = 20;
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
