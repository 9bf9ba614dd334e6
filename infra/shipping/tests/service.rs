//! Shipping as a black box keeps the promises of every service.

use serde_json::{Value, json};
use shipping::Shipping;
use testing::{
    service::{
        ServiceUnderTest,
        bson::{Document, doc},
        event,
    },
    service_suite,
    service_suite::{Exchange, ServiceDescription, StrayEnd},
};
use uuid::Uuid;

type Service = ServiceUnderTest<Shipping>;

/// What the suite has to know of Shipping.
struct Description;

fn shipped(order: Uuid, customer: Uuid) -> Value {
    json!({ "id": order, "customerId": customer, "amount": 10.0 })
}

impl ServiceDescription for Description {
    type Service = Shipping;

    const ROUTES: &'static [(&'static str, &'static str)] = &[("/api/shipments/{id}", "GET, HEAD, OPTIONS")];
    const RESOURCE: &'static str = "/api/shipments";
    const CREATED_EVENT: &'static str = "ShipmentPrepared";
    const ID_IN_EVENT: &'static str = "orderId";
    const HANDLED_EVENT: &'static str = "OrderShipped";
    const ANSWER_EVENT: &'static str = "ShipmentPrepared";
    const IGNORED_EVENT: &'static str = "OrderCreated";
    const STRAY_ENDS_AS: StrayEnd = StrayEnd::Answer;

    fn store(service: &Service) -> Uuid {
        let (order, customer) = (Uuid::new_v4(), Uuid::new_v4());
        service.publish(event("OrderShipped", &shipped(order, customer), Some(customer)));
        let path = format!("/api/shipments/{order}");
        service.until("the shipment is stored", || service.http.get(&path).status == 200);
        order
    }

    fn exchange(_: &Service, key: Uuid) -> Exchange {
        let order = Uuid::new_v4();
        let number = order.as_u128() % 1_000_000_000_000;
        let answer = json!({
            "orderId": order, "customerId": key, "trackingNumber": format!("SHP{number:012}"),
        });
        Exchange {
            data: shipped(order, key),
            key,
            subject: order,
            answer,
        }
    }

    fn were_handled(service: &Service, exchanges: &[Exchange]) -> bool {
        exchanges.iter().all(|exchange| {
            let path = format!("/api/shipments/{}", exchange.subject);
            let found = service.http.get(&path);
            found.status == 200 && found.json()["trackingNumber"] == exchange.answer["trackingNumber"]
        })
    }

    fn stray() -> (Uuid, Value) {
        let nobody = Uuid::new_v4();
        (nobody, shipped(Uuid::new_v4(), nobody))
    }

    fn malformed() -> Vec<(Value, &'static str)> {
        vec![(
            json!({ "id": Uuid::new_v4(), "amount": -5 }),
            "`amount` is negative",
        )]
    }

    fn unreadable() -> Vec<Document> {
        vec![doc! { "trackingNumber": 7 }]
    }
}

service_suite!(every_service: Description);
