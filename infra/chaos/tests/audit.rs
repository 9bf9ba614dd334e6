//! The audit finds nothing where all is well, and it finds what is not: each way to spoil the data is
//! told by the invariant that it breaks. A checker that cannot fail proves nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::process::Command;

use chaos::audit::{Sent, differences::Invariant};
use mongodb::{
    Client as Mongo, Collection,
    bson::{self, Bson, Decimal128, Document, doc},
};
use serde_json::json;
use shared::{
    event_log::{
        EventLog, Header, Record,
        kafka::{KafkaLog, KafkaSettings},
    },
    money::Money,
};
use support::{Bench, FINAL_WITHIN};
use uuid::Uuid;

/// A system at rest, its services ended: a shipped order, a refused one, a cancelled one.
struct Rest {
    bench: Bench,
    orders: Collection<Document>,
    customers: Collection<Document>,
    reservations: Collection<Document>,
    shipped: Uuid,
    refused: Uuid,
}

fn rest() -> Option<Rest> {
    let mut bench = Bench::new()?;
    let [shipped, refused] = [(); 2].map(|()| Uuid::now_v7());
    assert_eq!(bench.send(shipped, "?wait=30s").1["status"], "Shipped");
    let url = format!(
        "{}/api/customers/{}/credit-limit",
        bench.customers.url, bench.customer
    );
    assert_eq!(bench.client.put(&url, &json!(1)).unwrap().0, 200);
    assert_eq!(bench.send(refused, "?wait=30s").1["reason"], "InsufficientCredit");
    bench.wait_until_clean();
    for instance in [&mut bench.customers, &mut bench.orders] {
        let status = instance.terminate(FINAL_WITHIN).unwrap().unwrap();
        assert!(status.success(), "{status}");
    }
    let client = {
        let uri = bench.settings().mongo.clone();
        bench.runtime().block_on(Mongo::with_uri_str(uri)).unwrap()
    };
    let databases = bench.settings().databases.clone();
    Some(Rest {
        orders: client.database(&databases.orders).collection("orders"),
        customers: client.database(&databases.customers).collection("customers"),
        reservations: client.database(&databases.customers).collection("reservations"),
        bench,
        shipped,
        refused,
    })
}

fn binary(id: Uuid) -> bson::Uuid {
    bson::Uuid::from_bytes(id.into_bytes())
}

fn decimal(text: &str) -> Decimal128 {
    text.parse().unwrap()
}

impl Rest {
    /// Changes a document, looks whether the audit tells it by this invariant, and puts it back.
    fn spoil(&self, collection: &Collection<Document>, id: Uuid, update: Document, invariant: Invariant) {
        let filter = doc! { "_id": binary(id) };
        let before = self
            .bench
            .runtime()
            .block_on(async { collection.find_one(filter.clone()).await.unwrap().unwrap() });
        self.bench.runtime().block_on(async {
            collection
                .update_one(filter.clone(), update.clone())
                .await
                .unwrap()
        });
        self.assert_told(invariant, &format!("{update}"));
        self.bench
            .runtime()
            .block_on(async { collection.replace_one(filter, before).await.unwrap() });
    }

    /// Takes a document away and puts it back.
    fn remove(&self, collection: &Collection<Document>, id: Uuid, invariant: Invariant) {
        let filter = doc! { "_id": binary(id) };
        let taken = self
            .bench
            .runtime()
            .block_on(async { collection.find_one_and_delete(filter).await.unwrap().unwrap() });
        self.assert_told(invariant, "a document is gone");
        self.bench
            .runtime()
            .block_on(async { collection.insert_one(taken).await.unwrap() });
    }

    fn assert_told(&self, invariant: Invariant, what: &str) {
        let audit = self.bench.audit();
        let lines: Vec<_> = audit.differences.iter().map(ToString::to_string).collect();
        assert!(
            audit.differences.found(invariant) > 0,
            "{invariant} does not tell: {what}\n{}",
            lines.join("\n")
        );
    }

    fn publish(&self, record: Record) {
        let log = KafkaLog::new(KafkaSettings::new(&self.bench.settings().kafka)).unwrap();
        self.bench.runtime().block_on(log.publish(record)).unwrap();
    }
}

