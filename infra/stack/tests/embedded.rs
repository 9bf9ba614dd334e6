//! The whole on the embedded default, as a user starts it.

mod support;

use serde_json::json;
use support::{Directory, Process, stack::Stack};
use uuid::Uuid;

fn start(data: &Directory) -> Stack {
    let stack = Stack::start(&data.0.join("data"), &[], data);
    stack.ready();
    stack
}

#[test]
fn orders_are_shipped_and_cancelled_and_kill_nine_keeps_the_data() {
    let data = Directory::new();
    let mut stack = start(&data);
    let customer = Uuid::now_v7();
    let new = json!({ "Id": customer, "Name": "Ada", "CreditLimit": 500 });
    assert_eq!(stack.customers.post("/api/Customer/NewCustomer", new).0, 200);
    assert_eq!(
        stack
            .customers
            .put(&format!("/api/Customer/{customer}"), json!(1000))
            .0,
        200
    );
    let order = |amount| json!({ "CustomerId": customer, "Amount": amount });
    let (status, shipped) = stack.orders.post("/api/Orders/NewOrder?wait=20s", order(800));
    assert_eq!((status, &shipped["status"]), (200, &json!("Shipped")));
    let (status, cancelled) = stack.orders.post("/api/Orders/NewOrder?wait=20s", order(300));
    assert_eq!(
        (status, &cancelled["reason"]),
        (200, &json!("InsufficientCredit"))
    );

    stack.process.kill();
    let stack = start(&data);
    for order in [shipped, cancelled] {
        let id = order["id"].as_str().expect("an id");
        assert_eq!(
            stack.orders.get(&format!("/api/orders/{id}")),
            (200, order.clone())
        );
    }
    let (_, customer) = stack.customers.get(&format!("/api/customers/{customer}"));
    assert_eq!(
        (&customer["reserved"], &customer["available"]),
        (&json!(800.0), &json!(200.0))
    );
}

#[test]
fn the_log_tells_what_each_service_has_done() {
    let data = Directory::new();
    let stack = start(&data);
    let customer = Uuid::now_v7();
    let new = json!({ "id": customer, "name": "Ada", "creditLimit": 1 });
    assert_eq!(stack.customers.post("/api/customers", new).0, 201);
    let path = format!("/api/Customer/{customer}");
    assert_eq!(stack.customers.put(&path, json!(1000)).0, 200);
    let order = |amount, status| {
        let new = json!({ "customerId": customer, "amount": amount });
        let (_, order) = stack.orders.post("/api/orders?wait=20s", new);
        assert_eq!(order["status"], status);
        order["id"].as_str().expect("an id").to_owned()
    };
    let (shipped, refused) = (order(800, "Shipped"), order(300, "Cancelled"));
    let cancel = format!("/api/orders/{shipped}/cancel");
    assert_eq!(stack.orders.post(&cancel, json!({})).0, 409);
    let customer = customer.to_string();
    for (service, what, id) in [
        ("customers", "customer created", &customer),
        ("customers", "credit limit is set", &customer),
        ("orders", "order created", &shipped),
        ("customers", "credit reserved", &shipped),
        ("orders", "order shipped", &shipped),
        ("orders", "order is final already, unchanged", &shipped),
        ("orders", "order created", &refused),
        ("customers", "credit refused", &refused),
        ("orders", "order cancelled", &refused),
        ("customers", "nothing held, nothing released", &refused),
    ] {
        let begin = format!("{service} RepositoryActor {what} ");
        support::eventually("it stands in the log", || {
            let log = stack.process.output();
            let told = log.lines().any(|line| line.contains(&begin) && line.contains(id));
            told.then_some(()).ok_or_else(|| format!("{begin}{id}:\n{log}"))
        });
    }
}

