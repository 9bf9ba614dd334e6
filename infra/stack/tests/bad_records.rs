//! Whatever stands in the topic, and under whoever's key: each record has the fate that the table names,
//! in both services, every record is accounted for, and the next order of the same customer is shipped
//! without anybody's help. Real binaries, a real Kafka, one partition.

mod support;

use std::{collections::BTreeMap, time::Instant};

use chaos::odd::{
    Fate::{self, Dead, Handled, Skipped},
    Row, bytes, named, odd_orders, order_with, stray, table, under_key,
};
use serde_json::{Value, json};
use shared::event_log::{
    ConsumedRecord, EventLog as _, Header, Position, Record, TailFrom,
    kafka::{KafkaLog, KafkaSettings},
};
use support::{
    deployment::{Deployment, Instance},
    eventually, read_on,
};
use testing::service::headers;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Both services on a topic of one partition, and a hand on the log.
struct World {
    customers: Instance,
    orders: Instance,
    log: KafkaLog,
    topic: String,
    runtime: Runtime,
    deployment: Deployment,
}

impl World {
    fn start() -> Option<World> {
        let engines = engines::for_tests()?;
        let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri)
                .set("KAFKA_PARTITIONS", "1")
                // A validation of an unknown order is given up then.
                .set("PARK_AFTER", "1s");
        let (customers, orders) = (deployment.start("customers"), deployment.start("orders"));
        customers.client.ready();
        orders.client.ready();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Some(World {
            customers,
            orders,
            log: KafkaLog::new(KafkaSettings::new(&engines.kafka_brokers)).expect("the settings are right"),
            topic: deployment.name.clone(),
            runtime: runtime.expect("a runtime"),
            deployment,
        })
    }

    fn services(&self) -> [&Instance; 2] {
        [&self.customers, &self.orders]
    }

    fn publish(&self, record: &Record) -> Position {
        let record = Record {
            topic: self.topic.clone(),
            ..record.clone()
        };
        let delivery = self.log.publish(record);
        self.runtime
            .block_on(delivery)
            .expect("the broker takes the record")
    }

    fn customer(&self) -> Uuid {
        let id = Uuid::now_v7();
        let new = json!({ "id": id, "name": "Ada", "creditLimit": 10_000 });
        assert_eq!(self.customers.client.post("/api/customers", new).0, 201);
        id
    }

    /// An order that has to be shipped; its id.
    fn ship(&self, customer: Uuid, behind: &str) -> Uuid {
        let new = json!({ "customerId": customer, "amount": 8 });
        let (status, order) = self.orders.client.post("/api/orders?wait=30s", new);
        assert_eq!(
            (status, &order["status"]),
            (201, &json!("Shipped")),
            "behind {behind}: {order}"
        );
        id(&order)
    }

    /// All records of a topic, once there are at least so many.
    fn records(&self, topic: &str, at_least: usize) -> Vec<ConsumedRecord> {
        let mut records = Vec::new();
        let tail = self.runtime.block_on(self.log.tail(topic, TailFrom::Beginning));
        let mut tail = tail.expect("the topic is there");
        read_on(&mut tail, &mut records, at_least);
        records
    }
}

fn id(order: &Value) -> Uuid {
    order["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id")
}

/// How many records a service has done with, each in its way.
fn accounted(service: &Instance) -> u64 {
    [
        "events_consumed_total",
        "records_skipped_total",
        "records_parked_total",
    ]
    .iter()
    .map(|metric| service.counted(metric))
    .sum()
}

#[test]
fn each_bad_record_has_its_fate_and_none_is_skipped_in_silence() {
    let Some(world) = World::start() else { return };
    let ada = world.customer();
    let order = |amount| {
        let new = json!({ "customerId": ada, "amount": amount });
        let (status, order) = world.orders.client.post("/api/orders?wait=30s", new);
        assert_eq!(status, 201, "{order}");
        [id(&order), ada]
    };
    let odd = odd_orders(order);
    let mut rows = table(&odd);
    rows.push(stray(Uuid::now_v7(), true));
    // Whoever has a key here, it is hers.
    for row in &mut rows {
        row.record = under_key(row.record.clone(), ada);
    }
    let begin = Instant::now();
    let mut places: BTreeMap<i64, &Row> = BTreeMap::new();
    for row in &rows {
        places.insert(world.publish(&row.record).offset, row);
        world.ship(ada, &row.what);
    }
    eprintln!(
        "{} records, a good order behind each: {:?}",
        rows.len(),
        begin.elapsed()
    );

    let is_dead = |fate: &Fate| matches!(fate, Dead(_));
    let dead = |service: usize| rows.iter().filter(|row| is_dead(&row.fates[service])).count();
    let letters = world.records(&format!("{}.dead-letters", world.topic), dead(0) + dead(1));
    for (number, service) in world.services().into_iter().enumerate() {
        let group = world.deployment.own(service.service);
        let mut found: BTreeMap<i64, String> = BTreeMap::new();
        for letter in letters
            .iter()
            .filter(|letter| headers(letter)["dl-group"] == group)
        {
            let told = headers(letter);
            let offset = told["dl-offset"].parse().expect("a number");
            let row = places[&offset];
            assert_eq!(
                (&letter.key, &letter.value),
                (&row.record.key, &row.record.value),
                "{}",
                row.what
            );
            assert!(letter.headers.starts_with(&row.record.headers), "{}", row.what);
            assert!(
                !told["dl-error"].is_empty() && told["dl-error"].len() < 2000,
                "{}: {}",
                row.what,
                told["dl-error"].len()
            );
            assert_eq!(
                found.insert(offset, told["dl-reason"].clone()),
                None,
                "{}: two letters",
                row.what
            );
        }
        for (offset, row) in &places {
            let expected = match row.fates[number] {
                Dead(reason) => Some(reason),
                Handled | Skipped(_) => None,
            };
            let found = found.get(offset).map(String::as_str);
            assert_eq!(found, expected, "{} in {}", row.what, service.service);
        }
        for why in ["unknown-name", "tombstone"] {
            let put_in = rows
                .iter()
                .filter(|row| row.fates[number] == Skipped(why))
                .count();
            assert_eq!(
                service.counted(&format!("records_skipped_total{{why=\"{why}\"")),
                put_in as u64,
                "{why} in {}",
                service.service
            );
        }
    }
    accounts_are_complete(&world, rows.len());

    eventually("all that was said again is answered", || {
        let answers = answers(&world);
        for (what, _, id) in &odd {
            // Several that come together are answered together.
            let answers = answers.get(&id.to_string()).copied().unwrap_or_default();
            if answers < 2 {
                return Err(format!("{what}: {answers} answers to what was said again"));
            }
        }
        Ok(())
    });
}

