//! Data that an older version has written are opened, and go on: what was answered then is answered
//! now, an order that was open becomes final, and the next one is shipped.
//!
//! `data/before-contracts` was written by the version before the events had a crate of their own: two
//! customers and five orders, and a sixth that was still open when the process was killed. `answers.json`
//! holds what that version answered before the sixth.

mod support;

use std::{collections::BTreeSet, fs, path::PathBuf};

use mongodb::{
    Database, IndexModel,
    bson::{Document, deserialize_from_slice, doc},
    options::IndexOptions,
};
use serde_json::{Value, json};
use support::{Client, Directory, deployment::Deployment, eventually, stack::Stack};
use tokio::runtime::Runtime;

/// The order that was open.
const OPEN: &str = "018f0000-0000-7000-8000-000000000b06";
/// Its customer, and its amount.
const CUSTOMER: &str = "018f0000-0000-7000-8000-0000000000a1";
const AMOUNT: f64 = 25.0;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/before-contracts")
        .join(name)
}

/// What both services answered then, by path.
fn answers(of: &str) -> Value {
    let text = fs::read(data(of).join("answers.json")).expect("the answers");
    serde_json::from_slice(&text).expect("they are JSON")
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().expect("a page")
}

/// Everything is as it was, but for the order that was open; that is shipped, and so is a new one.
fn go_on(customers: &Client, orders: &Client, answers: &Value) {
    let (_, open) = eventually("the open order is final", || {
        let answer = orders.get(&format!("/api/orders/{OPEN}"));
        match answer.1["status"] == "Shipped" {
            true => Ok(answer),
            false => Err(format!("{answer:?}")),
        }
    });
    assert_eq!(open["amount"], json!(AMOUNT));

    let (_, now) = orders.get("/api/orders?limit=10");
    let then = items(&answers["/orders?limit=10"]);
    assert_eq!((then.len(), &items(&now)[1..]), (5, &then[..]));
    let reservations = format!("/customers/{CUSTOMER}/reservations");
    let (_, now) = customers.get(&format!("/api{reservations}"));
    let then = items(&answers[&reservations]);
    assert_eq!((then.len(), &items(&now)[1..]), (3, &then[..]));
    for then in items(&answers["/customers"]) {
        let (_, mut now) = customers.get(&format!("/api/customers/{}", then["id"].as_str().expect("an id")));
        if then["id"] == CUSTOMER {
            let (reserved, available) = (&then["reserved"], &then["available"]);
            let number = |value: &Value| value.as_f64().expect("a number");
            assert_eq!(now["reserved"], json!(number(reserved) + AMOUNT));
            assert_eq!(now["available"], json!(number(available) - AMOUNT));
            for field in ["reserved", "available", "updatedAt"] {
                now[field] = then[field].clone();
            }
        }
        assert_eq!(&now, then);
    }

    let new = json!({ "customerId": CUSTOMER, "amount": 1 });
    let (status, shipped) = orders.post("/api/orders?wait=20s", new);
    assert_eq!(
        (status, &shipped["status"]),
        (201, &json!("Shipped")),
        "{shipped}"
    );
}

#[test]
fn a_data_directory_of_an_older_version_is_opened_and_goes_on() {
    let directory = Directory::new();
    for file in ["customers.redb", "orders.redb", "log.redb"] {
        fs::copy(data("embedded").join(file), directory.0.join(file)).expect("a copy");
    }
    let stack = Stack::start(&directory.0, &[], &directory);
    stack.ready();
    go_on(&stack.customers, &stack.orders, &answers("embedded"));
}

#[test]
fn mongodb_databases_of_an_older_version_are_opened_and_go_on() {
    let Some(engines) = engines::for_tests() else {
        return;
    };
    let deployment = Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri);
    let runtime = Runtime::new().expect("a runtime");
    let mongo = runtime
        .block_on(mongodb::Client::with_uri_str(&engines.mongodb_uri))
        .expect("a client");
    let database = |service: &str| mongo.database(&deployment.own(service));
    let stored = fs::read(data("mongodb").join("databases.bson")).expect("the databases");
    let stored: Document = deserialize_from_slice(&stored).expect("they are BSON");
    for service in ["customers", "orders"] {
        runtime.block_on(restore(&database(service), document(&stored, service)));
    }
    let mut customers = deployment.start("customers");
    let mut orders = deployment.start("orders");
    customers.client.ready();
    orders.client.ready();
    go_on(&customers.client, &orders.client, &answers("mongodb"));

    for instance in [&mut customers, &mut orders] {
        let operators = Client::new(instance.process.says(" admin="));
        let (_, parked) = operators.get("/admin/parked");
        assert_eq!(items(&parked)[0]["reason"], "malformed-envelope", "{parked}");
        let indexes = runtime.block_on(indexes(&database(instance.service)));
        assert_eq!(indexes, in_the_file(document(&stored, instance.service)));
    }
}

fn document<'a>(of: &'a Document, name: &str) -> &'a Document {
    of.get_document(name).expect("a document")
}

/// Makes the collections, with their indexes and documents, as they stand in the file.
async fn restore(database: &Database, stored: &Document) {
    for name in stored.keys() {
        let stored = document(stored, name);
        let list = |field| stored.get_array(field).expect("a list").iter();
        let documents = list("documents").map(|document| document.as_document().expect("a document").clone());
        database.create_collection(name).await.expect("it is new");
        let collection = database.collection::<Document>(name);
        let documents: Vec<_> = documents.collect();
        if !documents.is_empty() {
            collection
                .insert_many(documents)
                .await
                .expect("they are inserted");
        }
        for keys in list("indexes") {
            let keys = keys.as_document().expect("keys");
            // The one that finds what is to be published.
            let sparse = keys.contains_key("outbox._id");
            let options = IndexOptions::builder().sparse(sparse).build();
            let index = IndexModel::builder().keys(keys.clone()).options(options).build();
            collection.create_index(index).await.expect("it is made");
        }
    }
}

/// The keys of all indexes, as `collection: keys`.
async fn indexes(database: &Database) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in database.list_collection_names().await.expect("names") {
        let mut indexes = database
            .collection::<Document>(&name)
            .list_indexes()
            .await
            .expect("a list");
        while indexes.advance().await.expect("an index") {
            let index = indexes.deserialize_current().expect("an index");
            found.insert(format!("{name}: {}", index.keys));
        }
    }
    found
}

fn in_the_file(stored: &Document) -> BTreeSet<String> {
    let indexes = |name: &String| {
        let all = document(stored, name).get_array("indexes").expect("a list");
        let keys = all.iter().map(|keys| keys.as_document().expect("keys"));
        let of_ids = doc! { "_id": 1 };
        keys.chain([&of_ids])
            .map(|keys| format!("{name}: {keys}"))
            .collect::<Vec<_>>()
    };
    stored.keys().flat_map(indexes).collect()
}
