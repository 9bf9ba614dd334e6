//! Orders keeps the promises of every service.

use serde_json::{Value, json};
use testing::{
    service::{
        Setup,
        bson::{Document, doc},
    },
    service_suite,
    service_suite::{Exchange, ServiceDescription, StrayEnd, WithLists, WithPosts},
};
use uuid::Uuid;

use super::{Orders, Service, order, status, valid};

/// What the suite has to know of Orders.
pub struct Description;

impl ServiceDescription for Description {
    type Service = Orders;

    const ROUTES: &'static [(&'static str, &'static str)] = &[
        ("/api/orders", "GET, HEAD, POST, OPTIONS"),
        ("/api/orders/{id}", "GET, HEAD, OPTIONS"),
        ("/api/orders/{id}/cancel", "POST, OPTIONS"),
        ("/api/Orders/NewOrder", "POST, OPTIONS"),
    ];
    const RESOURCE: &'static str = "/api/orders";
    const CREATED_EVENT: &'static str = "OrderCreated";
    const HANDLED_EVENT: &'static str = "OrderValidated";
    const ANSWER_EVENT: &'static str = "OrderShipped";
    const IGNORED_EVENT: &'static str = "CustomerCreated";
    const STRAY_ENDS_AS: StrayEnd = StrayEnd::DeadLetter;

    fn store(service: &Service) -> Uuid {
        order(service, Uuid::new_v4(), 1)
    }

    /// The key is that of the customer.
    fn exchange(service: &Service, key: Uuid) -> Exchange {
        let id = order(service, key, 800);
        Exchange {
            data: valid(id),
            key,
            subject: id,
            answer: json!({ "id": id, "customerId": key, "amount": 800.0 }),
        }
    }

    fn were_handled(service: &Service, exchanges: &[Exchange]) -> bool {
        let mut orders = exchanges.iter().map(|exchange| exchange.subject);
        orders.all(|id| status(service, id) == "Shipped")
    }

    fn stray() -> (Uuid, Value) {
        (Uuid::new_v4(), valid(Uuid::new_v4()))
    }

    fn malformed() -> Vec<(Value, &'static str)> {
        let wrong = json!({ "orderId": Uuid::new_v4(), "isValid": "yes" });
        vec![(wrong, "`isValid` is a string")]
    }

    fn unreadable() -> Vec<Document> {
        vec![doc! { "amount": true }]
    }
}

impl WithPosts for Description {
    const CSHARP_ROUTE: Option<&'static str> = Some("/api/Orders/NewOrder");
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("id", "null"),
        ("customerId", "\"b3d27f9b-d21d-327c-164e-7fb6776f87b0\""),
        ("amount", "100"),
    ];
    const OTHER_CONTENT: &'static [(&'static str, &'static str)] = &[
        ("customerId", "\"c4d27f9b-d21d-327c-164e-7fb6776f87b0\""),
        ("amount", "11"),
    ];
    const TEXT_FIELD: &'static str = "customerId";
    const MONEY_FIELD: &'static str = "amount";
    const ID_FIELDS: &'static [&'static str] = &["id", "customerId"];
    const KEY_FIELD: &'static str = "customerId";

    fn wrong_values() -> Vec<(&'static str, String)> {
        let nothing = ["0", "-0", "\"0.0000\""];
        let mut wrong: Vec<_> = nothing.map(|value| ("amount", value.to_owned())).into();
        wrong.push(("customerId", "null".into()));
        wrong
    }

    fn ways_to_be_full() -> Vec<fn(&mut Setup<Orders>)> {
        vec![|setup| setup.settings.max_in_flight = 1, |setup| {
            setup.own.max_open_orders.all = 1
        }]
    }
}

impl WithLists for Description {
    const WRONG_FILTERS: &'static [(&'static str, &'static str)] = &[
        ("customerId=", "customerId"),
        ("customerId=seven", "customerId"),
        ("status=", "status"),
        ("status=Lost", "status"),
        ("status=3", "status"),
        ("status=0&status=1", "status"),
    ];
}

service_suite!(every_service: Description);
service_suite!(with_posts: Description);
service_suite!(with_csharp_route: Description);
service_suite!(with_lists: Description);
