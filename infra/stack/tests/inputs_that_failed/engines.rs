//! Inputs for which Kafka, MongoDB or a process of its own matters: real binaries on real engines.

use std::{collections::BTreeMap, thread, time::Duration};

use chaos::{
    audit::topic::lag,
    odd::{bytes, named, stray, under_key},
};
use mongodb::bson::{Bson, Document, doc};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use serde_json::{Value, json};
use shared::event_log::{
    EventLog as _, Record,
    kafka::{KafkaLog, KafkaSettings},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::support::{
    Client,
    deployment::{Deployment, Instance},
    eventually, wire,
};

/// Both services on a topic of one partition, a customer with credit, and a hand on the log.
struct World {
    customers: Instance,
    orders: Instance,
    ada: Uuid,
    kafka: String,
    mongo: String,
    runtime: Runtime,
    deployment: Deployment,
}

impl World {
    fn start() -> Option<World> {
        let engines = engines::for_tests()?;
        let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri)
            .set("KAFKA_PARTITIONS", "1")
            .set("PARK_AFTER", "1s");
        let (customers, orders) = (deployment.start("customers"), deployment.start("orders"));
        customers.client.ready();
        orders.client.ready();
        let ada = Uuid::now_v7();
        let new = json!({ "id": ada, "name": "Ada", "creditLimit": 1000 });
        assert_eq!(customers.client.post("/api/customers", new).0, 201);
        Some(World {
            customers,
            orders,
            ada,
            kafka: engines.kafka_brokers.clone(),
            mongo: engines.mongodb_uri.clone(),
            runtime: Runtime::new().expect("a runtime"),
            deployment,
        })
    }

    /// Publishes records one after the other, each in a batch of its own that this codec compresses.
    fn publish_by(&self, codec: &str, records: impl IntoIterator<Item = Record>) {
        let log = KafkaLog::new(KafkaSettings {
            extra: vec![("compression.codec".to_owned(), codec.to_owned())],
            ..KafkaSettings::new(&self.kafka)
        });
        let log = log.unwrap_or_else(|error| panic!("{codec}: {error}"));
        for record in records {
            let delivery = log.publish(Record {
                topic: self.deployment.name.clone(),
                ..record
            });
            self.runtime
                .block_on(delivery)
                .expect("the broker takes the record");
        }
    }

    /// What another writer says about a new order of Ada's; the order.
    fn ordered_elsewhere(&self) -> (Uuid, Record) {
        let id = Uuid::now_v7();
        // Long and dull: compressed only if that makes it smaller.
        let dull = "a".repeat(5000);
        let said = json!({ "id": id, "customerId": self.ada, "amount": 1, "status": 0, "note": dull });
        (id, under_key(named("OrderCreated", &said), self.ada))
    }

    fn until_decided(&self, order: Uuid, what: &str) {
        let path = format!("/api/customers/{}/reservations?limit=500", self.ada);
        eventually(what, || {
            let (_, page) = self.customers.client.get(&path);
            if page.to_string().contains(&order.to_string()) {
                Ok(())
            } else {
                Err(page.to_string())
            }
        });
    }

    fn ship(&self) {
        let new = json!({ "customerId": self.ada, "amount": 1 });
        let (status, order) = self.orders.client.post("/api/orders?wait=30s", new);
        assert_eq!((status, &order["status"]), (201, &json!("Shipped")), "{order}");
    }

    /// Both services have read everything, and say so.
    fn until_nothing_is_unread(&self) {
        for service in [&self.customers, &self.orders] {
            let group = self.deployment.own(service.service);
            eventually("nothing is unread", || {
                let behind = lag(&self.kafka, &self.deployment.name, &group);
                let behind = behind.map_err(|error| error.to_string())?;
                let told = service.counted("consumer_lag_records");
                if behind.iter().all(|records| *records == 0) && told == 0 {
                    Ok(())
                } else {
                    Err(format!("{}: {behind:?}, told as {told}", service.service))
                }
            });
        }
    }

    fn documents(&self, service: &str, collection: &str) -> mongodb::Collection<Document> {
        let client = mongodb::Client::with_uri_str(&self.mongo);
        let client = self.runtime.block_on(client).expect("MongoDB answers");
        client
            .database(&self.deployment.own(service))
            .collection(collection)
    }

    fn set(&self, update: Document) {
        let id = mongodb::bson::Uuid::from_bytes(self.ada.into_bytes());
        let customers = self.documents("customers", "customers");
        let updated = customers.update_one(doc! { "_id": id }, doc! { "$set": update });
        let updated = self.runtime.block_on(async { updated.await });
        assert_eq!(updated.expect("MongoDB answers").modified_count, 1);
    }
}