#[test]
fn a_sound_system_has_no_differences_and_each_spoiled_document_is_told() {
    let Some(rest) = rest() else { return };
    let Rest {
        orders,
        customers,
        reservations,
        shipped,
        refused,
        ..
    } = &rest;
    let (shipped, refused, customer) = (*shipped, *refused, rest.bench.customer);
    let audit = rest.bench.audit();
    assert_eq!(audit.differences.total(), 0, "{}", audit.differences.summary());
    assert_eq!(
        (
            audit.summary.orders,
            audit.summary.reservations,
            audit.summary.customers
        ),
        (2, 2, 1)
    );
    for invariant in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|number| Invariant::ALL[number - 1]) {
        assert!(
            audit.differences.checked(invariant) > 0,
            "{invariant} was checked on nothing"
        );
    }

    let set = |field: &str, value: Bson| doc! { "$set": { field: value } };
    rest.spoil(
        customers,
        customer,
        set("reserved", decimal("-1").into()),
        Invariant::WithinCredit,
    );
    rest.spoil(
        customers,
        customer,
        set("reserved", decimal("2").into()),
        Invariant::ReservedIsSumOfHeld,
    );
    rest.spoil(
        reservations,
        shipped,
        set("state", "Released".into()),
        Invariant::HeldIsShipped,
    );
    rest.spoil(
        reservations,
        shipped,
        set("amount", decimal("5000").into()),
        Invariant::WithinCredit,
    );
    rest.spoil(
        orders,
        shipped,
        set("amount", decimal("2").into()),
        Invariant::HeldIsShipped,
    );
    rest.remove(orders, shipped, Invariant::StoredIsSent);
    rest.spoil(orders, shipped, set("status", 0.into()), Invariant::FinalInTime);
    rest.spoil(
        orders,
        refused,
        doc! { "$unset": { "reason": "" } },
        Invariant::FinalStays,
    );
    rest.spoil(orders, shipped, set("status", 2.into()), Invariant::FinalStays);
    rest.spoil(
        orders,
        shipped,
        set("customerId", binary(Uuid::now_v7()).into()),
        Invariant::AnnouncedIsInLog,
    );
    let waiting = vec![doc! { "_id": binary(Uuid::now_v7()) }];
    rest.spoil(
        orders,
        shipped,
        set("outbox", waiting.into()),
        Invariant::NothingLeft,
    );
    rest.spoil(
        orders,
        refused,
        set("reason", "UnknownCustomer".into()),
        Invariant::EffectHasCause,
    );
    rest.spoil(
        reservations,
        refused,
        set("state", "Held".into()),
        Invariant::EffectHasCause,
    );
    rest.remove(reservations, shipped, Invariant::EffectHasCause);
    rest.spoil(
        customers,
        customer,
        set("creditLimit", decimal("900").into()),
        Invariant::ReplayAgrees,
    );
    rest.spoil(
        orders,
        shipped,
        set("amount", "much".into()),
        Invariant::StoredIsSent,
    );

    let audit = rest.bench.audit();
    assert_eq!(
        audit.differences.total(),
        0,
        "everything is as it was: {}",
        audit.differences.summary()
    );
}

#[test]
fn orders_that_nobody_sent_or_that_are_missing_are_told() {
    let Some(mut rest) = rest() else { return };
    let sent = rest.bench.ledger.remove(&rest.shipped).unwrap();
    rest.assert_told(Invariant::StoredIsSent, "an order that nobody sent");
    let other = Sent {
        amount: Money::units(7),
        ..sent.clone()
    };
    rest.bench.ledger.insert(rest.shipped, other);
    rest.assert_told(Invariant::StoredIsSent, "an order of another amount");
    rest.bench.ledger.insert(rest.shipped, sent.clone());
    rest.bench.ledger.insert(
        Uuid::now_v7(),
        Sent {
            acknowledged: false,
            ..sent.clone()
        },
    );
    assert_eq!(
        rest.bench.audit().differences.total(),
        0,
        "what was not acknowledged need not be there"
    );
    rest.bench.ledger.insert(Uuid::now_v7(), sent);
    rest.assert_told(Invariant::StoredIsSent, "an acknowledged order that is not there");
}

