//! The audit: every order, every reservation, every customer's sum and every event of the topic,
//! checked against each other. It only reads, joins no consumer group, and holds a small trace of
//! each order, never documents.
//!
//! The databases are read as they were at one moment; the log up to that moment and a little
//! further. So what is in a document and in no outbox has to be in the log. What was touched shortly
//! before is under way and not expected to be complete.
//!
//! | file | |
//! | --- | --- |
//! | `differences.rs` | the invariants, and what was found |
//! | `saga.rs` | those of an order |
//! | `credit.rs` | those of a customer |
//! | `rest.rs`, `parked.rs` | what is left: lag, dead letters, parked records |
//! | `log.rs`, `topic.rs` | what the log says and whether each event is as it should be; reading it |
//! | `database.rs` | what the databases say |

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, anyhow};
use contracts::{CancelReason, OrderStatus};
use mongodb::Client;
use serde::Serialize;
use shared::{environment::Environment, money::Money};
use uuid::Uuid;

pub mod differences;
pub mod credit;
pub mod database;
pub mod log;
mod parked;
pub mod rest;
pub mod saga;
pub mod topic;

use credit::Credit;
use database::{Databases, OrderRow, Snapshot};
use differences::{Differences, Invariant};
use log::LogFacts;
use saga::{Saga, View};
use topic::Topic;

/// Attempts at a snapshot: right after a start the server may have none yet.
const SNAPSHOT_ATTEMPTS: u32 = 5;

/// What to audit, and how strictly.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Kafka.
    pub kafka: String,
    /// MongoDB.
    pub mongo: String,
    /// Topic of the events.
    pub topic: String,
    /// Where the documents are.
    pub databases: Databases,
    /// Consumer group of Customers.
    pub customers_group: String,
    /// Consumer group of Orders.
    pub orders_group: String,
    /// What was touched within this time is under way. Zero: the system is quiet, and nothing may be.
    pub grace: Duration,
    /// How far the clocks of different processes may be apart.
    pub skew: Duration,
}

/// An order that somebody has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// For whom.
    pub customer: Uuid,
    /// For how much.
    pub amount: Money,
    /// It was answered 2xx: it has to be there.
    pub acknowledged: bool,
    /// A cancellation of it was answered 200.
    pub cancelled: bool,
}

/// What was sent, by order id: the only orders that may exist.
pub type Ledger = BTreeMap<Uuid, Sent>;

/// What was counted on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Orders that are stored.
    pub orders: u64,
    /// By status, or by reason where cancelled.
    pub outcomes: BTreeMap<String, u64>,
    /// Orders that are not final and too young to be a difference.
    pub under_way: u64,
    /// Reservations that are stored.
    pub reservations: u64,
    /// Customers that are stored.
    pub customers: u64,
    /// Records of the topic.
    pub records: u64,
    /// Those that repeat an earlier event.
    pub duplicates: u64,
    /// Those of another writer.
    pub foreign: u64,
    /// Those without a value, which say nothing.
    pub tombstones: u64,
    /// Those that are no event and had to be given up.
    pub poison: u64,
    /// Records on the dead-letter topic.
    pub dead_letters: u64,
    /// Parked records that are not handled yet.
    pub parked: u64,
    /// How far the groups are behind, in records.
    pub lag: i64,
    /// The oldest records of the topic are gone, so causes were not looked for.
    pub log_cut: bool,
}

/// The result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Audit {
    /// What does not fit together.
    pub differences: Differences,
    /// What was read.
    pub summary: Summary,
}

