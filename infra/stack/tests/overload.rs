//! More than can be done while Kafka is away: memory stays bounded, callers are told, and what was
//! accepted is kept.

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use engines::{Engine, EngineSettings};
use serde_json::json;
use support::{
    Client,
    deployment::{Deployment, Instance},
    eventually,
};
use uuid::Uuid;

const CONNECTIONS: usize = 200;
/// How long Kafka is away.
const AWAY: Duration = Duration::from_secs(20);
/// By how much the memory of Orders may grow meanwhile.
const MEMORY: u64 = 200 * 1024 * 1024;

/// What became of the orders of all connections.
#[derive(Default)]
struct Load {
    accepted: BTreeSet<String>,
    refused: usize,
}

/// Orders over and over until told to stop; anything but an acceptance or an honest refusal fails.
fn order(client: &Client, customer: Uuid, stop: &AtomicBool) -> Load {
    let mut load = Load::default();
    while !stop.load(Ordering::Relaxed) {
        let new = json!({ "customerId": customer, "amount": 1 });
        match client.try_order(&new).expect("an answer") {
            (201, _, order) => {
                load.accepted
                    .insert(order["id"].as_str().expect("an id").to_owned());
            }
            (503, Some(retry_after), problem) => {
                assert_eq!(
                    (retry_after.as_str(), &problem["code"]),
                    ("1", &json!("overloaded"))
                );
                load.refused += 1;
                // A polite client, sped up tenfold.
                thread::sleep(Duration::from_millis(100));
            }
            other => panic!("{other:?}"),
        }
    }
    load
}

/// All orders of a status.
fn listed(orders: &Client, status: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let (code, page) = orders.get(&format!("/api/orders?limit=500&status={status}{cursor}"));
        assert_eq!(code, 200, "{page}");
        let items = page["items"].as_array().expect("items");
        found.extend(
            items
                .iter()
                .filter_map(|order| Some(order["id"].as_str()?.to_owned())),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn until_all_are_final(orders: &Client) {
    eventually("no order is open any more", || {
        let (status, page) = orders.get("/api/orders?limit=1&status=Created");
        match (status, page["items"].as_array().map(Vec::len)) {
            (200, Some(0)) => Ok(()),
            _ => Err(page.to_string()),
        }
    });
}

#[test]
fn with_kafka_away_memory_stays_bounded_and_every_accepted_order_becomes_final() {
    if engines::for_tests().is_none() {
        return;
    }
    let mut engines = engines::start(EngineSettings {
        name: format!("overload-{}", std::process::id()),
        fresh: true,
        throw_away: true,
        ..EngineSettings::default()
    })
    .expect("the engines start");
    // The limit is reached in time on a slow machine, too.
    let deployment = Deployment::new(engines.kafka_brokers(), engines.mongodb_uri())
        .set("MAX_IN_FLIGHT", "3000")
        .set("SHUTDOWN_TIMEOUT", "3s");
    let (customers, mut orders) = (deployment.start("customers"), deployment.start("orders"));
    customers.client.ready();
    orders.client.ready();
    let customer = Uuid::now_v7();
    let new = json!({ "id": customer, "name": "Ada", "creditLimit": 1_000_000 });
    assert_eq!(customers.client.post("/api/customers", new).0, 201);
    let (status, _) = orders.client.post(
        "/api/orders?wait=30s",
        json!({ "customerId": customer, "amount": 1 }),
    );
    assert_eq!(status, 201);

    let before = orders.process.memory();
    engines.kill(Engine::Kafka);
    let (load, most) = load_while_away(&orders, customer);
    let grown = most.saturating_sub(before);
    eprintln!(
        "{CONNECTIONS} connections for {AWAY:?} without Kafka: {} orders accepted, {} refused, memory {} MB and at \
         most {} MB more",
        load.accepted.len(),
        load.refused,
        before >> 20,
        grown >> 20
    );
    assert!(
        load.accepted.len() >= 3000 && load.refused > 0,
        "the limit is not reached"
    );
    assert!(grown < MEMORY, "{} MB more", grown >> 20);

    engines.restart(Engine::Kafka).expect("Kafka comes back");
    let back = Instant::now();
    orders.client.ready();
    until_all_are_final(&orders.client);
    eprintln!("all are final {:?} after Kafka is back", back.elapsed());
    let shipped = listed(&orders.client, "Shipped");
    assert!(load.accepted.is_subset(&shipped), "an accepted order is gone");
    eventually("the credit is right", || {
        let (_, customer) = customers.client.get(&format!("/api/customers/{customer}"));
        let reserved = customer["reserved"].as_f64();
        if reserved == Some(shipped.len() as f64) {
            Ok(())
        } else {
            Err(format!("{} shipped: {customer}", shipped.len()))
        }
    });

    engines.kill(Engine::Kafka);
    a_stop_that_cannot_finish_says_so(&mut orders, customer);
    engines.restart(Engine::Kafka).expect("Kafka comes back");
    let mut orders = deployment.start("orders");
    until_all_are_final(&orders.client);
    assert_eq!(listed(&orders.client, "Shipped").len(), shipped.len() + 1);

    engines.kill(Engine::Mongo);
    a_stop_without_a_database_ends_in_time(&mut orders, customer);
}

/// What all connections did, and the most memory that Orders occupied.
fn load_while_away(orders: &Instance, customer: Uuid) -> (Load, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            // Each of its own, and with it a connection of its own.
            let (client, stop) = (Client::new(orders.client.url.clone()), stop.clone());
            thread::spawn(move || order(&client, customer, &stop))
        })
        .collect();
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < AWAY {
        most = most.max(orders.process.memory());
        thread::sleep(Duration::from_millis(100));
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = Load::default();
    for connection in connections {
        let load = connection.join().expect("the load is well");
        all.accepted.extend(load.accepted);
        all.refused += load.refused;
    }
    (all, most.max(orders.process.memory()))
}

/// Stops Orders while one order's event cannot reach Kafka.
fn a_stop_that_cannot_finish_says_so(orders: &mut Instance, customer: Uuid) {
    let (status, _) = orders
        .client
        .post("/api/orders", json!({ "customerId": customer, "amount": 1 }));
    assert_eq!(status, 201);
    orders.process.terminate();
    let begin = Instant::now();
    assert_eq!(orders.process.end(), Some(75), "{}", orders.process.output());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(orders.process.output().contains("it goes on at the next start"));
}

/// Stops Orders while a request waits for the database.
fn a_stop_without_a_database_ends_in_time(orders: &mut Instance, customer: Uuid) {
    let client = orders.client.clone();
    let waiting = thread::spawn(move || client.try_order(&json!({ "customerId": customer, "amount": 1 })));
    eventually("the database is missed", || {
        let output = orders.process.output();
        if output.contains("waiting for the database") {
            Ok(())
        } else {
            Err(output)
        }
    });
    orders.process.terminate();
    let begin = Instant::now();
    let code = orders.process.end();
    eprintln!(
        "without MongoDB it ends with {code:?} after {:?}",
        begin.elapsed()
    );
    assert_eq!(code, Some(75), "{}", orders.process.output());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    if let Ok((status, _, problem)) = waiting.join().expect("no panic") {
        assert_eq!(status, 503, "{problem}");
    }
}