#[test]
fn spoiled_records_are_told() {
    let Some(rest) = rest() else { return };
    let topic = rest.bench.settings().topic.clone();
    let customer = rest.bench.customer;
    let event = |name: &str, data: serde_json::Value, id: String| Record {
        topic: topic.clone(),
        key: Some(customer.to_string().into_bytes()),
        value: Some(
            json!({ "name": name, "eventData": data.to_string() })
                .to_string()
                .into_bytes(),
        ),
        headers: [("ce_id", id), ("ce_source", "/orders".to_owned())]
            .map(|(name, value)| Header {
                name: name.into(),
                value: Some(value.into_bytes()),
            })
            .into(),
    };
    let shipped = json!({ "id": rest.shipped, "customerId": customer, "amount": 1.0 });
    let id = |name: &str| shared::events::EventId::of(rest.shipped, name, 2).to_string();
    rest.publish(event("OrderShipped", shipped.clone(), id("OrderShipped")));
    rest.assert_told(Invariant::AnnouncedIsInLog, "the same event with other bytes");
    rest.publish(event("OrderCancelled", shipped, id("OrderCancelled")));
    rest.assert_told(Invariant::FinalStays, "shipped and cancelled");
    let nobody = Uuid::now_v7();
    let ghost = json!({ "orderId": nobody, "isValid": true });
    rest.publish(event("OrderValidated", ghost, "x".to_owned()));
    rest.assert_told(Invariant::EffectHasCause, "a validation without a reservation");
    let bare = |value: Option<Vec<u8>>| Record {
        topic: topic.clone(),
        key: None,
        value,
        headers: Vec::new(),
    };
    let told = |what: &str| {
        let audit = rest.bench.audit();
        let mut lines = audit.differences.iter().map(ToString::to_string);
        lines.any(|line| line.starts_with("I9 record") && line.contains(what))
    };
    let validated = |order: Uuid| {
        let said = json!({ "orderId": order, "isValid": true }).to_string();
        let value = json!({ "name": "OrderValidated", "eventData": said });
        bare(Some(value.to_string().into_bytes()))
    };
    rest.publish(bare(None));
    rest.publish(validated(rest.shipped));
    assert!(
        !told(""),
        "a record without a value is no poison, nor is what is about a known order"
    );
    rest.publish(validated(Uuid::now_v7()));
    assert!(
        told("unknown-order"),
        "a validation of an unknown order that is not parked"
    );
    rest.publish(bare(Some(b"no JSON".to_vec())));
    assert!(
        told("malformed-envelope"),
        "unread poison that is neither parked nor a dead letter"
    );
}

#[test]
fn the_program_says_by_its_exit_code_whether_all_is_well() {
    let Some(rest) = rest() else { return };
    let settings = rest.bench.settings();
    let run = |mongo: &str| {
        Command::new(env!("CARGO_BIN_EXE_chaos"))
            .args([
                "audit",
                "--kafka",
                &settings.kafka,
                "--mongo",
                mongo,
                "--topic",
                &settings.topic,
            ])
            .args(["--customers-database", &settings.databases.customers])
            .args(["--orders-database", &settings.databases.orders])
            .args([
                "--customers-group",
                &settings.customers_group,
                "--orders-group",
                &settings.orders_group,
            ])
            .args(["--grace", "0s"])
            .output()
            .unwrap()
    };
    let clean = run(&settings.mongo);
    assert_eq!(clean.status.code(), Some(0), "{clean:?}");
    assert!(
        String::from_utf8_lossy(&clean.stdout).ends_with("clean\n"),
        "{clean:?}"
    );
    let filter = doc! { "_id": binary(rest.bench.customer) };
    let update = doc! { "$set": { "reserved": decimal("2") } };
    rest.bench
        .runtime()
        .block_on(async { rest.customers.update_one(filter, update).await.unwrap() });
    let spoiled = run(&settings.mongo);
    assert_eq!(spoiled.status.code(), Some(1), "{spoiled:?}");
    let line = format!(
        "I2 customer {}: 2.0 is reserved, its held reservations sum up to 1.0; look at",
        rest.bench.customer
    );
    assert!(
        String::from_utf8_lossy(&spoiled.stdout).contains(&line),
        "{spoiled:?}"
    );
    let away = run("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500");
    assert_eq!(away.status.code(), Some(2), "{away:?}");
}

#[test]
fn what_was_touched_just_now_is_under_way() {
    let Some(rest) = rest() else { return };
    let filter = doc! { "_id": binary(rest.shipped) };
    let update = doc! { "$set": { "status": 0 } };
    rest.bench
        .runtime()
        .block_on(async { rest.orders.update_one(filter, update).await.unwrap() });
    let mut settings = rest.bench.settings().clone();
    settings.grace = std::time::Duration::from_secs(3600);
    let audit = rest
        .bench
        .runtime()
        .block_on(chaos::audit::audit(&settings, None))
        .unwrap();
    assert_eq!(
        (
            audit.summary.under_way,
            audit.differences.found(Invariant::FinalInTime)
        ),
        (1, 0)
    );
    assert_eq!(audit.differences.total(), 0, "{}", audit.differences.summary());
}