/// Audits. Fails where an engine cannot be reached; what does not fit together is no failure.
/// With a ledger it is checked as well that exactly what was sent is there (I4).
pub async fn audit(settings: &AuditSettings, ledger: Option<&Ledger>) -> anyhow::Result<Audit> {
    let client = connect(&settings.mongo).await?;
    let mut audit = Audit::default();
    let (topic, facts) = read_on(open(settings).await?, LogFacts::of(contracts::EVENTS), &mut audit).await?;
    let mut snapshot = take_snapshot(&client, settings).await?;
    let view = View {
        now: Environment::real().now(),
        grace: settings.grace,
        log_cut: topic.is_cut(),
    };
    // What the documents of the snapshot no longer have in their outboxes is in the log by now.
    let (topic, mut facts) = read_on(topic, facts, &mut audit).await?;
    drop(topic);
    facts.cut = view.log_cut;

    let mut credit = Credit::default();
    let Audit { differences, summary } = &mut audit;
    let counted = snapshot
        .customers(differences, |row, _| credit.customer(row))
        .await;
    counted.context("reading the customers")?;
    let mut unsent = ledger.cloned();
    facts.check(differences);
    let mut traces = facts.take_traces("order_id");
    let sagas = snapshot.sagas(differences, |id, order, reservation, differences| {
        let trace = traces.remove(&id).unwrap_or_default();
        let saga = Saga {
            id,
            order: order.as_ref(),
            reservation: reservation.as_ref(),
            trace: &trace,
        };
        saga::check(&saga, &view, differences);
        if let Some(reservation) = &reservation {
            summary.reservations += 1;
            credit.reservation(reservation);
        }
        if let Some(order) = &order {
            count(order, &view, summary);
            if let Some(unsent) = &mut unsent {
                i4_every_stored_order_was_sent(order, unsent.remove(&id), differences);
            }
        }
    });
    sagas.await.context("reading the orders and reservations")?;
    // What only the log knows of.
    for (id, trace) in &traces {
        let saga = Saga {
            id: *id,
            order: None,
            reservation: None,
            trace,
        };
        saga::check(&saga, &view, differences);
    }
    drop(traces);
    for (id, sent) in unsent.iter().flatten() {
        i4_every_acknowledged_order_exists(*id, sent, differences);
    }
    summary.customers = credit.customers() as u64;
    (summary.records, summary.duplicates) = (facts.records, facts.duplicates);
    (summary.foreign, summary.tombstones) = (facts.foreign, facts.tombstones);
    summary.log_cut = facts.cut;
    credit.check(
        &facts.take_traces("customer_id"),
        &view,
        settings.skew,
        differences,
    );
    rest::check(settings, facts, &client, &mut audit).await?;
    Ok(audit)
}

/// A client that fails soon where nobody answers.
pub async fn connect(uri: &str) -> anyhow::Result<Client> {
    let mut options = mongodb::options::ClientOptions::parse(uri)
        .await
        .context("the MongoDB URI")?;
    options
        .server_selection_timeout
        .get_or_insert(Duration::from_secs(10));
    Ok(Client::with_options(options)?)
}

async fn open(settings: &AuditSettings) -> anyhow::Result<Topic> {
    let (brokers, name) = (settings.kafka.clone(), settings.topic.clone());
    tokio::task::spawn_blocking(move || Topic::open(&brokers, &name))
        .await?
        .context("opening the topic")?
        .ok_or_else(|| anyhow!("the topic {} does not exist", settings.topic))
}

async fn read_on(
    mut topic: Topic,
    mut facts: LogFacts,
    audit: &mut Audit,
) -> anyhow::Result<(Topic, LogFacts)> {
    let read = tokio::task::spawn_blocking(move || {
        let mut found = Differences::default();
        let read = topic.read_on(|record| facts.take(record, &mut found));
        read.map(|()| (topic, facts, found))
    });
    let (topic, facts, found) = read.await?.context("reading the topic")?;
    audit.differences.extend(found);
    Ok((topic, facts))
}

async fn take_snapshot(client: &Client, settings: &AuditSettings) -> anyhow::Result<Snapshot> {
    let mut attempt = 1;
    loop {
        match Snapshot::take(client, &settings.databases).await {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) if attempt == SNAPSHOT_ATTEMPTS => {
                return Err(error).context("reading MongoDB (it has to be a replica set)");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        attempt += 1;
    }
}

fn count(order: &OrderRow, view: &View, summary: &mut Summary) {
    summary.orders += 1;
    let outcome = order.reason.map_or(order.status.as_str(), CancelReason::as_str);
    *summary.outcomes.entry(outcome.to_owned()).or_default() += 1;
    if !order.status.is_final() && view.is_recent(order.created_at) {
        summary.under_way += 1;
    }
}

fn i4_every_stored_order_was_sent(order: &OrderRow, sent: Option<Sent>, found: &mut Differences) {
    let fault = match sent {
        None => Some("is stored, but was never sent; look at orders".to_owned()),
        Some(sent) if sent.customer != order.customer_id.0 || sent.amount != order.amount => Some(format!(
            "was sent for {} of {}, is stored for {} of {}; look at orders",
            sent.amount, sent.customer, order.amount, order.customer_id
        )),
        Some(sent) if sent.cancelled && order.status != OrderStatus::Cancelled => Some(format!(
            "its cancellation was acknowledged, it is {}; look at orders",
            order.status.as_str()
        )),
        Some(_) => None,
    };
    found.check(Invariant::StoredIsSent, format_args!("order {}", order.id), fault);
}

fn i4_every_acknowledged_order_exists(id: Uuid, sent: &Sent, found: &mut Differences) {
    let fault = sent.acknowledged.then(|| {
        format!(
            "was acknowledged ({} of {}), but does not exist; look at orders",
            sent.amount, sent.customer
        )
    });
    found.check(Invariant::StoredIsSent, format_args!("order {id}"), fault);
}
