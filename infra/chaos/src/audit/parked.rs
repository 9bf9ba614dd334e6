//! I9, what is parked: records that fail for good, and later ones of the same subject that stand behind
//! one. When everything is quiet, the parked records that failed for good are exactly the poison of the
//! topic; nobody is still tried again by itself, nobody stands behind nothing.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::{
    Client,
    bson::{Document, deserialize_from_document, doc},
};
use serde::Deserialize;
use shared::parking::ParkedState;
use uuid::Uuid;

use super::{
    Audit, AuditSettings,
    differences::Invariant,
    log::{LogFacts, Place, Reader},
};

/// A parked record, as far as it is checked.
#[derive(Deserialize)]
struct ParkedRow {
    lane: mongodb::bson::Uuid,
    state: ParkedState,
    partition: i32,
    offset: i64,
    #[serde(default)]
    reason: Option<String>,
}

/// Checks the parked records of both services.
pub(super) async fn check(
    settings: &AuditSettings,
    facts: &LogFacts,
    client: &Client,
    audit: &mut Audit,
) -> anyhow::Result<()> {
    for (reader, database) in [
        (Reader::Customers, &settings.databases.customers),
        (Reader::Orders, &settings.databases.orders),
    ] {
        let rows = read(settings, client, database).await?;
        i9_parked_are_the_poison(settings, facts, (reader, database), &rows, audit);
    }
    Ok(())
}

/// By place. There are few of them, or somebody has been called already.
async fn read(
    settings: &AuditSettings,
    client: &Client,
    database: &str,
) -> anyhow::Result<BTreeMap<Place, ParkedRow>> {
    let parked = client.database(database).collection::<Document>("parked");
    let fields = doc! { "lane": 1, "state": 1, "partition": 1, "offset": 1, "reason": 1 };
    let mut cursor = parked
        .find(doc! { "topic": &settings.topic })
        .projection(fields)
        .await?;
    let mut rows = BTreeMap::new();
    while cursor.advance().await? {
        let row: ParkedRow = deserialize_from_document(cursor.deserialize_current()?)?;
        rows.insert((row.partition, row.offset), row);
    }
    Ok(rows)
}

fn i9_parked_are_the_poison(
    settings: &AuditSettings,
    facts: &LogFacts,
    (reader, database): (Reader, &str),
    rows: &BTreeMap<Place, ParkedRow>,
    audit: &mut Audit,
) {
    let quiet = settings.grace.is_zero();
    let heads: BTreeSet<Uuid> = rows
        .values()
        .filter(|row| matches!(row.state, ParkedState::Parked | ParkedState::Requested))
        .map(|row| Uuid::from_bytes(row.lane.bytes()))
        .collect();
    for (place, row) in rows.iter().filter(|(_, row)| row.state.is_open()) {
        audit.summary.parked += 1;
        let fault = match (row.state, facts.poison.get(&(reader, *place))) {
            // An operator is at it; what it became is seen when it is done.
            (ParkedState::Requested, _) => None,
            (ParkedState::Parked, Some(reason)) if row.reason.as_deref() == Some(*reason) => None,
            // Patience for it is over; a handler that fails is told by its dead letter.
            (ParkedState::Parked, None) if row.reason.as_deref() == Some("unknown-order") => None,
            (ParkedState::Parked, expected) => {
                Some(format!("parked for {:?}, should be for {expected:?}", row.reason))
            }
            (ParkedState::Waiting, _) if heads.contains(&Uuid::from_bytes(row.lane.bytes())) => None,
            (state, _) => quiet.then(|| format!("is still {}", state.as_str())),
        };
        tell(audit, *place, fault, database);
    }
    for (_, place) in facts.poison.keys().filter(|(of, _)| *of == reader) {
        let fault = (quiet && !rows.contains_key(place)).then(|| "is not parked".to_owned());
        tell(audit, *place, fault, database);
    }
}

fn tell(audit: &mut Audit, (partition, offset): Place, fault: Option<String>, database: &str) {
    let fault = fault.map(|fault| format!("{fault}; look at {database}.parked"));
    let about = format!("record {partition}/{offset}");
    audit.differences.check(Invariant::NothingLeft, about, fault);
}
