//! What each route does when asked properly.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Service, credit, customer, order_cancelled, order_created};

#[test]
fn a_new_customer_is_shown_with_its_credit() {
    let service = Service::start();
    let body = json!({ "name": "Ada Łoś", "creditLimit": 1000 });
    let answer = service.http.post("/api/customers", &body).expect(201);
    let found = service.http.get(answer.header("location").expect("where it is"));
    let shown = found.clone().expect(200).json();
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
fn the_csharp_route_of_a_credit_limit_answers_200_in_any_case() {
    let service = Service::start();
    let id = customer(&service, 1000);
    let path = format!("/api/Customer/{}", id.to_string().to_uppercase());
    service.http.put(&path, &json!(1500)).expect(200);
    assert_eq!(credit(&service, id)[0], 1500.0);
    let answer = service.http.put(&path, &json!("1500.25")).expect(200);
    assert_eq!(answer.json()["creditLimit"], 1500.25);
}

#[test]
fn a_conflict_tells_nobodys_name() {
    let service = Service::start();
    let id = Uuid::new_v4();
    let body = |name: &str, limit: i32| json!({ "id": id, "name": name, "creditLimit": limit });
    service.http.post("/api/customers", &body("Ada", 10)).expect(201);
    for (path, body) in [
        ("/api/customers", body("Eve", 10)),
        ("/api/customers", body("Eve", 11)),
        ("/api/Customer/NewCustomer", body("Eve", 10)),
    ] {
        let answer = service.http.post(path, &body).expect(409);
        assert!(!answer.body.contains("Ada"), "{answer:?}");
    }
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
