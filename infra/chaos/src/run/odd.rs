//! What became of the odd records that were put in: each has the fate that the table names, in both
//! services; nothing else is parked; and nobody's order waits for them (I9, I15).

use std::collections::{BTreeMap, BTreeSet};

use contracts::TOPIC;
use mongodb::{
    Client as Mongo,
    bson::{self, Document, deserialize_from_document, doc},
};
use serde::Deserialize;
use shared::parking::{ParkedId, ParkedState};

use super::world::{World, lock};
use crate::{
    audit::{
        differences::{Differences, Invariant},
        log::Place,
    },
    odd::Fate,
};

/// An odd record that stands in the log.
#[derive(Clone, Debug)]
pub struct PutIn {
    /// What is odd about it.
    pub what: String,
    /// What has to become of it in Customers and in Orders.
    pub fates: [Fate; 2],
}

/// A parked record, as far as it is checked.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: ParkedId,
    state: ParkedState,
    partition: i32,
    offset: i64,
    #[serde(default)]
    reason: Option<String>,
}

/// I9: parked is exactly what was put in to be parked.
pub async fn i9_each_odd_record_has_its_fate(
    world: &World,
    mongo: &Mongo,
    found: &mut Differences,
) -> anyhow::Result<()> {
    let put_in = lock(&world.odd).clone();
    let without_place = world
        .counts
        .odd_without_place
        .load(std::sync::atomic::Ordering::Relaxed);
    for (number, database) in ["customers", "orders"].into_iter().enumerate() {
        let mut parked: BTreeMap<Place, Row> = BTreeMap::new();
        let rows = mongo.database(database).collection::<Document>("parked");
        let fields = doc! { "state": 1, "partition": 1, "offset": 1, "reason": 1 };
        let mut cursor = rows.find(doc! { "topic": TOPIC }).projection(fields).await?;
        while cursor.advance().await? {
            let row: Row = deserialize_from_document(cursor.deserialize_current()?)?;
            parked.insert((row.partition, row.offset), row);
        }
        for (place, PutIn { what, fates }) in &put_in {
            let fault = fault(fates[number], parked.remove(place));
            let fault = fault.map(|fault| format!("{what}: {fault}; look at {database}.parked"));
            let about = format!("record {}/{}", place.0, place.1);
            found.check(Invariant::NothingLeft, about, fault);
        }
        // What was put in without its place being known may stand in the log: so many may be left.
        let left: Vec<_> = parked.values().map(|row| row.id.to_string()).collect();
        let fault = (left.len() as u64 > without_place)
            .then(|| format!("parked, but never put in: {}", left.join(", ")));
        found.check(Invariant::NothingLeft, format_args!("{database}.parked"), fault);
    }
    Ok(())
}

fn fault(fate: Fate, row: Option<Row>) -> Option<String> {
    match (fate, row) {
        (Fate::Dead(reason), Some(row))
            if row.state == ParkedState::Parked && row.reason.as_deref() == Some(reason) =>
        {
            None
        }
        (Fate::Dead(reason), Some(row)) => Some(format!(
            "should be parked for {reason}, is {} for {:?}",
            row.state.as_str(),
            row.reason
        )),
        (Fate::Dead(reason), None) => Some(format!("should be parked for {reason}, is not")),
        (Fate::Handled | Fate::Skipped(_), None) => None,
        // It failed for a while, and was handled after all.
        (Fate::Handled, Some(row)) if row.state == ParkedState::Done => None,
        (Fate::Handled | Fate::Skipped(_), Some(row)) => Some(format!(
            "should not be parked, is {} for {:?}",
            row.state.as_str(),
            row.reason
        )),
    }
}

/// I15: customers in whose way odd records were put have no order that is not final.
pub async fn i15_nobody_waits_for_an_odd_record(
    world: &World,
    mongo: &Mongo,
    found: &mut Differences,
) -> anyhow::Result<()> {
    let orders = mongo.database("orders").collection::<Document>("orders");
    let customers: BTreeSet<_> = world.customers.iter().collect();
    for customer in customers {
        let id = bson::Uuid::from_bytes(customer.into_bytes());
        let open = orders
            .count_documents(doc! { "customerId": id, "status": 0 })
            .await?;
        let fault = (open > 0).then(|| format!("{open} orders are not final; look at orders"));
        found.check(
            Invariant::NoneWaitsForOthers,
            format_args!("customer {customer}"),
            fault,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: ParkedState, reason: &str) -> Option<Row> {
        Some(Row {
            id: ParkedId::of(TOPIC, 0, 7),
            state,
            partition: 0,
            offset: 7,
            reason: Some(reason.to_owned()),
        })
    }

    #[test]
    fn another_fate_than_the_named_one_is_told() {
        let dead = Fate::Dead("malformed-event");
        assert_eq!(fault(dead, row(ParkedState::Parked, "malformed-event")), None);
        assert!(fault(dead, None).is_some());
        assert!(fault(dead, row(ParkedState::Parked, "transient")).is_some());
        assert!(fault(dead, row(ParkedState::Waiting, "malformed-event")).is_some());
        for fate in [Fate::Handled, Fate::Skipped("tombstone")] {
            assert_eq!(fault(fate, None), None);
            assert!(fault(fate, row(ParkedState::Parked, "malformed-event")).is_some());
        }
        assert_eq!(fault(Fate::Handled, row(ParkedState::Done, "transient")), None);
    }
}