/// Where an instance answers operators.
fn admin(instance: &mut Instance) -> Client {
    Client::new(instance.process.says(" admin="))
}

fn open(admin: &Client) -> Vec<Value> {
    let (status, page) = admin.get("/admin/parked?limit=500");
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn batches_of_every_codec_are_handled() {
    let Some(world) = World::start() else { return };
    for codec in ["zstd", "gzip", "snappy", "lz4"] {
        let (id, record) = world.ordered_elsewhere();
        world.publish_by(codec, [record]);
        world.until_decided(id, &format!("an order in a batch of {codec} is decided"));
    }
}

#[test]
fn a_header_whose_name_is_no_text_is_read_and_kept() {
    let Some(world) = World::start() else { return };
    let odd: wire::RawHeader<'_> = (b"\xff", b"kept as it came");
    let topic = &world.deployment.name;
    let produce = |record: &Record| {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let [key, value] = [key, value].map(Option::unwrap_or_default);
        wire::produce(&world.kafka, topic, key, value, &[odd]);
    };
    let (id, right) = world.ordered_elsewhere();
    produce(&right);
    world.until_decided(id, "an order with such a header is decided");
    produce(&under_key(bytes("no JSON"), world.ada));
    world.ship();
    let letters = format!("{topic}.dead-letters");
    eventually("the dead letter has the header", || {
        let found = wire::fetch(&world.kafka, &letters);
        let wanted = wire::header(odd);
        let has_it = found.windows(wanted.len()).any(|window| window == wanted);
        if has_it {
            Ok(())
        } else {
            Err(format!("{} bytes without it", found.len()))
        }
    });
    for service in [&world.customers, &world.orders] {
        assert_eq!(service.reasons(), "", "{} is well", service.service);
    }
}

#[test]
fn a_malformed_value_of_three_megabytes_is_parked_and_what_is_behind_it_goes_on() {
    let Some(mut world) = World::start() else { return };
    let huge = under_key(bytes(vec![b'x'; 3_000_000]), world.ada);
    world.publish_by("gzip", [huge]);
    world.ship();
    world.until_nothing_is_unread();
    for service in [&mut world.customers, &mut world.orders] {
        let parked = open(&admin(service));
        assert_eq!(parked.len(), 1, "{parked:?}");
        assert_eq!(parked[0]["reason"], "malformed-envelope");
        // Its letter is too large for a topic as it is made here, which is told.
        eventually("the refused letter is told", || {
            let output = service.process.output();
            let is_told = |line: &str| {
                let line = line.to_lowercase();
                (line.contains("error") || line.contains("warn"))
                    && ["dead letter", "dead-letter", "deadletter"]
                        .iter()
                        .any(|word| line.contains(word))
            };
            if output.lines().any(is_told) {
                Ok(())
            } else {
                Err(output)
            }
        });
        assert_eq!(service.reasons(), "", "{} is well", service.service);
    }
}

#[test]
fn aborted_records_and_their_marker_at_the_end_are_no_lag() {
    let Some(world) = World::start() else { return };
    world.ship();
    let patience = Duration::from_secs(20);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka)
        .set("transactional.id", &world.deployment.name)
        .create()
        .expect("a producer");
    producer
        .init_transactions(patience)
        .expect("the broker knows transactions");
    producer.begin_transaction().expect("a transaction");
    for _ in 0..3 {
        let (_, record) = world.ordered_elsewhere();
        let value = record.value.unwrap_or_default();
        producer
            .send(BaseRecord::<(), [u8]>::to(&world.deployment.name).payload(&value))
            .expect("room for three records");
    }
    producer.flush(patience).expect("the broker takes them");
    producer.abort_transaction(patience).expect("the broker aborts");
    // Nothing behind the last record that is there can be committed, so Kafka's own tools go on to
    // count four; the services know better.
    let ends = |service: &Instance| {
        let group = world.deployment.own(service.service);
        let behind = lag(&world.kafka, &world.deployment.name, &group);
        behind.map_err(|error| error.to_string())
    };
    for service in [&world.customers, &world.orders] {
        eventually("all that can be read is done, and told so", || {
            let (behind, told) = (ends(service)?, service.counted("consumer_lag_records"));
            if [vec![0], vec![4]].contains(&behind) && told == 0 {
                Ok(())
            } else {
                Err(format!("{}: {behind:?}, told as {told}", service.service))
            }
        });
        assert_eq!(service.reasons(), "", "{} is well", service.service);
    }
    let reservations = world.documents("customers", "reservations");
    let decided = world
        .runtime
        .block_on(async { reservations.count_documents(doc! {}).await });
    assert_eq!(
        decided.expect("MongoDB answers"),
        1,
        "what was aborted is not decided"
    );
}