#[test]
fn every_acknowledged_order_is_final_after_kill_nine_under_load() {
    let data = Directory::new();
    let mut stack = start(&data);
    let customer = Uuid::now_v7();
    let new = json!({ "id": customer, "name": "Ada", "creditLimit": 100 });
    assert_eq!(stack.customers.post("/api/customers", new).0, 201);
    let orders = stack.orders.clone();
    let load = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        // Until the process is gone.
        while let Ok((status, order)) =
            orders.try_post("/api/orders", &json!({ "customerId": customer, "amount": 1 }))
        {
            assert_eq!(status, 201, "{order}");
            acknowledged.push(order["id"].as_str().expect("an id").to_owned());
        }
        acknowledged
    });
    let orders = stack.orders.clone();
    support::eventually("some orders are stored", || {
        let (_, page) = orders.get("/api/orders?limit=100");
        let stored = page["items"].as_array().map_or(0, Vec::len);
        // One of them may not have been answered yet.
        if stored > 20 {
            Ok(())
        } else {
            Err(format!("{stored}"))
        }
    });
    stack.process.kill();
    let acknowledged = load.join().expect("the load is well");
    assert!(acknowledged.len() >= 20);

    let stack = start(&data);
    let mut shipped = 0;
    for id in acknowledged {
        let (status, order) = stack.orders.get(&format!("/api/orders/{id}?wait=30s"));
        assert_eq!(status, 200, "not final: {order}");
        shipped += usize::from(order["status"] == "Shipped");
    }
    // The last order may be stored without its sender having learned so.
    let (_, customer) = stack.customers.get(&format!("/api/customers/{customer}"));
    let reserved = customer["reserved"].as_f64().expect("a number");
    assert!(
        reserved >= shipped as f64 && reserved <= shipped as f64 + 1.0,
        "{shipped} shipped: {customer}"
    );
}

#[test]
fn sigterm_finishes_what_is_under_way_and_ends_with_zero() {
    let data = Directory::new();
    let mut stack = start(&data);
    stack.orders.ready();
    stack.process.terminate();
    assert_eq!(stack.process.end(), Some(0));
    assert!(stack.process.output().contains("stopped"));
}

#[test]
fn the_demo_plays_its_four_stories() {
    let data = Directory::new();
    let data_dir = data.0.join("data").display().to_string();
    let mut demo = Process::start("stack", &["demo", "--data-dir", &data_dir], &[], &data);
    assert_eq!(demo.end(), Some(0), "{}", demo.output());
    let output = demo.output();
    for said in [
        "Shipped",
        "InsufficientCredit",
        "CancelledByCustomer",
        "reserved 800.0, available 200.0",
    ] {
        assert!(output.contains(said), "{said} is missing:\n{output}");
    }
}

#[test]
fn a_data_directory_in_use_is_refused_and_named() {
    let data = Directory::new();
    let stack = start(&data);
    stack.orders.ready();
    let data_dir = data.0.join("data").display().to_string();
    let mut second = Process::start("stack", &["--data-dir", &data_dir, "demo"], &[], &data);
    assert_eq!(second.end(), Some(1));
    assert!(
        second.output().contains("in use") && second.output().contains(&data_dir),
        "{}",
        second.output()
    );
}

#[test]
fn every_wrong_setting_is_named_and_nothing_started() {
    let data = Directory::new();
    let environment = [
        ("LOG_FORMAT", "xml"),
        ("KAFKA_PARTITIONS", "many"),
        ("MONGODB_URI", "postgres://x"),
    ];
    let mut stack = Process::start("stack", &["--orders-addr", "nowhere"], &environment, &data);
    assert_eq!(stack.end(), Some(2));
    for name in ["LOG_FORMAT", "KAFKA_PARTITIONS", "MONGODB_URI", "ORDERS_ADDR"] {
        assert_eq!(
            stack.output().matches(&format!("{name} (")).count(),
            1,
            "{name}:\n{}",
            stack.output()
        );
    }
}

#[test]
fn an_address_in_use_is_named() {
    let data = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let data_dir = data.0.join("data").display().to_string();
    let arguments = [
        "--data-dir",
        &data_dir,
        "--customers-addr",
        &addr,
        "--orders-addr",
        "127.0.0.1:0",
    ];
    let mut stack = Process::start("stack", &arguments, &[], &data);
    assert_eq!(stack.end(), Some(1));
    assert!(stack.output().contains(&addr), "{}", stack.output());
}
