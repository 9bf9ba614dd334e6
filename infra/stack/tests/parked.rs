//! An operator settles what could not be handled, by the command line of the service, on real engines:
//! whichever instance is asked, the owner of the partition carries it out. Nobody's orders wait for it.

mod support;

use std::process::Command;

use chaos::odd::{named, under_key};
use serde_json::{Value, json};
use shared::event_log::{
    EventLog as _, Record,
    kafka::{KafkaLog, KafkaSettings},
};
use support::{
    binary,
    deployment::{Deployment, Instance},
    eventually,
};
use uuid::Uuid;

/// Runs `customers parked …` against an instance: whether it succeeded, and what it printed.
fn parked(admin: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary("customers"))
        .arg("parked")
        .args(arguments)
        .args(["--admin-addr", admin])
        .output()
        .expect("our binary starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn admin_addr(instance: &mut Instance) -> String {
    let url = instance.process.says(" admin=");
    url.trim_start_matches("http://").to_owned()
}

#[test]
fn an_operator_settles_a_subject_by_way_of_any_instance_and_no_order_waits_for_it() {
    let Some(engines) = engines::for_tests() else {
        return;
    };
    let deployment =
        Deployment::new(&engines.kafka_brokers, &engines.mongodb_uri).set("KAFKA_PARTITIONS", "1");
    let mut customers = [deployment.start("customers"), deployment.start("customers")];
    let orders = deployment.start("orders");
    customers
        .iter()
        .chain([&orders])
        .for_each(|instance| instance.client.ready());
    let admins = customers.each_mut().map(admin_addr);

    let ada = Uuid::now_v7();
    let new = json!({ "id": ada, "name": "Ada", "creditLimit": 100 });
    assert_eq!(customers[0].client.post("/api/customers", new).0, 201);
    let log = KafkaLog::new(KafkaSettings::new(&engines.kafka_brokers)).expect("the settings are right");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let publish = |name: &str, data: Value| {
        let record = Record {
            topic: deployment.name.clone(),
            ..under_key(named(name, &data), ada)
        };
        let delivery = log.publish(record);
        runtime.block_on(delivery).expect("the broker takes the record");
    };
    // Two that cannot be read; one that says whose credit is not known, and a better one behind it.
    let lost = Uuid::now_v7();
    publish("OrderCreated", json!({}));
    publish("OrderCancelled", json!({ "id": lost, "amount": 1 }));
    publish(
        "OrderCancelled",
        json!({ "id": lost, "customerId": ada, "amount": 1 }),
    );
    publish("OrderCreated", json!({}));

    // Nobody has acted, and Ada's order is shipped.
    let order = json!({ "customerId": ada, "amount": 1 });
    let (status, order) = orders.client.post("/api/orders?wait=30s", order);
    assert_eq!((status, &order["status"]), (201, &json!("Shipped")), "{order}");

    let list = eventually("four records are parked", || {
        let (done, printed) = parked(&admins[0], &["list", "--key", &ada.to_string(), "--json"]);
        assert!(done, "{printed}");
        let page: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        if items.len() == 4 { Ok(items) } else { Err(printed) }
    });
    let states: Vec<_> = list
        .iter()
        .filter_map(|record| record["state"].as_str())
        .collect();
    assert_eq!(states, ["parked", "parked", "waiting", "parked"]);
    let ids: Vec<_> = list.iter().filter_map(|record| record["id"].as_str()).collect();
    let (done, shown) = parked(&admins[1], &["show", ids[0]]);
    assert!(done && shown.contains("malformed-event"), "{shown}");
    let (done, refused) = parked(&admins[0], &["replay", ids[2]]);
    assert!(!done && refused.contains("stands behind"), "{refused}");
    let (done, dry) = parked(&admins[0], &["replay", "--reason", "no-customer", "--dry-run"]);
    assert!(done && dry.contains("1 would be asked for, 1 behind"), "{dry}");
    let (done, dry) = parked(
        &admins[1],
        &["replay", "--reason", "malformed-event", "--dry-run"],
    );
    assert!(done && dry.contains("2 would be asked for, 0 behind"), "{dry}");

    // One instance is the owner of the partition, the other is not: both are asked. What stands behind
    // the second follows by itself.
    for (admin, id) in admins.iter().cycle().zip([ids[0], ids[1], ids[3]]) {
        let (_, printed) = parked(admin, &["discard", id, "--why", "a test"]);
        assert!(printed.contains("discarded"), "{printed}");
    }
    eventually("nothing is parked", || {
        let (done, nothing) = parked(&admins[1], &["list"]);
        if done && nothing.contains("nothing is parked") {
            Ok(())
        } else {
            Err(nothing)
        }
    });
    let (done, shown) = parked(&admins[0], &["list", "--state", "done"]);
    assert!(
        done && shown.contains(ids[2]),
        "what stood behind is handled: {shown}"
    );
}
