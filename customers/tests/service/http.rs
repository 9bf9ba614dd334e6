//! What each route does when asked properly.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Service, credit, customer, order_cancelled, order_created};

#[test]
fn a_new_customer_answers_201_and_is_found_at_its_location() {
    let service = Service::start();
    let body = json!({ "name": "Ada Łoś", "creditLimit": 1000 });
    let answer = service.http.post("/api/customers", &body).expect(201);
    let id = answer.text("id");
    assert_eq!(id.parse::<Uuid>().map(|id| id.get_version_num()), Ok(7));
    let location = format!("/api/customers/{id}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let found = service.http.get(&location).expect(200);
    assert_eq!(found.json(), answer.json());
    let shown = found.json();
    assert_eq!(shown["name"], "Ada Łoś");
    for (field, value) in [
        ("creditLimit", "1000.0"),
        ("reserved", "0.0"),
        ("available", "1000.0"),
    ] {
        assert!(found.body.contains(&format!("\"{field}\":{value}")), "{found:?}");
    }
    assert_eq!(shown["createdAt"], shown["updatedAt"]);
}

#[test]
fn the_csharp_routes_answer_200_in_any_case() {
    let service = Service::start();
    let id = Uuid::new_v4();
    let body = json!({ "Id": id, "Name": "Ada", "CreditLimit": 1000.0 });
    let created = service.http.post("/api/Customer/NewCustomer", &body).expect(200);
    assert_eq!(created.text("id"), id.to_string());
    let shouted = json!({ "ID": id.to_string().to_uppercase(), "NAME": "Ada", "CREDITLIMIT": "1000.00" });
    let again = service
        .http
        .post("/API/CUSTOMER/NEWCUSTOMER/", &shouted)
        .expect(200);
    assert_eq!(again.json(), created.json());

    let path = format!("/api/Customer/{}", id.to_string().to_uppercase());
    service.http.put(&path, &json!(1500)).expect(200);
    assert_eq!(credit(&service, id)[0], 1500.0);
    let answer = service.http.put(&path, &json!("1500.25")).expect(200);
    assert_eq!(answer.json()["creditLimit"], 1500.25);
}

#[test]
fn a_repeated_creation_answers_as_the_first_and_announces_once() {
    let service = Service::start();
    let body = json!({ "id": Uuid::new_v4(), "name": "Ada", "creditLimit": 10.5 });
    let first = service.http.post("/api/customers", &body).expect(201);
    let again = service.http.post("/api/customers", &body).expect(201);
    assert_eq!(
        (again.json(), again.header("location")),
        (first.json(), first.header("location"))
    );
    let other = customer(&service, 1).to_string();
    let mut tape = service.tape();
    service.until("the other customer is announced", || {
        tape.find("CustomerCreated", |seen| seen.data["id"] == other)
    });
    let events = tape.events("CustomerCreated");
    assert_eq!(
        events.iter().filter(|seen| seen.data["id"] == body["id"]).count(),
        1
    );
}

#[test]
fn the_same_id_with_another_content_is_409() {
    let service = Service::start();
    let id = Uuid::new_v4();
    let body = |name: &str, limit: i32| json!({ "id": id, "name": name, "creditLimit": limit });
    service.http.post("/api/customers", &body("Ada", 10)).expect(201);
    for (path, body) in [
        ("/api/customers", body("Eve", 10)),
        ("/api/customers", body("Ada", 11)),
        ("/api/Customer/NewCustomer", body("Eve", 10)),
    ] {
        let answer = service.http.post(path, &body).expect(409);
        assert!(!answer.body.contains("Ada"), "nobody's name is told: {answer:?}");
        assert_eq!(
            (answer.text("code"), answer.text("id")),
            ("id-taken".into(), id.to_string())
        );
    }
    let found = service.http.get(&format!("/api/customers/{id}")).json();
    assert_eq!(
        (&found["name"], &found["creditLimit"]),
        (&json!("Ada"), &json!(10.0))
    );
}

#[test]
fn an_idempotency_key_stands_for_an_id() {
    let service = Service::start();
    let create = |key: &str, limit: i32| {
        let body = json!({ "name": "Ada", "creditLimit": limit });
        service
            .http
            .post_with("/api/customers", &[("idempotency-key", key)], &body)
    };
    let first = create("checkout 7", 10).expect(201);
    assert_eq!(create("checkout 7", 10).expect(201).json(), first.json());
    assert_eq!(create("checkout 7", 11).expect(409).text("code"), "id-taken");
    assert_ne!(create("checkout 8", 10).expect(201).text("id"), first.text("id"));
    let id = Uuid::new_v4();
    assert_eq!(create(&id.to_string(), 10).expect(201).text("id"), id.to_string());
}

#[test]
fn a_credit_limit_is_changed_and_may_fall_below_what_is_reserved() {
    let service = Service::start();
    let id = customer(&service, 100);
    let path = format!("/api/customers/{id}/credit-limit");
    service
        .http
        .put(&path, &json!({ "creditLimit": 150 }))
        .expect(200);
    service
        .http
        .put(&path, &json!({ "CREDITLIMIT": "150.0" }))
        .expect(200);
    assert_eq!(credit(&service, id), [150.0, 0.0, 150.0]);
    service.publish_event("OrderCreated", &order_created(Uuid::new_v4(), id, 120), id);
    service.until("the order is reserved", || {
        credit(&service, id) == [150.0, 120.0, 30.0]
    });
    let answer = service.http.put(&path, &json!(0)).expect(200);
    assert_eq!(answer.json()["available"], -120.0);

    let mut tape = service.tape();
    let limits = service.until("both changes are announced", || {
        let changes = tape.events("CreditLimitChanged");
        let limits: Vec<_> = changes
            .iter()
            .map(|seen| seen.data["creditLimit"].clone())
            .collect();
        (limits.len() >= 2).then_some(limits)
    });
    assert_eq!(
        limits,
        [json!(150.0), json!(0.0)],
        "a change to the same limit is none"
    );
    let unknown = format!("/api/customers/{}/credit-limit", Uuid::new_v4());
    assert_eq!(
        service.http.put(&unknown, &json!(1)).expect(404).text("code"),
        "not-found"
    );
}

#[test]
fn a_request_is_followed_by_its_ids_into_its_events() {
    let service = Service::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("x-request-id", "checkout-7/a"), ("traceparent", parent.as_str())];
    let body = json!({ "name": "Ada", "creditLimit": 10 });
    let answer = service
        .http
        .post_with("/api/customers", &headers, &body)
        .expect(201);
    assert_eq!(answer.header("x-request-id"), Some("checkout-7/a"));
    assert_eq!(answer.header("traceparent"), Some(parent.as_str()));
    let id = answer.text("id");
    let mut tape = service.tape();
    let event = service.until("it is announced", || {
        tape.find("CustomerCreated", |seen| seen.data["id"] == id)
    });
    assert_eq!(event.record.key.as_deref(), Some(id.as_bytes()));
    for (header, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", "CustomerCreated"),
        ("ce_source", "/customers"),
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
        .send("GET", "/api/customers/x", &[("x-request-id", "a b")], None)
        .expect(400);
    let made = answer.header("x-request-id").expect("an id is made").to_owned();
    assert_eq!(answer.text("correlationId"), made);
    assert_ne!(made, "a b");
    assert_eq!(answer.header("traceparent").map(str::len), Some(55));
}

#[test]
fn pages_visit_each_customer_exactly_once_newest_first() {
    let service = Service::start();
    let ids: Vec<_> = (0..23)
        .map(|limit| customer(&service, limit).to_string())
        .collect();
    let (mut visited, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service
            .http
            .get(&format!("/api/customers?limit=5{cursor}"))
            .expect(200)
            .json();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        visited.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap_or("?").to_owned()),
        );
        // What is created meanwhile is newer than every cursor.
        customer(&service, 0);
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert_eq!(items.len(), 5);
    }
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(visited, newest_first);
    let all = service.http.get("/api/customers").expect(200).json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(28));
    assert_eq!(all["nextCursor"], Value::Null);
    let last = service
        .http
        .get(&format!("/api/customers?cursor={}", ids[0]))
        .json();
    assert_eq!(last, json!({ "items": [] }));
}