#[test]
fn a_head_that_was_parked_before_partitions_were_added_is_settled_where_it_stood() {
    let Some(mut world) = World::start() else { return };
    let admin = admin(&mut world.orders);
    let lost = Uuid::now_v7();
    let again = || under_key(stray(lost, true).record, world.ada);
    world.publish_by("none", [again(), again()]);
    eventually("a head and one behind it are parked", || {
        let states: Vec<_> = open(&admin)
            .iter()
            .map(|record| record["state"].to_string())
            .collect();
        if states == ["\"parked\"", "\"waiting\""] {
            Ok(())
        } else {
            Err(format!("{states:?}"))
        }
    });

    let topic = &world.deployment.name;
    let kafka: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka)
        .create()
        .expect("a client");
    let more = [NewPartitions::new(topic, 6)];
    let made = kafka.create_partitions(&more, &AdminOptions::new());
    let made = world.runtime.block_on(made).expect("the broker answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    // Every partition gets a record, and the subject one more, wherever its key belongs now.
    let others = (0..60).map(|_| named("OrderPainted", &json!({})));
    world.publish_by("none", others.chain([again()]));
    world.until_nothing_is_unread();

    // Whoever is at the head is given up, until nobody is left.
    eventually("nothing is parked", || {
        let left = open(&admin);
        let heads = left.iter().filter(|record| record["state"] == "parked");
        for head in heads {
            let id = head["id"].as_str().unwrap_or_default();
            admin.post(&format!("/admin/parked/{id}/discard"), json!({ "why": "a test" }));
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    world.ship();
    world.until_nothing_is_unread();
}

#[test]
fn a_customer_that_a_tool_has_saved_stays_readable() {
    let Some(world) = World::start() else { return };
    // As mongosh writes whole numbers, and as mongo-express does.
    for update in [
        doc! { "version": 2_i32, "creditLimit": 900_i32 },
        doc! { "version": 7.0, "creditLimit": 901.0 },
    ] {
        world.set(update);
        let (status, page) = world.customers.client.get("/api/customers?limit=500");
        assert_eq!(status, 200, "{page}");
        assert!(page.to_string().contains(&world.ada.to_string()), "{page}");
        world.ship();
    }
    let (_, customer) = world
        .customers
        .client
        .get(&format!("/api/customers/{}", world.ada));
    assert_eq!(
        (&customer["creditLimit"], &customer["reserved"]),
        (&json!(901.0), &json!(2.0))
    );
}

#[test]
fn fields_that_we_do_not_know_stay_through_every_rewrite() {
    let Some(world) = World::start() else { return };
    world.set(doc! { "segment": "gold", "address": { "city": "London" } });
    let path = format!("/api/customers/{}/credit-limit", world.ada);
    assert_eq!(world.customers.client.put(&path, json!(800)).0, 200);
    world.ship();
    let customers = world.documents("customers", "customers");
    let found = world
        .runtime
        .block_on(async { customers.find_one(doc! {}).await });
    let found = found.expect("MongoDB answers").expect("Ada is there");
    let kept = [found.get("segment"), found.get("address")].map(|field| field.cloned());
    let set = [Bson::from("gold"), Bson::from(doc! { "city": "London" })];
    assert_eq!(kept, set.map(Some), "{found}");
}

#[test]
fn callers_who_wait_when_the_service_is_stopped_are_answered_with_their_order() {
    const CALLERS: usize = 20;
    let Some(engines) = engines::for_tests() else {
        return;
    };
    // Without Customers no order becomes final.
    let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri);
    let mut orders = deployment.start("orders");
    orders.client.ready();
    let ids: BTreeMap<Uuid, Uuid> = (0..CALLERS).map(|_| (Uuid::now_v7(), Uuid::now_v7())).collect();
    let callers: Vec<_> = ids
        .clone()
        .into_iter()
        .map(|(id, customer)| {
            let client = Client::new(orders.client.url.clone());
            let new = json!({ "id": id, "customerId": customer, "amount": 1 });
            thread::spawn(move || (id, client.try_post("/api/orders?wait=30s", &new)))
        })
        .collect();
    eventually("all orders are stored", || {
        let (_, page) = orders.client.get("/api/orders?limit=500");
        match page["items"].as_array().map(Vec::len) {
            Some(CALLERS) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    orders.process.terminate();
    for caller in callers {
        let (id, answer) = caller.join().expect("no panic");
        let (status, order) = answer.expect("an answer, not a cut connection");
        assert_eq!((status, &order["id"]), (202, &json!(id)), "{order}");
        assert_eq!(order["status"], "Created");
    }
    assert_eq!(orders.process.end(), Some(0), "{}", orders.process.output());
}
