//! A partition without a leader for a while: orders of the other partitions go on becoming final
//! meanwhile (I15), those of this one do when it is back (I5).

use std::time::Duration;

use contracts::OrderStatus;
use mongodb::{
    Client as Mongo,
    bson::{Document, deserialize_from_document, doc},
};
use serde::Serialize;
use shared::environment::Timestamp;

use super::{
    FINAL_WITHIN,
    cluster::{LONE, partition_of},
    faults::Struck,
    schedule::Target,
    watch,
};
use crate::audit::{
    database::OrderRow,
    differences::{Differences, Invariant},
};

/// The group and the metadata lose a broker, too. Others take over, and an order of a healthy partition
/// goes all the way again within this time.
const GAP: Duration = Duration::from_secs(15);

/// One time without a leader, and what became of orders.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Window {
    /// In seconds since the load began: from the kill of the broker until it was ready again.
    pub from: f64,
    /// See `from`.
    pub until: f64,
    /// Orders of the other partitions that were accepted in it.
    pub others: u64,
    /// Those of them that were final before its end.
    pub others_final: u64,
    /// The longest time that one of them was open, in seconds.
    pub others_longest_wait: f64,
    /// The longest time in it without an order that went all the way, in the worst of the other
    /// partitions.
    pub others_longest_gap: f64,
    /// Orders of the partition without a leader that were accepted before its end and not final yet.
    pub sick: u64,
    /// When the last of them was final, in seconds after its end.
    pub sick_final_after: f64,
}

/// An order: when it was accepted and when it became final, in seconds since the load began.
struct Order {
    about: String,
    sick: bool,
    from: f64,
    to: Option<f64>,
}

/// Looks at all orders that fell into such a time.
pub async fn look(
    mongo: &Mongo,
    (struck, probes): (&[Struck], &[watch::Probes]),
    begin: Timestamp,
    found: &mut Differences,
) -> anyhow::Result<Vec<Window>> {
    let lone = Target::Node(super::cluster::Role::OnlyCopy).to_string();
    let mut windows: Vec<Window> = struck
        .iter()
        .filter(|struck| struck.target == lone)
        .map(|struck| Window {
            from: struck.from,
            until: struck.until,
            ..Window::default()
        })
        .collect();
    if windows.is_empty() {
        return Ok(windows);
    }
    let collection = mongo.database("orders").collection::<Document>("orders");
    let mut cursor = collection.find(doc! {}).await?;
    while cursor.advance().await? {
        let row: OrderRow = deserialize_from_document(cursor.deserialize_current()?)?;
        let order = order(&row, begin);
        for window in &mut windows {
            window.take(&order, found);
        }
    }
    for window in &mut windows {
        window.judge(probes, found);
    }
    Ok(windows)
}

fn order(row: &OrderRow, begin: Timestamp) -> Order {
    let seconds = |at: Timestamp| at.since(begin).as_secs_f64();
    let is_final = row.status != OrderStatus::Created;
    Order {
        about: format!("order {}", row.id),
        sick: partition_of(row.customer_id.0) == LONE,
        from: seconds(row.created_at),
        to: is_final.then(|| seconds(row.updated_at)),
    }
}

impl Window {
    fn take(&mut self, order: &Order, found: &mut Differences) {
        let Order {
            about,
            sick,
            from,
            to,
        } = order;
        let fell_in = (self.from..self.until).contains(from);
        let to = to.unwrap_or(f64::INFINITY);
        if *sick && *from < self.until && to >= self.until {
            self.sick += 1;
            let after = to - self.until;
            self.sick_final_after = self.sick_final_after.max(after);
            let fault = (after > FINAL_WITHIN.as_secs_f64())
                .then(|| format!("final {after:.1} s after its partition had a leader again"));
            found.check(Invariant::FinalInTime, about, fault);
        }
        if !sick && fell_in {
            self.others += 1;
            self.others_final += u64::from(to <= self.until);
            let wait = to - from;
            self.others_longest_wait = self.others_longest_wait.max(wait);
            let fault = (wait > FINAL_WITHIN.as_secs_f64())
                .then(|| format!("open for {wait:.1} s while another partition had no leader"));
            found.check(Invariant::NoneWaitsForOthers, about, fault);
        }
    }

    fn judge(&mut self, probes: &[watch::Probes], found: &mut Differences) {
        for (partition, probes) in probes.iter().enumerate().take(LONE as usize) {
            let ends = super::world::lock(probes);
            let within = ends
                .iter()
                .map(|(_, to)| *to)
                .filter(|to| (self.from..self.until).contains(to));
            let mut ends: Vec<f64> = [self.from, self.until].into_iter().chain(within).collect();
            ends.sort_by(f64::total_cmp);
            let gap = ends.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
            self.others_longest_gap = self.others_longest_gap.max(gap);
            let fault = (gap > GAP.as_secs_f64()).then(|| {
                format!("no order went all the way for {gap:.1} s while partition {LONE} had no leader")
            });
            found.check(
                Invariant::NoneWaitsForOthers,
                format_args!("partition {partition}"),
                fault,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn order(sick: bool, from: f64, to: Option<f64>) -> Order {
        Order {
            about: "order".to_owned(),
            sick,
            from,
            to,
        }
    }

    #[test]
    fn an_order_that_waits_for_another_partition_is_told_and_so_is_a_late_one() {
        let mut window = Window {
            from: 10.0,
            until: 50.0,
            ..Window::default()
        };
        let mut found = Differences::default();
        for (sick, from, to) in [
            (false, 12.0, Some(12.1)),
            (false, 9.0, Some(60.0)),
            (true, 12.0, Some(51.0)),
            (true, 8.0, Some(8.1)),
        ] {
            window.take(&order(sick, from, to), &mut found);
        }
        assert_eq!(found.total(), 0);
        assert_eq!((window.others, window.others_final, window.sick), (1, 1, 1));
        window.take(&order(false, 11.0, Some(49.0)), &mut found);
        assert_eq!(found.found(Invariant::NoneWaitsForOthers), 1);
        window.take(&order(true, 11.0, None), &mut found);
        assert_eq!(found.found(Invariant::FinalInTime), 1);
    }

    #[test]
    fn a_healthy_partition_that_stands_still_is_told() {
        let mut window = Window {
            from: 10.0,
            until: 50.0,
            ..Window::default()
        };
        let every_second = || Mutex::new((0..60).map(|at| (f64::from(at), f64::from(at))).collect());
        let mut found = Differences::default();
        window.judge(&[every_second(), every_second(), Mutex::default()], &mut found);
        assert_eq!((found.total(), window.others_longest_gap), (0, 1.0));
        window.judge(&[every_second(), Mutex::default(), Mutex::default()], &mut found);
        assert_eq!(found.found(Invariant::NoneWaitsForOthers), 1);
    }
}
