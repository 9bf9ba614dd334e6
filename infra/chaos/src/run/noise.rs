//! What else comes over the log: copies of records, at once or much later, and records that nobody
//! can handle, with keys of their own and without.

use std::{sync::atomic::Ordering, time::Duration};

use shared::event_log::{
    ConsumedRecord, EventLog, Record, TailFrom,
    kafka::{KafkaLog, KafkaSettings},
};
use tokio::time::Instant;
use uuid::Builder;

use super::world::{World, count};

/// One record of so many is copied.
const COPY_ONE_IN: u32 = 40;
/// A copy comes so late at most.
const LATEST: Duration = Duration::from_secs(20);
/// Between two records that nobody can handle, in milliseconds.
const POISON: std::ops::Range<u64> = 200..1500;
/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Makes noise until there is to be no more.
pub async fn make(world: &World, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(world.seed ^ 0x4e_6f_69_73_65);
    let log = KafkaLog::new(KafkaSettings {
        client_id: "chaos-noise".into(),
        ..KafkaSettings::new(brokers)
    })?;
    let mut tail = log.tail(topic, TailFrom::Beginning).await?;
    let mut copies: Vec<(Instant, Record)> = Vec::new();
    let mut next_poison = Instant::now();
    while !world.no_more.load(Ordering::Relaxed) && !world.is_stopped() {
        while let Ok(record) = tail.try_recv() {
            if is_ours(&record) && random.u32(..COPY_ONE_IN) == 0 {
                let later = LATEST.mul_f64(random.f64().powi(3));
                copies.push((Instant::now() + later, copy(record, topic)));
            }
        }
        let now = Instant::now();
        for (_, record) in copies.extract_if(.., |(due, _)| *due <= now) {
            publish(&log, record, &world.counts.copies);
        }
        if next_poison <= now {
            publish(&log, poison(&mut random, topic), &world.counts.poison);
            next_poison = now + Duration::from_millis(random.u64(POISON));
        }
        tokio::time::sleep(TICK).await;
    }
    // What waits for a broker that is away is not lost: it belongs to what has to be coped with.
    log.close(Duration::from_secs(30)).await;
    Ok(())
}

fn publish(log: &KafkaLog, record: Record, counter: &std::sync::atomic::AtomicU64) {
    count(counter);
    // Whether it arrived is seen by reading the log.
    drop(log.publish(record));
}

/// Copies of poison would only be more poison.
fn is_ours(record: &ConsumedRecord) -> bool {
    record.headers.iter().any(|header| header.name == "ce_source")
}

fn copy(record: ConsumedRecord, topic: &str) -> Record {
    Record {
        topic: topic.to_owned(),
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}

fn poison(random: &mut fastrand::Rng, topic: &str) -> Record {
    let mut id = || Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
    let (own, order, customer) = (id(), id(), id());
    let event = |name: &str, data: serde_json::Value| {
        let value = serde_json::json!({ "name": name, "eventData": data.to_string() });
        Some(value.to_string().into_bytes())
    };
    let value = match random.u32(..8) {
        0 => Some(b"no JSON at all\r\nforged-line \x1b[31m".to_vec()),
        1 => None,
        2 => Some(b"{\"name\":\"OrderCreated\"}".to_vec()),
        3 => event(
            "OrderCreated",
            serde_json::json!({ "id": order, "customerId": customer, "amount": -1 }),
        ),
        4 => event(
            "OrderCreated",
            serde_json::json!({ "id": "forged-line\r\n", "amount": "1e999" }),
        ),
        5 => event(
            "OrderValidated",
            serde_json::json!({ "orderId": 7, "isValid": "perhaps" }),
        ),
        6 => event("OrderCancelled", serde_json::json!({ "id": order })),
        _ => event(
            "OrderPainted\u{1b}[31m\r\nforged-line",
            serde_json::json!({ "id": order }),
        ),
    };
    Record {
        topic: topic.to_owned(),
        key: random.bool().then(|| own.to_string().into_bytes()),
        value,
        headers: Vec::new(),
    }
}
