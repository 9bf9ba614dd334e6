//! I9, what is left when everything is quiet: no lag, and on the dead-letter topic exactly the
//! records that could never be handled.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::{
    Client,
    bson::{self, Document, deserialize_from_document, doc},
};
use serde::Deserialize;
use shared::{
    envelope::Received,
    event_log::ConsumedRecord,
    events::{EventType, dead_letter_topic},
};
use uuid::Uuid;

use super::{
    Audit, AuditSettings,
    differences::Invariant,
    log::{LogFacts, Place, Reader},
    parked,
    topic::{self, Topic},
};

/// A record that was given up.
struct DeadLetter {
    group: String,
    topic: String,
    place: Option<Place>,
    reason: String,
    /// The subject of its event, where it has one.
    order: Option<Uuid>,
}

/// Checks lag and dead letters.
pub(super) async fn check(
    settings: &AuditSettings,
    mut facts: LogFacts,
    client: &Client,
    audit: &mut Audit,
) -> anyhow::Result<()> {
    let asked = settings.clone();
    let (lags, letters) = tokio::task::spawn_blocking(move || read(&asked)).await??;
    for (group, lag) in lags {
        i9_no_lag(settings, &group, lag, audit);
    }
    audit.summary.dead_letters = letters.len() as u64;
    let strays = std::mem::take(&mut facts.strays);
    let known = known(client, settings, strays.values()).await?;
    let unknown = strays.into_iter().filter(|(_, order)| !known.contains(order));
    let unknown = unknown.map(|(place, _)| ((Reader::Orders, place), "unknown-order"));
    facts.poison.extend(unknown);
    audit.summary.poison = facts
        .poison
        .keys()
        .map(|(_, place)| place)
        .collect::<BTreeSet<_>>()
        .len() as u64;
    if !facts.cut {
        i9_dead_letters_are_the_poison(settings, &facts, &letters, client, audit).await?;
        parked::check(settings, &facts, client, audit).await?;
    }
    Ok(())
}

fn read(settings: &AuditSettings) -> anyhow::Result<(BTreeMap<String, i64>, Vec<DeadLetter>)> {
    let mut lags = BTreeMap::new();
    for group in [&settings.customers_group, &settings.orders_group] {
        let lag = topic::lag(&settings.kafka, &settings.topic, group)?;
        lags.insert(group.clone(), lag.iter().sum());
    }
    let mut letters = Vec::new();
    if let Some(mut topic) = Topic::open(&settings.kafka, &dead_letter_topic(&settings.topic))? {
        topic.read_on(|record| letters.push(dead_letter(record)))?;
    }
    Ok((lags, letters))
}

fn i9_no_lag(settings: &AuditSettings, group: &str, lag: i64, audit: &mut Audit) {
    audit.summary.lag += lag;
    // In a system at work some records are always under way.
    let fault = (lag > 0 && settings.grace.is_zero())
        .then(|| format!("is {lag} records behind; look at the offsets of the group and the services' logs"));
    let about = format!("group {group}");
    audit.differences.check(Invariant::NothingLeft, about, fault);
}

/// Each group has given up what it cannot handle, at least once, and nothing else.
async fn i9_dead_letters_are_the_poison(
    settings: &AuditSettings,
    facts: &LogFacts,
    letters: &[DeadLetter],
    client: &Client,
    audit: &mut Audit,
) -> anyhow::Result<()> {
    let mut given_up = BTreeSet::new();
    for letter in letters.iter().filter(|letter| letter.topic == settings.topic) {
        let Some(place) = letter.place else { continue };
        let reader = if letter.group == settings.customers_group {
            Reader::Customers
        } else if letter.group == settings.orders_group {
            Reader::Orders
        } else {
            continue;
        };
        given_up.insert((reader, place));
        let fault = match facts.poison.get(&(reader, place)) {
            Some(reason) if *reason == letter.reason => None,
            Some(reason) => Some(format!("given up for {}, should be for {reason}", letter.reason)),
            // Right where the order does not exist; nobody can tell from the log alone.
            None if letter.reason == "unknown-order" && !exists(client, settings, letter.order).await? => {
                None
            }
            None => Some(format!("given up for {}, but it is a good record", letter.reason)),
        };
        let (partition, offset) = place;
        let fault = fault.map(|fault| format!("{fault}; look at partition {partition}, offset {offset}"));
        let about = format!("dead letter of {}", letter.group);
        audit.differences.check(Invariant::NothingLeft, about, fault);
    }
    for (key, reason) in &facts.poison {
        let (reader, (partition, offset)) = key;
        let missing = !given_up.contains(key) && settings.grace.is_zero();
        let fault = missing.then(|| {
            format!("should be on the dead-letter topic ({reason}, {reader:?}); look at partition {partition}, offset {offset}")
        });
        let about = format!("record {partition}/{offset}");
        audit.differences.check(Invariant::NothingLeft, about, fault);
    }
    Ok(())
}

/// Which of these orders exist.
async fn known(
    client: &Client,
    settings: &AuditSettings,
    ids: impl Iterator<Item = &Uuid>,
) -> anyhow::Result<BTreeSet<Uuid>> {
    let ids: Vec<_> = ids.map(|id| bson::Uuid::from_bytes(id.into_bytes())).collect();
    let orders = client
        .database(&settings.databases.orders)
        .collection::<Document>("orders");
    let mut known = BTreeSet::new();
    for some in ids.chunks(1000) {
        let found = orders.find(doc! { "_id": { "$in": some.to_vec() } });
        let mut cursor = found.projection(doc! { "_id": 1 }).await?;
        while cursor.advance().await? {
            let row: Known = deserialize_from_document(cursor.deserialize_current()?)?;
            known.insert(Uuid::from_bytes(row.id.bytes()));
        }
    }
    Ok(known)
}

#[derive(Deserialize)]
struct Known {
    #[serde(rename = "_id")]
    id: bson::Uuid,
}

async fn exists(client: &Client, settings: &AuditSettings, order: Option<Uuid>) -> anyhow::Result<bool> {
    let Some(order) = order else { return Ok(false) };
    let orders = client
        .database(&settings.databases.orders)
        .collection::<Document>("orders");
    let id = bson::Uuid::from_bytes(order.into_bytes());
    Ok(orders.find_one(doc! { "_id": id }).await?.is_some())
}

fn dead_letter(record: &ConsumedRecord) -> DeadLetter {
    let text = |name: &str| {
        // The last of a name is ours; a record may have come with the same.
        let mut headers = record.headers.iter().rev();
        let header = headers.find(|header| header.name == name)?;
        str::from_utf8(header.value.as_deref()?).ok().map(str::to_owned)
    };
    let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
    let place = number("dl-partition")
        .zip(number("dl-offset"))
        .and_then(|(partition, offset)| Some((i32::try_from(partition).ok()?, offset)));
    let order = Received::read(record).ok().and_then(|received| {
        let known = EventType::named(contracts::EVENTS, &received.name)?;
        known.about(&received.data).ok()?.subject()
    });
    DeadLetter {
        group: text("dl-group").unwrap_or_default(),
        topic: text("dl-topic").unwrap_or_default(),
        place,
        reason: text("dl-reason").unwrap_or_default(),
        order,
    }
}
