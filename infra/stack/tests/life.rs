//! How the processes begin and end, on real engines: drained by SIGTERM, ended by the death of an
//! actor, without their topic, with an index that is missing or wrong.

mod support;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use mongodb::{
    IndexModel,
    bson::{Document, doc},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use serde_json::json;
use support::{Client, deployment::Deployment, eventually};
use uuid::Uuid;

/// That order while a process is told to stop.
const CONNECTIONS: usize = 16;

/// Topic, groups and databases on the engines of the tests; `None` where there are none.
fn deployment() -> Option<Deployment> {
    let engines = engines::for_tests()?;
    Some(Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri))
}

fn customer(customers: &Client, credit_limit: u64) -> Uuid {
    let id = Uuid::now_v7();
    let new = json!({ "id": id, "name": "Ada", "creditLimit": credit_limit });
    assert_eq!(customers.post("/api/customers", new).0, 201);
    id
}

fn order(orders: &Client, customer: Uuid) -> String {
    let (status, order) = orders.post("/api/orders", json!({ "customerId": customer, "amount": 1 }));
    assert_eq!(status, 201, "{order}");
    order["id"].as_str().expect("an id").to_owned()
}

fn until_shipped(orders: &Client, id: &str) {
    eventually("the order is shipped", || {
        match orders.get(&format!("/api/orders/{id}?wait=5s")) {
            (200, order) if order["status"] == "Shipped" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Work on the driver's own runtime, beside the services.
fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

#[test]
fn sigterm_under_load_finishes_what_was_begun_and_loses_nothing() {
    let Some(deployment) = deployment() else { return };
    let (mut customers, mut orders) = (deployment.start("customers"), deployment.start("orders"));
    customers.client.ready();
    orders.client.ready();
    let ada = customer(&customers.client, 1_000_000);
    let load: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = Client::new(orders.client.url.clone());
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                // Until the process closes the connection, or refuses another one.
                while let Ok((status, order)) =
                    client.try_post("/api/orders", &json!({ "customerId": ada, "amount": 1 }))
                {
                    if status == 503 && order["code"] == "stopping" {
                        break;
                    }
                    assert_eq!(status, 201, "{order}");
                    acknowledged.push(order["id"].as_str().expect("an id").to_owned());
                }
                acknowledged
            })
        })
        .collect();
    eventually("the load is under way", || {
        let published = orders.counted("events_published_total{event=\"OrderCreated\"");
        if published > 300 {
            Ok(())
        } else {
            Err(published.to_string())
        }
    });
    let mut drained = Vec::new();
    for instance in [&mut customers, &mut orders] {
        instance.process.terminate();
        let begin = Instant::now();
        assert_eq!(instance.process.end(), Some(0), "{}", instance.process.output());
        drained.push(begin.elapsed());
    }
    let load = load
        .into_iter()
        .map(|connection| connection.join().expect("the load is well"));
    let acknowledged: BTreeSet<String> = load.flatten().collect();
    eprintln!(
        "{} orders acknowledged, customers and orders drained and ended in {drained:?}",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 300);

    let (customers, orders) = (deployment.start("customers"), deployment.start("orders"));
    orders.client.ready();
    acknowledged
        .iter()
        .for_each(|id| until_shipped(&orders.client, id));
    for instance in [&customers, &orders] {
        let output = instance.process.output();
        assert!(
            !output.contains("left behind"),
            "not all was published before the end: {output}"
        );
    }
    // The last orders may be stored without their senders having learned so: one of each connection.
    let (_, ada) = customers.client.get(&format!("/api/customers/{ada}"));
    let reserved = ada["reserved"].as_f64().expect("a number") as usize;
    let sent = acknowledged.len()..=acknowledged.len() + CONNECTIONS;
    assert!(
        sent.contains(&reserved),
        "{} acknowledged: {ada}",
        acknowledged.len()
    );
}

