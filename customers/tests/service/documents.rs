//! Documents that people have changed with their tools.

use serde_json::{Value, json};
use testing::service::bson::{Bson, Document, doc};
use uuid::Uuid;

use super::{Service, about, credit, customer, order_created};

fn set(service: &Service, id: Uuid, fields: &Document) {
    service.setup.set("customers", id, fields);
}

fn ids(page: &Value) -> Vec<Uuid> {
    let items = page["items"].as_array().expect("a page has items");
    let id = |item: &Value| item["id"].as_str().and_then(|id| id.parse().ok());
    items.iter().filter_map(id).collect()
}

#[test]
fn a_customer_that_a_tool_has_saved_is_read_and_changed_as_before() {
    let service = Service::start();
    for (limit, changes) in [
        (Bson::Double(700.5), Bson::Int32(0)),
        (Bson::Int32(700), Bson::Double(0.0)),
        (Bson::Int64(700), Bson::String("0".into())),
        (Bson::String("700.25".into()), Bson::Int64(0)),
    ] {
        let id = customer(&service, 1000);
        set(
            &service,
            id,
            &doc! { "creditLimit": limit, "limitChanges": changes },
        );
        assert!(matches!(
            service.setup.stored("customers", id).get("version"),
            Some(Bson::Int32(2))
        ));
        assert!(credit(&service, id)[0] >= 700.0);
        let path = format!("/api/customers/{id}/credit-limit");
        service
            .http
            .put(&path, &json!({ "creditLimit": 900 }))
            .expect(200);
        let order = Uuid::new_v4();
        service.publish_event("OrderCreated", &order_created(order, id, 800), id);
        let mut tape = service.tape();
        let validated = service.until("it is decided", || tape.find("OrderValidated", about(order)));
        assert_eq!(validated.data["isValid"], true);
        assert_eq!(credit(&service, id), [900.0, 800.0, 100.0]);
    }
}

#[test]
fn a_field_that_is_not_known_stays_when_the_customer_changes() {
    let service = Service::start();
    let id = customer(&service, 1000);
    set(&service, id, &doc! { "segment": "gold" });
    let path = format!("/api/customers/{id}/credit-limit");
    service
        .http
        .put(&path, &json!({ "creditLimit": 900 }))
        .expect(200);
    let order = Uuid::new_v4();
    service.publish_event("OrderCreated", &order_created(order, id, 800), id);
    service.until("credit is reserved", || {
        credit(&service, id) == [900.0, 800.0, 100.0]
    });
    let stored = service.setup.stored("customers", id);
    assert_eq!(stored.get_str("segment").ok(), Some("gold"));
}

#[test]
fn a_list_leaves_out_what_cannot_be_read_and_says_so() {
    let service = Service::start();
    let customers: Vec<Uuid> = (0..5).map(|_| customer(&service, 1000)).collect();
    // The newest stands first in a list.
    let sick = customers[3];
    set(&service, sick, &doc! { "creditLimit": "plenty" });
    let all = service.http.get("/api/customers").expect(200).json();
    assert_eq!(
        ids(&all),
        [customers[4], customers[2], customers[1], customers[0]]
    );
    assert_eq!(all["unreadable"], json!({ "count": 1, "ids": [sick] }));

    // Page by page, the cursor goes on past it.
    let (mut found, mut left_out, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = service.http.get(&format!("/api/customers?limit=1{cursor}"));
        let page = page.expect(200).json();
        found.extend(ids(&page));
        left_out.extend(page.get("unreadable").cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((found, left_out.len()), (ids(&all), 1));
    let counted = service.counted("documents_unreadable_total{collection=\"customers\"");
    assert_eq!(counted, 2, "each time that it was left out");
}
