//! An operator settles what could not be handled, by the command line of the service, on real engines:
//! whichever instance is asked, the owner of the partition carries it out.

mod support;

use std::process::Command;

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
fn an_operator_settles_a_key_by_way_of_any_instance() {
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
    let value = json!({ "name": "OrderCreated", "eventData": "{}" });
    let poison = Record {
        topic: deployment.name.clone(),
        key: Some(ada.to_string().into_bytes()),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
    };
    for _ in 0..2 {
        let delivery = log.publish(poison.clone());
        runtime.block_on(delivery).expect("the broker takes the record");
    }
    let order = json!({ "customerId": ada, "amount": 1 });
    let (status, order) = orders.client.post("/api/orders", order);
    assert_eq!(status, 201, "{order}");

    let list = eventually("three records are parked", || {
        let (done, printed) = parked(&admins[0], &["list", "--key", &ada.to_string(), "--json"]);
        assert!(done, "{printed}");
        let page: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        if items.len() == 3 { Ok(items) } else { Err(printed) }
    });
    let ids: Vec<_> = list.iter().filter_map(|record| record["id"].as_str()).collect();
    let (done, shown) = parked(&admins[1], &["show", ids[0]]);
    assert!(done && shown.contains("malformed-event"), "{shown}");
    let (done, refused) = parked(&admins[0], &["replay", ids[1]]);
    assert!(!done && refused.contains("stands behind"), "{refused}");
    let (done, dry) = parked(
        &admins[0],
        &["replay", "--reason", "malformed-event", "--dry-run"],
    );
    assert!(done && dry.contains("1 would be asked for, 2 behind"), "{dry}");

    // One way is by the owner, the other is not.
    for (admin, head) in admins.iter().zip(&ids) {
        eventually("it is its turn, and it is given up", || {
            let (_, printed) = parked(admin, &["discard", head, "--why", "a test"]);
            if printed.contains("discarded") {
                Ok(())
            } else {
                Err(printed)
            }
        });
    }
    let path = format!("/api/orders/{}?wait=30s", order["id"].as_str().expect("an id"));
    let (status, order) = orders.client.get(&path);
    assert_eq!((status, &order["status"]), (200, &json!("Shipped")), "{order}");
    let (done, nothing) = parked(&admins[1], &["list"]);
    assert!(done && nothing.contains("nothing is parked"), "{nothing}");
}
