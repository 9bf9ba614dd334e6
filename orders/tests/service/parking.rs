//! Events that come before what they are about: they wait, then they are parked.

use std::time::Duration;

use orders::Orders;
use serde_json::json;
use testing::service::Setup;
use uuid::Uuid;

use super::{Service, order, status, valid};

fn create(service: &Service, id: Uuid, customer: Uuid) {
    let body = json!({ "id": id, "customerId": customer, "amount": 1 });
    service.http.post("/api/orders", &body).expect(201);
}

#[test]
fn a_validation_that_comes_before_its_order_waits_for_it_and_no_other_order_does() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.park_after = Duration::from_secs(60);
    let service = Service::start_on(setup);
    service.until_ready();
    let (ada, early) = (Uuid::new_v4(), Uuid::new_v4());
    let other = order(&service, ada, 1);
    service.publish_event("OrderValidated", &valid(early), ada);
    service.publish_event("OrderValidated", &valid(early), ada);
    service.publish_event("OrderValidated", &valid(other), ada);
    service.until("another order of the customer goes on", || {
        status(&service, other) == "Shipped"
    });
    let found = service.until("it waits, and what is behind it", || {
        let found = service.parked("");
        (found.len() == 2).then_some(found)
    });
    assert_eq!(
        (&found[0]["state"], &found[0]["reason"], &found[1]["state"]),
        (&json!("retrying"), &json!("unknown-order"), &json!("waiting"))
    );
    create(&service, early, ada);
    service.until("it is shipped", || status(&service, early) == "Shipped");
    service.until("nothing is parked", || service.parked("").is_empty());
    let given_up = service.counted("dead_letters_total{");
    assert_eq!(given_up, 0, "nothing was given up");
}

#[test]
fn a_validation_of_an_order_that_nobody_knows_stops_no_order_of_its_customer() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.park_after = Duration::ZERO;
    let service = Service::start_on(setup);
    service.until_ready();
    let ada = Uuid::new_v4();
    service.publish_event("OrderValidated", &valid(Uuid::new_v4()), ada);
    service.until("the stray waits alone", || {
        service
            .parked("")
            .iter()
            .any(|record| record["state"] == "parked")
    });
    let later = order(&service, ada, 1);
    service.publish_event("OrderValidated", &valid(later), ada);
    service.until("the order is shipped", || status(&service, later) == "Shipped");
    assert_eq!(service.parked("").len(), 1);
}

#[test]
fn a_validation_whose_order_does_not_come_waits_for_an_operator() {
    let mut setup = Setup::<Orders>::new();
    setup.settings.park_after = Duration::from_millis(150);
    let service = Service::start_on(setup);
    service.until_ready();
    let (ada, lost) = (Uuid::new_v4(), Uuid::new_v4());
    service.publish_event("OrderValidated", &valid(lost), ada);
    let found = service.until("it is parked", || {
        service
            .parked("")
            .into_iter()
            .find(|record| record["state"] == "parked")
    });
    // Attempts are remembered over a restart.
    let (_, setup) = service.stop();
    let service = Service::start_on(setup);
    service.until_ready();
    assert_eq!(service.parked("")[0]["attempts"], found["attempts"]);
    create(&service, lost, ada);
    let replay = json!({ "key": ada });
    service.admin.post("/admin/parked/replay", &replay).expect(202);
    service.until("the order is shipped after all", || {
        status(&service, lost) == "Shipped"
    });
    service.until("nothing is parked", || service.parked("").is_empty());
}