/// How often each order was answered, in the whole topic.
fn answers(world: &World) -> BTreeMap<String, usize> {
    // What stands behind all of them.
    let last = world.publish(&Record::default());
    let records = usize::try_from(last.offset).expect("a small offset") + 1;
    let mut answers = BTreeMap::new();
    for record in world.records(&world.topic, records) {
        let is_answer = |header: &Header| header.value.as_deref() == Some(b"OrderValidated");
        if record.headers.iter().any(is_answer) {
            let value: Value =
                serde_json::from_slice(&record.value.unwrap_or_default()).expect("ours is JSON");
            let said: Value =
                serde_json::from_str(value["eventData"].as_str().expect("a string")).expect("JSON");
            let order = said["orderId"].as_str().expect("an id").to_owned();
            *answers.entry(order).or_default() += 1;
        }
    }
    answers
}

/// Every record of the topic is handled, skipped and counted, or dead, in both services.
fn accounts_are_complete(world: &World, at_least: usize) {
    for service in world.services() {
        eventually("every record is accounted for", || {
            let records = world.records(&world.topic, at_least).len() as u64;
            let accounted = accounted(service);
            if accounted == records {
                Ok(())
            } else {
                Err(format!("{accounted} of {records} in {}", service.service))
            }
        });
    }
    for service in world.services() {
        assert_eq!(service.reasons(), "", "{} is well", service.service);
        let output = service.process.output();
        assert!(
            !output.lines().any(|line| line.starts_with("INFO forged")),
            "a record forged a log line"
        );
        let longest = output.lines().map(str::len).max().unwrap_or_default();
        assert!(longest < 10_000, "a log line of {longest} bytes");
        eprintln!(
            "{}: {} KB of log, the longest line has {longest} bytes",
            service.service,
            output.len() >> 10
        );
    }
}

#[test]
fn fifty_good_orders_behind_thirteen_poison_records_are_shipped_within_seconds() {
    let Some(world) = World::start() else { return };
    let customers: Vec<Uuid> = (0..10).map(|_| world.customer()).collect();
    let poison = [
        bytes(""),
        bytes("hello"),
        bytes("{}"),
        Record {
            key: None,
            ..bytes("null")
        },
        bytes(b"\xff\xfe".as_slice()),
        bytes("[".repeat(100_000)),
        bytes(vec![b'x'; 1_000_000]),
        order_with("amount", "-1"),
        order_with("amount", "NaN"),
        order_with("id", "\"seven\""),
        Record {
            key: None,
            ..order_with("customerId", "null")
        },
        named("OrderValidated", &json!({ "orderId": 1, "isValid": true })),
        Record {
            key: None,
            ..named("OrderCancelled", &json!({}))
        },
    ];
    for (record, customer) in poison.iter().zip(customers.iter().cycle()) {
        world.publish(&under_key(record.clone(), *customer));
    }
    let begin = Instant::now();
    let ids: Vec<String> = (0..50)
        .map(|number| {
            let new = json!({ "customerId": customers[number % 10], "amount": "12.50" });
            let (status, order) = world.orders.client.post("/api/orders", new);
            assert_eq!(status, 201, "{order}");
            order["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    for id in &ids {
        let (status, order) = world.orders.client.get(&format!("/api/orders/{id}?wait=30s"));
        assert_eq!((status, &order["status"]), (200, &json!("Shipped")), "{order}");
    }
    let took = begin.elapsed();
    eprintln!("50 orders behind {} poison records: {took:?}", poison.len());
    assert!(took.as_secs() < 10, "{took:?}");
    // Seven are for both services, six for one of them each.
    let letters = world.records(&format!("{}.dead-letters", world.topic), 7 * 2 + 6);
    assert_eq!(letters.len(), 20);
    accounts_are_complete(&world, poison.len() + 50);
}
