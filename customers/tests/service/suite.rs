//! Customers keeps the promises of every service.

use serde_json::{Value, json};
use testing::{
    service::bson::{Document, doc},
    service_suite,
    service_suite::{Exchange, ServiceDescription, StrayEnd, WithLists, WithPosts},
};
use uuid::Uuid;

use super::{Customers, Service, credit, customer, order_created};

/// What the suite has to know of Customers.
pub struct Description;

/// What each order of the suite costs; exact as a float.
const AMOUNT: f64 = 400.5;

impl ServiceDescription for Description {
    type Service = Customers;

    const ROUTES: &'static [(&'static str, &'static str)] = &[
        ("/api/customers", "GET, HEAD, POST, OPTIONS"),
        ("/api/customers/{id}", "GET, HEAD, OPTIONS"),
        ("/api/customers/{id}/credit-limit", "PUT, OPTIONS"),
        ("/api/customers/{id}/reservations", "GET, HEAD, OPTIONS"),
        ("/api/Customer/NewCustomer", "POST, OPTIONS"),
        ("/api/Customer/{id}", "PUT, OPTIONS"),
    ];
    const RESOURCE: &'static str = "/api/customers";
    const CREATED_EVENT: &'static str = "CustomerCreated";
    const HANDLED_EVENT: &'static str = "OrderCreated";
    const ANSWER_EVENT: &'static str = "OrderValidated";
    const IGNORED_EVENT: &'static str = "OrderShipped";
    const STRAY_ENDS_AS: StrayEnd = StrayEnd::Answer;

    fn store(service: &Service) -> Uuid {
        customer(service, 1000)
    }

    /// The key is that of the customer, who is there once, however many orders come.
    fn exchange(service: &Service, key: Uuid) -> Exchange {
        let ada = json!({ "id": key, "name": "Ada", "creditLimit": 1000 });
        service.http.post("/api/customers", &ada).expect(201);
        let order = Uuid::new_v4();
        Exchange {
            data: order_created(order, key, AMOUNT),
            key,
            subject: order,
            answer: json!({ "orderId": order, "isValid": true, "customerId": key, "amount": AMOUNT }),
        }
    }

    fn were_handled(service: &Service, exchanges: &[Exchange]) -> bool {
        let reserved: f64 = exchanges.iter().map(|_| AMOUNT).sum();
        credit(service, exchanges[0].key) == [1000.0, reserved, 1000.0 - reserved]
    }

    fn stray() -> (Uuid, Value) {
        let nobody = Uuid::new_v4();
        (nobody, order_created(Uuid::new_v4(), nobody, 1))
    }

    fn malformed() -> Vec<(Value, &'static str)> {
        let negative = order_created(Uuid::new_v4(), Uuid::new_v4(), -5);
        vec![(negative, "`amount` is negative")]
    }

    fn unreadable() -> Vec<Document> {
        vec![doc! { "creditLimit": "plenty" }, doc! { "reserved": 0.1 + 0.2 }]
    }
}

impl WithPosts for Description {
    const CSHARP_ROUTE: Option<&'static str> = Some("/api/Customer/NewCustomer");
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("id", "null"), ("name", "\"Ada\""), ("creditLimit", "100")];
    const OTHER_CONTENT: &'static [(&'static str, &'static str)] =
        &[("name", "\"Eve\""), ("creditLimit", "11")];
    const TEXT_FIELD: &'static str = "name";
    const MONEY_FIELD: &'static str = "creditLimit";
    const ID_FIELDS: &'static [&'static str] = &["id"];
    const KEY_FIELD: &'static str = "id";

    fn wrong_values() -> Vec<(&'static str, String)> {
        let names = [
            "null",
            "7",
            "{}",
            "\"\"",
            "\" \\t \"",
            "\"A\\u0000da\"",
            "\"A\\u001b[31mda\"",
            "\"A\\nda\"",
            "\"\\ud800\"",
        ];
        let long = [201, 30_000].map(|length| ("name", format!("\"{}\"", "x".repeat(length))));
        let wrong = names.map(|value| ("name", value.to_owned()));
        wrong.into_iter().chain(long).collect()
    }
}

impl WithLists for Description {
    fn lists(id: Uuid) -> Vec<String> {
        vec![
            "/api/customers".into(),
            format!("/api/customers/{id}/reservations"),
        ]
    }
}

service_suite!(every_service: Description);
service_suite!(with_posts: Description);
service_suite!(with_csharp_route: Description);
service_suite!(with_lists: Description);
