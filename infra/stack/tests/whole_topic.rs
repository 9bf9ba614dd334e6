//! The whole topic once more, shuffled: everything in it was said before, so nothing changes. Real
//! binaries on real engines.

mod support;

use serde_json::{Value, json};
use shared::event_log::{
    EventLog as _, Record, TailFrom,
    kafka::{KafkaLog, KafkaSettings},
};
use support::{
    deployment::{Deployment, Instance},
    eventually, read_on,
};
use tokio::runtime::Runtime;
use uuid::Uuid;

const CUSTOMERS: usize = 5;
const ORDERS: usize = 60;

/// All that both services have stored, as they answer it.
fn everything(customers: &Instance, orders: &Instance, ids: &[Uuid]) -> Vec<Value> {
    let get = |instance: &Instance, path: &str| {
        let (status, answer) = instance.client.get(path);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let mut all = vec![get(orders, "/api/orders?limit=500")];
    for id in ids {
        all.push(get(customers, &format!("/api/customers/{id}")));
        all.push(get(
            customers,
            &format!("/api/customers/{id}/reservations?limit=500"),
        ));
    }
    all
}

#[test]
fn the_whole_topic_again_and_shuffled_changes_nothing() {
    let Some(engines) = engines::for_tests() else {
        return;
    };
    let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri);
    let (customers, orders) = (deployment.start("customers"), deployment.start("orders"));
    customers.client.ready();
    orders.client.ready();
    let log = KafkaLog::new(KafkaSettings::new(&engines.kafka_brokers)).expect("the settings are right");
    let runtime = Runtime::new().expect("a runtime");
    let tail = runtime.block_on(log.tail(&deployment.name, TailFrom::Beginning));
    let mut tail = tail.expect("the topic is there");

    let ids: Vec<_> = (0..CUSTOMERS).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        let new = json!({ "id": id, "name": "Ada", "creditLimit": 40 });
        assert_eq!(customers.client.post("/api/customers", new).0, 201);
    }
    // More than there is credit for, one of six of an unknown customer, every fifth cancelled.
    for number in 0..ORDERS {
        let customer = ids
            .get(number % (CUSTOMERS + 1))
            .copied()
            .unwrap_or_else(Uuid::now_v7);
        let new = json!({ "customerId": customer, "amount": 7 });
        let (status, order) = orders.client.post("/api/orders", new);
        assert_eq!(status, 201, "{order}");
        let id = order["id"].as_str().expect("an id");
        if number % 5 == 0 {
            let (status, _) = orders.client.post(&format!("/api/orders/{id}/cancel"), json!({}));
            assert!([200, 409].contains(&status), "{status}");
        }
        let (_, order) = orders.client.get(&format!("/api/orders/{id}?wait=30s"));
        assert_ne!(order["status"], "Created", "{order}");
    }
    // A customer and three events an order; where a cancel came first, none may have been validated.
    let mut records = Vec::new();
    read_on(&mut tail, &mut records, CUSTOMERS + 3 * ORDERS);
    quiet(&[&customers, &orders]);
    let before = everything(&customers, &orders, &ids);

    let mut again = records.clone();
    fastrand::Rng::with_seed(7).shuffle(&mut again);
    let deliveries = again.iter().map(|record| {
        log.publish(Record {
            topic: deployment.name.clone(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        })
    });
    for delivery in deliveries.collect::<Vec<_>>() {
        runtime.block_on(delivery).expect("the broker takes the record");
    }
    let all = 2 * records.len();
    read_on(&mut tail, &mut records, all);
    quiet(&[&customers, &orders]);
    assert_eq!(everything(&customers, &orders, &ids), before);
    for service in [&customers, &orders] {
        assert_eq!(service.counted("records_parked_total"), 0, "{}", service.service);
    }
}

/// Waits until the services have done with everything in the log.
fn quiet(services: &[&Instance]) {
    for service in services {
        eventually("nothing is left to do", || {
            let lag = service.counted("consumer_lag_records");
            let under_way = service.counted("consumer_in_flight");
            if lag == 0 && under_way == 0 {
                Ok(())
            } else {
                Err(format!("a lag of {lag}, {under_way} under way"))
            }
        });
    }
}