#[test]
fn a_consumer_that_cannot_go_on_ends_its_process_with_70() {
    let Some(deployment) = deployment() else { return };
    // The broker refuses this assignor once the member wants to join: a fatal error.
    let deployment = deployment
        .set("KAFKA_GROUP_PROTOCOL", "consumer")
        .set("KAFKA_OPTIONS", "group.remote.assignor=no-such-assignor");
    let mut orders = deployment.start("orders");
    assert_eq!(orders.process.end(), Some(70), "{}", orders.process.output());
    let output = orders.process.output();
    assert!(output.contains("the KafkaConsumerActor is dead"), "{output}");
}

#[test]
fn a_topic_that_was_deleted_makes_nothing_ready_and_no_order_stays_open_once_it_is_made_again() {
    let Some(deployment) = deployment() else { return };
    let (mut customers, orders) = (deployment.start("customers"), deployment.start("orders"));
    customers.client.ready();
    orders.client.ready();
    let ada = customer(&customers.client, 100);
    until_shipped(&orders.client, &order(&orders.client, ada));
    // Its announcement goes with the topic, unread.
    customers.process.kill();
    let unread = order(&orders.client, ada);
    let topic = deployment.name.as_str();
    in_runtime(async {
        let mut config = ClientConfig::new();
        let brokers = &engines::for_tests().expect("there are engines").kafka_brokers;
        let admin: AdminClient<DefaultClientContext> = config
            .set("bootstrap.servers", brokers)
            .create()
            .expect("the settings are right");
        let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await;
        deleted.expect("the broker answers")[0]
            .as_ref()
            .expect("it is deleted");
    });
    eventually("ready says what is missing", || {
        let reasons = orders.reasons();
        let said = reasons.contains(&format!("topic {topic} does not exist"));
        if said { Ok(()) } else { Err(reasons) }
    });
    let unsaid = order(&orders.client, ada);

    let begin = Instant::now();
    // Makes the topic, as every start does.
    let customers = deployment.start("customers");
    customers.client.ready();
    orders.client.ready();
    for id in [&unread, &unsaid, &order(&orders.client, ada)] {
        until_shipped(&orders.client, id);
    }
    let took = begin.elapsed();
    eprintln!("all orders are shipped {took:?} after the topic was made again");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn an_index_that_is_missing_is_made_at_start_and_one_that_is_wrong_is_named() {
    let Some(deployment) = deployment() else { return };
    let mut orders = deployment.start("orders");
    orders.client.ready();
    orders.process.kill();
    let uri = &engines::for_tests().expect("there are engines").mongodb_uri;
    let collection = async || {
        let client = mongodb::Client::with_uri_str(uri)
            .await
            .expect("the address is right");
        client
            .database(&deployment.own("orders"))
            .collection::<Document>("orders")
    };
    let outbox = "outbox._id_1";
    in_runtime(async {
        collection()
            .await
            .drop_index(outbox)
            .await
            .expect("the index is there");
    });
    let mut orders = deployment.start("orders");
    orders.client.ready();
    orders.process.kill();
    in_runtime(async {
        let orders = collection().await;
        let names = orders.list_index_names().await.expect("the server answers");
        assert!(names.iter().any(|name| name == outbox), "{names:?}");
        orders.drop_index(outbox).await.expect("the index is there");
        // Not sparse: it would grow with every order that was ever stored.
        let whole = IndexModel::builder().keys(doc! { "outbox._id": 1 }).build();
        orders.create_index(whole).await.expect("the index is made");
    });
    let orders = deployment.start("orders");
    let told = |output: &str| {
        output.contains("outbox._id") && output.contains("drop the one that stands in its place")
    };
    eventually("the log names the index", || {
        let output = orders.process.output();
        if told(&output) { Ok(()) } else { Err(output) }
    });
    assert_ne!(orders.reasons(), "", "ready without its index");
    let new = json!({ "customerId": Uuid::now_v7(), "amount": 1 });
    assert_eq!(
        orders.client.post("/api/orders", new).0,
        503,
        "nothing is stored without its index"
    );
}
