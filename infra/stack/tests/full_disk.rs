//! A disk that is full: the services survive it, say so, lose nothing that they acknowledged, and go
//! on when there is space again.

mod support;

use std::{collections::BTreeSet, path::Path, time::Instant};

use engines::{Engine, EngineSettings};
use mongodb::bson::doc;
use serde_json::{Value, json};
use support::{
    Client, DEADLINE, Directory, Process, deployment::Deployment, eventually, small_disk::SmallDisk,
    stack::Stack,
};
use uuid::Uuid;

/// How long a request waits for the database before it is refused.
const PATIENCE: (&str, &str) = ("REQUEST_TIMEOUT", "1s");

/// What became of orders on a disk that is getting full.
#[derive(Default)]
struct Orders {
    acknowledged: BTreeSet<Uuid>,
    /// Answered so that they may be there or not.
    unknown: Vec<Uuid>,
}

impl Orders {
    fn order(&mut self, client: &Client, customer: Uuid) -> u16 {
        let id = Uuid::now_v7();
        let new = json!({ "id": id, "customerId": customer, "amount": 1 });
        let (status, retry_after, problem) = client.try_order(&new).expect("an answer");
        match status {
            201 => drop(self.acknowledged.insert(id)),
            503 => {
                assert_eq!(retry_after.as_deref(), Some("1"), "{problem}");
                match problem["code"].as_str() {
                    Some("outcome-unknown") => self.unknown.push(id),
                    Some("database-unavailable") => {}
                    _ => panic!("{problem}"),
                }
            }
            _ => panic!("{status}: {problem}"),
        }
        status
    }

    /// Asks again for what stayed unknown; then every order is final and every one stored was sent.
    fn settle(mut self, client: &Client, customer: Uuid) {
        for id in std::mem::take(&mut self.unknown) {
            let new = json!({ "id": id, "customerId": customer, "amount": 1 });
            eventually("what was unknown is told", || match client.try_order(&new) {
                Ok((201, _, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            });
            self.acknowledged.insert(id);
        }
        for id in &self.acknowledged {
            eventually("it is shipped", || {
                match client.get(&format!("/api/orders/{id}?wait=5s")) {
                    (200, order) if order["status"] == "Shipped" => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
    }
}

fn customer(customers: &Client) -> Uuid {
    let id = Uuid::now_v7();
    let new = json!({ "id": id, "name": "Ada", "creditLimit": 1_000_000 });
    assert_eq!(customers.post("/api/customers", new).0, 201);
    id
}

/// Why `ready` says no.
fn until_not_ready(client: &Client) -> Value {
    eventually("ready says no", || match client.get("/health/ready") {
        (503, health) => Ok(health),
        other => Err(format!("{other:?}")),
    })
}

fn stack(disk: &SmallDisk, directory: &Directory) -> (Process, Client, Client) {
    let stack = Stack::start(&disk.path.join("data"), &[PATIENCE], directory);
    (stack.process, stack.customers, stack.orders)
}

#[test]
fn a_full_disk_under_the_embedded_default_loses_nothing_and_is_survived() {
    let directory = Directory::new();
    let Some(disk) = SmallDisk::mount(&directory.0.join("disk"), 48) else {
        return;
    };
    let (mut process, customers, client) = stack(&disk, &directory);
    customers.ready();
    client.ready();
    let ada = customer(&customers);
    let mut orders = Orders::default();
    (0..20).for_each(|_| assert_eq!(orders.order(&client, ada), 201));

    disk.fill();
    let begin = Instant::now();
    let (mut accepted, mut refused, mut health) = (0, 0, None);
    // Some fit into what the files have already.
    while refused < 5 || health.is_none() {
        match orders.order(&client, ada) {
            201 => accepted += 1,
            _ => refused += 1,
        }
        // A database that is opened again may give space back.
        disk.fill();
        if let (503, not_ready) = client.get("/health/ready") {
            health = Some(not_ready);
        }
        assert!(
            begin.elapsed() < DEADLINE,
            "{accepted} are accepted on a full disk, {refused} refused; not ready: {health:?}"
        );
    }
    let health = health.expect("it was seen");
    eprintln!(
        "embedded, disk full: {accepted} more accepted, {} unknown, {health}",
        orders.unknown.len()
    );
    assert_eq!(client.get("/health/live").0, 200);

    disk.free();
    let begin = Instant::now();
    client.ready();
    customers.ready();
    eventually("orders are accepted again", || match orders.order(&client, ada) {
        201 => Ok(()),
        status => Err(status.to_string()),
    });
    eprintln!(
        "embedded: accepted again {:?} after space was freed",
        begin.elapsed()
    );
    process.kill();
    let (_process, _, client) = stack(&disk, &directory);
    client.ready();
    orders.settle(&client, ada);
}

#[test]
fn a_full_disk_under_mongodb_loses_nothing_and_is_survived() {
    if engines::for_tests().is_none() {
        return;
    }
    let name = format!("full-disk-{}", std::process::id());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder");
    // Where the engines of this name keep their data. Gone after the disk.
    let folder = Directory(target.join("engines").join(&name));
    let Some(disk) = SmallDisk::mount(&folder.0.join("mongo"), 400) else {
        return;
    };
    let mut engines = engines::start(EngineSettings {
        name,
        throw_away: true,
        ..EngineSettings::default()
    })
    .expect("the engines start");
    let deployment =
        Deployment::new(engines.kafka_brokers(), engines.mongodb_uri()).set(PATIENCE.0, PATIENCE.1);
    let (customers, instance) = (deployment.start("customers"), deployment.start("orders"));
    let client = instance.client.clone();
    customers.client.ready();
    client.ready();
    let ada = customer(&customers.client);
    let mut orders = Orders::default();
    (0..20).for_each(|_| assert_eq!(orders.order(&client, ada), 201));

    disk.fill();
    orders.order(&client, ada);
    write_checkpoint(engines.mongodb_uri());
    let ended = Instant::now();
    eventually("mongod ends itself", || match engines.lost() {
        Some(Engine::Mongo) => Ok(()),
        lost => Err(format!("{lost:?} ended")),
    });
    assert_eq!(
        orders.order(&client, ada),
        503,
        "mongod has ended {:?} ago",
        ended.elapsed()
    );
    let health = until_not_ready(&client);
    eprintln!("MongoDB, disk full: {} unknown, {health}", orders.unknown.len());
    assert_eq!(client.get("/health/live").0, 200);

    disk.free();
    let begin = Instant::now();
    engines.restart(Engine::Mongo).expect("MongoDB comes back");
    eventually("orders are accepted again", || match orders.order(&client, ada) {
        201 => Ok(()),
        status => Err(status.to_string()),
    });
    eprintln!(
        "MongoDB: accepted again {:?} after space was freed, with its start",
        begin.elapsed()
    );
    orders.settle(&client, ada);
}

/// What mongod does once a minute, and cannot on a full disk: it ends itself.
fn write_checkpoint(uri: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = mongodb::Client::with_uri_str(uri)
            .await
            .expect("the address is right");
        // Not answered where it ends the server.
        let _ = client.database("admin").run_command(doc! { "fsync": 1 }).await;
    });
}
