//! What else comes over the log: copies of records, at once or much later, and odd records of all
//! kinds, under the keys of customers who order, under keys of their own, and without; in batches of
//! every codec.

use std::{sync::atomic::Ordering, time::Duration};

use contracts::OrderCreated;
use serde_json::{Value, json};
use shared::{
    envelope::Received,
    event_log::{
        ConsumedRecord, EventLog, Record, TailFrom,
        kafka::{KafkaLog, KafkaSettings},
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::{Builder, Uuid};

use super::{
    odd::PutIn,
    world::{World, count, lock},
};
use crate::odd::{self, Fate, Row, under_key};

/// One record of so many is copied.
const COPY_ONE_IN: u32 = 40;
/// A copy comes so late at most.
const LATEST: Duration = Duration::from_secs(20);
/// Between two odd records, in milliseconds.
const ODD: std::ops::Range<u64> = 100..1000;
/// What is larger comes seldom: one of so many.
const LARGE: usize = 50_000;
const LARGE_ONE_IN: u32 = 6;
/// How long after the last record is waited until all are confirmed.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take until a confirmation is heard of.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Batches are compressed by these, in turns. One that the client library was built without is told of
/// and left out.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Orders that are remembered, to be said once more in an odd form.
const REMEMBERED: usize = 50;

/// An order that was announced: it, its customer, its amount.
type Known = ([Uuid; 2], Value);

/// Makes noise until there is to be no more.
pub async fn make(world: &World, brokers: &str, topic: &str) -> anyhow::Result<()> {
    let mut random = fastrand::Rng::with_seed(world.seed ^ 0x4e_6f_69_73_65);
    let logs = logs(brokers)?;
    let mut tail = logs[0].tail(topic, TailFrom::Beginning).await?;
    let mut copies: Vec<(Instant, Record)> = Vec::new();
    let mut known: Vec<Known> = Vec::new();
    let mut deliveries = JoinSet::new();
    // By log: records that are not confirmed yet.
    let mut waiting = vec![0_usize; logs.len()];
    let mut next_odd = Instant::now();
    while !world.no_more.load(Ordering::Relaxed) && !world.is_stopped() {
        while let Ok(record) = tail.try_recv() {
            if !is_ours(&record) {
                continue;
            }
            if let Some(order) = ordered(&record) {
                match known.len() {
                    REMEMBERED => known[random.usize(..REMEMBERED)] = order,
                    _ => known.push(order),
                }
            }
            if random.u32(..COPY_ONE_IN) == 0 {
                let later = LATEST.mul_f64(random.f64().powi(3));
                copies.push((Instant::now() + later, copy(record, topic)));
            }
        }
        let now = Instant::now();
        for (_, record) in copies.extract_if(.., |(due, _)| *due <= now) {
            count(&world.counts.copies);
            // Whether it arrived is seen by reading the log.
            drop(logs[0].publish(record));
        }
        if next_odd <= now {
            let Row { what, record, fates } = odd_record(&mut random, &world.customers, &known);
            let record = Record {
                topic: topic.to_owned(),
                ..record
            };
            count(&world.counts.odd);
            let number = random.usize(..logs.len());
            let delivery = logs[number].publish(record);
            waiting[number] += 1;
            deliveries.spawn(async move { (number, PutIn { what, fates }, delivery.await) });
            next_odd = now + Duration::from_millis(random.u64(ODD));
        }
        while let Some(Ok((number, put_in, delivered))) = deliveries.try_join_next() {
            waiting[number] -= 1;
            note(world, (put_in, delivered));
        }
        tokio::time::sleep(TICK).await;
    }
    // What waits for a broker that is away is not lost: it belongs to what has to be coped with.
    for log in &logs {
        log.close(CONFIRMED_WITHIN).await;
    }
    while let Ok(Some(answered)) = timeout(ANSWERED_WITHIN, deliveries.join_next()).await {
        let (number, put_in, delivered) = answered?;
        waiting[number] -= 1;
        note(world, (put_in, delivered));
    }
    for (number, left) in waiting.into_iter().enumerate().filter(|(_, left)| *left > 0) {
        let says = logs[number].check().await;
        eprintln!(
            "chaos: {left} odd records by writer {number} are still not confirmed; its state: {says:?}"
        );
        // Nobody knows whether they stand in the log.
        world
            .counts
            .odd_without_place
            .fetch_add(left as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn logs(brokers: &str) -> anyhow::Result<Vec<KafkaLog>> {
    let mut logs = Vec::new();
    for codec in CODECS {
        let made = KafkaLog::new(KafkaSettings {
            client_id: format!("chaos-{codec}"),
            extra: vec![("compression.codec".to_owned(), codec.to_owned())],
            ..KafkaSettings::new(brokers)
        });
        match made {
            Ok(log) => logs.push(log),
            Err(error) if codec != "none" => eprintln!("chaos: no batches of {codec}: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(logs)
}

fn note(
    world: &World,
    (put_in, delivered): (
        PutIn,
        Result<shared::event_log::Position, shared::event_log::LogError>,
    ),
) {
    match delivered {
        Ok(place) if place.offset >= 0 => {
            lock(&world.odd).insert((place.partition, place.offset), put_in);
        }
        // The broker had it already when it was sent once more, and did not say where it stands.
        Ok(_) => count(&world.counts.odd_without_place),
        Err(error) => {
            eprintln!("chaos: {} was not delivered: {error}", put_in.what);
            count(&world.counts.odd_without_place);
        }
    }
}

/// Copies of odd records would only be more odd records.
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

fn ordered(record: &ConsumedRecord) -> Option<Known> {
    let received = Received::read(record).ok()?;
    if received.name != <OrderCreated as shared::events::Event>::NAME {
        return None;
    }
    let said: Value = serde_json::from_str(&received.data).ok()?;
    let id = |name: &str| said[name].as_str()?.parse().ok();
    Some(([id("id")?, id("customerId")?], said["amount"].clone()))
}

/// One record of the table, of what this run adds to it, or of a known order in an odd form.
fn odd_record(random: &mut fastrand::Rng, customers: &[Uuid], known: &[Known]) -> Row {
    let mut id = || Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
    let (order, own) = (id(), id());
    let mut row = match random.u32(..10) {
        0 | 1 if !known.is_empty() => {
            let order = &known[random.usize(..known.len())];
            odd_form(random, order)
        }
        2 | 3 => odd::stray(order, random.bool()),
        4 => forged(random, order),
        _ => {
            let mut rows = odd::bad();
            let large = random.u32(..LARGE_ONE_IN) == 0;
            rows.retain(|row| (row.record.value.as_ref().map_or(0, Vec::len) > LARGE) == large);
            rows.swap_remove(random.usize(..rows.len()))
        }
    };
    // Mostly in the way of somebody who orders.
    let key = match random.u32(..10) {
        0..7 => customers[random.usize(..customers.len())],
        _ => own,
    };
    // A known order has its customer's key, or none, as C# writes.
    if row.fates[0] != Fate::Handled {
        row.record = under_key(row.record, key);
    }
    row
}

fn odd_form(random: &mut fastrand::Rng, (of, amount): &Known) -> Row {
    let mut forms = odd::odd_forms(*of, amount);
    let (what, record) = forms.swap_remove(random.usize(..forms.len()));
    Row {
        what: what.to_owned(),
        record: under_key(record, of[1]),
        fates: [Fate::Handled, Fate::Skipped("not-handled")],
    }
}

/// What would forge lines of a log that let control characters through.
fn forged(random: &mut fastrand::Rng, order: Uuid) -> Row {
    let envelope = Fate::Dead("malformed-envelope");
    let (record, fates) = match random.u32(..3) {
        0 => (
            odd::bytes(b"no JSON at all\r\nforged-line \x1b[31m".as_slice()),
            [envelope; 2],
        ),
        1 => (
            odd::named(
                "OrderCreated",
                &json!({ "id": "forged-line\r\n", "amount": "1e999" }),
            ),
            [Fate::Dead("malformed-event"), Fate::Skipped("not-handled")],
        ),
        _ => (
            odd::named("OrderPainted\u{1b}[31m\r\nforged-line", &json!({ "id": order })),
            [Fate::Skipped("unknown-name"); 2],
        ),
    };
    Row {
        what: "control characters".to_owned(),
        record,
        fates,
    }
}
