//! Four stories over HTTP, and for each order its timeline: what happened when, in which service, at
//! which place of the log.

use std::{
    fmt::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use shared::{
    envelope::Received,
    environment::Timestamp,
    event_log::{ConsumedRecord, Tail},
};
use uuid::Uuid;

/// How long the services may take to become ready, and an order to become final.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A cancel races with the validation; where it loses, another order tries.
const CANCEL_TRIES: u32 = 20;

/// Plays the stories with the services at these addresses; `tail` shows what they announce. Blocks.
pub fn play(customers: SocketAddr, orders: SocketAddr, tail: Tail) -> anyhow::Result<()> {
    let mut demo = Demo {
        http: http(),
        customers,
        orders,
        tail,
        seen: Vec::new(),
    };
    demo.wait_until_ready()?;
    let customer = Uuid::now_v7();
    println!("\n1. A new customer: Ada, credit limit 1000");
    let body = json!({ "id": customer, "name": "Ada", "creditLimit": 1000 });
    let (status, answer) = demo.post(format!("http://{customers}/api/customers"), &body)?;
    ensure!(status == 201, "the customer was not created: {status} {answer}");

    println!("\n2. An order of 800: within the credit, shipped");
    demo.order(customer, 800, "Shipped")?;
    println!("\n3. An order of 300: more than the 200 that are left, cancelled");
    demo.order(customer, 300, "Cancelled")?;
    println!("\n4. An order of 100, cancelled by the customer before it was validated");
    demo.cancelled_order(customer, 100)?;

    let (_, customer) = demo.get(format!("http://{customers}/api/customers/{customer}"))?;
    println!(
        "\nAda at the end: credit limit {}, reserved {}, available {}",
        customer["creditLimit"], customer["reserved"], customer["available"]
    );
    ensure!(
        customer["reserved"] == 800.0,
        "800 should be reserved: {customer}"
    );
    Ok(())
}

struct Demo {
    http: ureq::Agent,
    customers: SocketAddr,
    orders: SocketAddr,
    tail: Tail,
    seen: Vec<(ConsumedRecord, Received)>,
}

fn http() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

impl Demo {
    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        for addr in [self.customers, self.orders] {
            loop {
                let (status, answer) = self.get(format!("http://{addr}/health/ready"))?;
                if status == 200 {
                    break;
                }
                ensure!(begin.elapsed() < PATIENCE, "the services are not ready: {answer}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        println!(
            "Both services are ready after {:.1} s.",
            begin.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn order(&mut self, customer: Uuid, amount: u32, expected: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        let body = json!({ "customerId": customer, "amount": amount });
        let (_, order) = self.post(format!("http://{}/api/orders?wait=30s", self.orders), &body)?;
        ensure!(
            order["status"] == expected,
            "the order should be {expected}: {order}"
        );
        self.show(&order, begin.elapsed())
    }

    fn cancelled_order(&mut self, customer: Uuid, amount: u32) -> anyhow::Result<()> {
        for _ in 0..CANCEL_TRIES {
            let begin = Instant::now();
            let body = json!({ "customerId": customer, "amount": amount });
            let (_, order) = self.post(format!("http://{}/api/orders", self.orders), &body)?;
            let id = order["id"].as_str().context("an order has an id")?;
            let (status, order) = self.post(
                format!("http://{}/api/orders/{id}/cancel", self.orders),
                &json!({}),
            )?;
            if status == 200 {
                ensure!(
                    order["reason"] == "CancelledByCustomer",
                    "it should be cancelled: {order}"
                );
                self.show(&order, begin.elapsed())?;
                return self.released(customer, id);
            }
            println!("   (shipped before the cancel came: once more)");
        }
        bail!("no cancel came before the validation in {CANCEL_TRIES} tries")
    }

    /// Waits until Customers knows that the order is cancelled: what was reserved for it is released, or
    /// nothing will ever be.
    fn released(&self, customer: Uuid, order: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let path = format!("/api/customers/{customer}/reservations");
            let (_, page) = self.get(format!("http://{}{path}", self.customers))?;
            let mut reservations = page["items"].as_array().into_iter().flatten();
            let over = |state: &Value| state == "Released" || state == "Void";
            if reservations.any(|found| found["orderId"] == order && over(&found["state"])) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "the reservation was not released: {page}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Shows the timeline of an order, once its final event is in the log.
    fn show(&mut self, order: &Value, took: Duration) -> anyhow::Result<()> {
        let id = order["id"].as_str().context("an order has an id")?.to_owned();
        let status = order["status"].as_str().context("an order has a status")?;
        let last = format!("Order{status}");
        while !self
            .seen
            .iter()
            .any(|(_, event)| event.name == last && event.data.contains(&id))
        {
            let record = self.tail.blocking_recv().context("the log ended")?;
            if let Ok(event) = Received::read(&record) {
                self.seen.push((record, event));
            }
        }
        let created = order["createdAt"]
            .as_str()
            .and_then(Timestamp::parse)
            .context("createdAt")?;
        let reason = order["reason"]
            .as_str()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        println!(
            "   {id}  {status}{reason}, answered after {:.1} ms",
            took.as_secs_f64() * 1000.0
        );
        for (record, event) in self.seen.iter().filter(|(_, event)| event.data.contains(&id)) {
            println!("{}", line(record, event, created));
        }
        Ok(())
    }

    fn get(&self, url: String) -> anyhow::Result<(u16, Value)> {
        answer(self.http.get(&url).call().with_context(|| url)?)
    }

    fn post(&self, url: String, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request = self.http.post(&url).header("content-type", "application/json");
        answer(request.send(body.to_string()).with_context(|| url)?)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<(u16, Value)> {
    let body = response.body_mut().read_to_string()?;
    Ok((response.status().as_u16(), serde_json::from_str(&body)?))
}

fn line(record: &ConsumedRecord, event: &Received, created: Timestamp) -> String {
    let header = |name: &str| {
        let header = record.headers.iter().find(|header| header.name == name)?;
        header
            .value
            .as_deref()
            .map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let time = header("ce_time")
        .and_then(|time| Timestamp::parse(&time))
        .unwrap_or(created);
    let source = header("ce_source").unwrap_or_default();
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let mut said = event.name.clone();
    if let Some(valid) = data["isValid"].as_bool() {
        said.push_str(if valid { " valid" } else { " not valid" });
    }
    if let Some(reason) = data["reason"].as_str() {
        let _ = write!(said, ", {reason}");
    }
    let position = &record.position;
    format!(
        "   +{:>4} ms  {:<10} {said:<48} partition {} offset {}",
        time.since(created).as_millis(),
        source.trim_start_matches('/'),
        position.partition,
        position.offset
    )
}