#[test]
fn reservations_are_listed_with_how_they_stand() {
    let service = Service::start();
    let (id, other) = (customer(&service, 100), customer(&service, 100));
    let orders: Vec<_> = (0..4).map(|_| Uuid::now_v7()).collect();
    for (order, amount) in orders.iter().zip([60, 41, 40, 7]) {
        let of = if amount == 7 { other } else { id };
        service.publish_event("OrderCreated", &order_created(*order, of, amount), of);
    }
    service.publish_event("OrderCancelled", &order_cancelled(orders[0], id), id);
    service.until_handled("OrderCancelled", 1);
    service.until_handled("OrderCreated", 4);
    assert_eq!(credit(&service, id), [100.0, 40.0, 60.0]);

    let (mut states, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/customers/{id}/reservations?limit=1{cursor}");
        let page = service.http.get(&path).expect(200).json();
        for item in page["items"].as_array().into_iter().flatten() {
            assert_eq!(item["customerId"], id.to_string());
            states.push((
                item["orderId"].clone(),
                item["state"].clone(),
                item["reason"].clone(),
            ));
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected = [
        (json!(orders[2]), json!("Held"), Value::Null),
        (json!(orders[1]), json!("Refused"), json!("InsufficientCredit")),
        (json!(orders[0]), json!("Released"), Value::Null),
    ];
    assert_eq!(states, expected);
    let unknown = format!("/api/customers/{}/reservations", Uuid::new_v4());
    assert_eq!(service.http.get(&unknown).expect(404).text("code"), "not-found");
}

#[test]
fn every_service_tells_about_itself() {
    let service = Service::start();
    assert_eq!(
        service.http.get("/health/live").expect(200).json(),
        json!({ "status": "up" })
    );
    let ready = service.http.get("/Health/Ready").expect(200).json();
    let checks: BTreeSet<_> = ready["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| check["name"].as_str())
        .collect();
    assert_eq!(checks, [Some("database"), Some("log"), Some("consumer")].into());
    customer(&service, 1);
    let metrics = service.http.get("/metrics").expect(200);
    assert!(
        metrics.body.contains("commands_total{service=\"customers\"} 1"),
        "{metrics:?}"
    );
    assert!(metrics.body.contains("route=\"/api/customers\""), "{metrics:?}");
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
        .post("/api/customers", &json!({ "name": "Ada", "creditLimit": 1 }))
        .expect(201);
    let one = answer.header("location").expect("where it is").to_owned();
    for path in ["/api/customers", &one, "/health/live", "/openapi.json"] {
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
        .send("HEAD", &format!("/api/customers/{}", Uuid::new_v4()), &[], None)
        .expect(404);
    for (path, allow) in [
        ("/api/customers", "GET, HEAD, POST, OPTIONS"),
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
