//! The binaries of both services, several instances of each, on a real Kafka and a real MongoDB.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use engines::{Engine, EngineSettings};
use serde_json::{Value, json};
use support::{
    deployment::{Deployment, Instance},
    eventually,
};
use uuid::Uuid;

#[test]
fn two_instances_of_each_service_ship_and_cancel_with_the_credit_right() {
    let Some(engines) = engines::for_tests() else {
        return;
    };
    let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri);
    let customers = [deployment.start("customers"), deployment.start("customers")];
    let orders = [deployment.start("orders"), deployment.start("orders")];
    customers
        .iter()
        .chain(&orders)
        .for_each(|instance| instance.client.ready());

    let ids: Vec<_> = (0..8).map(|_| Uuid::now_v7()).collect();
    for (number, id) in ids.iter().enumerate() {
        let [here, there] = [&customers[number % 2].client, &customers[(number + 1) % 2].client];
        let new = json!({ "Id": id, "Name": "Ada", "CreditLimit": 500 });
        assert_eq!(here.post("/api/Customer/NewCustomer", new).0, 200);
        assert_eq!(there.put(&format!("/api/Customer/{id}"), json!(1000)).0, 200);
    }
    for (number, id) in ids.iter().enumerate() {
        let client = &orders[number % 2].client;
        let order = |amount| json!({ "CustomerId": id, "Amount": amount });
        let (status, shipped) = client.post("/api/Orders/NewOrder?wait=30s", order(800));
        assert_eq!(
            (status, &shipped["status"]),
            (200, &json!("Shipped")),
            "{shipped}"
        );
        let (status, cancelled) = client.post("/api/Orders/NewOrder?wait=30s", order(300));
        assert_eq!(
            (status, &cancelled["reason"]),
            (200, &json!("InsufficientCredit")),
            "{cancelled}"
        );
        let (_, customer) = customers[0].client.get(&format!("/api/customers/{id}"));
        assert_eq!(
            (&customer["reserved"], &customer["available"]),
            (&json!(800.0), &json!(200.0))
        );
    }
    for mut instance in customers.into_iter().chain(orders) {
        instance.process.terminate();
        assert_eq!(instance.process.end(), Some(0), "{}", instance.process.output());
    }
}

#[test]
fn kill_nine_of_each_instance_in_turn_loses_and_doubles_nothing() {
    let Some(engines) = engines::for_tests() else {
        return;
    };
    let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri);
    let mut customers = [deployment.start("customers"), deployment.start("customers")];
    // One that stays, so that the load has somewhere to go; it shares the work with the other.
    let steady = deployment.start("orders");
    let mut mortal = deployment.start("orders");
    steady.client.ready();
    mortal.client.ready();
    customers.iter().for_each(|instance| instance.client.ready());

    const LIMIT: f64 = 40.0;
    let ids: Arc<Vec<Uuid>> = Arc::new((0..10).map(|_| Uuid::now_v7()).collect());
    for id in ids.iter() {
        let new = json!({ "id": id, "name": "Ada", "creditLimit": LIMIT });
        assert_eq!(customers[0].client.post("/api/customers", new).0, 201);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|worker| {
            let (ids, stop, client) = (ids.clone(), stop.clone(), steady.client.clone());
            std::thread::spawn(move || {
                let mut acknowledged: Vec<(String, Uuid)> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let customer = ids[(acknowledged.len() + worker) % ids.len()];
                    let (status, order) =
                        client.post("/api/orders", json!({ "customerId": customer, "amount": 1 }));
                    assert_eq!(status, 201, "{order}");
                    acknowledged.push((order["id"].as_str().expect("an id").to_owned(), customer));
                }
                acknowledged
            })
        })
        .collect();
    for round in 0..2 {
        deployment.restart(&mut customers[round % 2]);
        customers[round % 2].client.ready();
        deployment.restart(&mut mortal);
        mortal.client.ready();
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<_> = load
        .into_iter()
        .flat_map(|worker| worker.join().expect("the load is well"))
        .collect();

    let mut shipped: BTreeMap<Uuid, f64> = BTreeMap::new();
    for (id, customer) in &acknowledged {
        let order = eventually("the order is final", || {
            match steady.client.get(&format!("/api/orders/{id}?wait=5s")) {
                (200, order) => Ok(order),
                other => Err(format!("{other:?}")),
            }
        });
        if order["status"] == "Shipped" {
            *shipped.entry(*customer).or_default() += 1.0;
        }
    }
    assert!(acknowledged.len() > 400, "only {} orders", acknowledged.len());
    for id in ids.iter() {
        let (_, customer) = customers[0].client.get(&format!("/api/customers/{id}"));
        let reserved = customer["reserved"].as_f64();
        assert_eq!(reserved, shipped.get(id).copied(), "{customer}");
        assert_eq!(
            reserved,
            Some(LIMIT),
            "there were more orders than credit: {customer}"
        );
    }
}

#[test]
fn kafka_and_mongodb_may_come_later_and_go_for_a_while() {
    if engines::for_tests().is_none() {
        return;
    }
    let name = format!("later-{}", std::process::id());
    let mut engines = engines::start(EngineSettings {
        name,
        fresh: true,
        throw_away: true,
        ..EngineSettings::default()
    })
    .expect("the engines start");
    let deployment = Deployment::new(engines.kafka_brokers(), engines.mongodb_uri());
    Engine::ALL.into_iter().for_each(|engine| engines.kill(engine));

    let customers = deployment.start("customers");
    let orders = deployment.start("orders");
    for instance in [&customers, &orders] {
        let (status, health) = instance.client.get("/health/ready");
        assert_eq!(status, 503);
        for check in health["checks"].as_array().expect("checks") {
            assert_eq!(check["status"], "down", "{check}");
            assert!(
                check["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "{check}"
            );
        }
    }
    let id = Uuid::now_v7();
    let (status, problem) = orders
        .client
        .post("/api/orders", json!({ "customerId": id, "amount": 1 }));
    assert_eq!((status, &problem["code"]), (503, &json!("database-unavailable")));

    engines.restart(Engine::Mongo).expect("MongoDB comes back");
    engines.restart(Engine::Kafka).expect("Kafka comes back");
    customers.client.ready();
    orders.client.ready();
    let new = json!({ "id": id, "name": "Ada", "creditLimit": 10 });
    assert_eq!(customers.client.post("/api/customers", new).0, 201);
    assert_shipped(&orders, id);

    engines.kill(Engine::Kafka);
    let (status, order) = orders
        .client
        .post("/api/orders", json!({ "customerId": id, "amount": 1 }));
    assert_eq!(
        (status, &order["status"]),
        (201, &json!("Created")),
        "accepted while Kafka is away: {order}"
    );
    engines.restart(Engine::Kafka).expect("Kafka comes back");
    let path = format!("/api/orders/{}?wait=30s", order["id"].as_str().expect("an id"));
    let (status, order) = orders.client.get(&path);
    assert_eq!((status, &order["status"]), (200, &json!("Shipped")), "{order}");

    engines.kill(Engine::Mongo);
    engines.restart(Engine::Mongo).expect("MongoDB comes back");
    assert_shipped(&orders, id);
}

fn assert_shipped(orders: &Instance, customer: Uuid) {
    let new: Value = json!({ "customerId": customer, "amount": 1 });
    let (status, order) = orders.client.post("/api/orders?wait=30s", new);
    assert_eq!((status, &order["status"]), (201, &json!("Shipped")), "{order}");
}
