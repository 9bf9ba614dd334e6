//! Orders of the past: final, with their reservations and customers, as the services write them and
//! sound together. Only their version is that of a first write, which they are. Their customers are
//! none of those that order during the run.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::ensure;
use contracts::{CustomerId, OrderId, OrderStatus};
use customers::domain::{Customer, Reservation, ReservationState};
use orders::domain::Order;
use shared::{
    document_store::{Commit, Document, DocumentStore, Outcome, Write, encode, key},
    envelope::Context,
    environment::{Environment, Timestamp},
    money::Money,
};
use uuid::{NoContext, Uuid};

use crate::workload::CREDIT;

/// Documents in one commit.
const BATCH: u64 = 1000;
/// What each order costs.
const AMOUNT: i64 = 50;
/// Between two orders.
const APART: Duration = Duration::from_millis(20);
/// Between the last of them and now.
const AGO: Duration = Duration::from_secs(3600);

/// Writes so many orders of so many customers into the databases of Orders and of Customers.
pub async fn fill(
    (orders, customers): (&dyn DocumentStore, &dyn DocumentStore),
    count: u64,
    of: u64,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    orders.prepare(vec![Order::COLLECTION]).await?;
    customers
        .prepare(vec![Customer::COLLECTION, Reservation::COLLECTION])
        .await?;
    let past = Past::new(count, of.clamp(1, count));
    for from in (0..count).step_by(BATCH as usize) {
        ensure!(!stop.load(Ordering::Relaxed), "stopped");
        let numbers = from..count.min(from + BATCH);
        let made: Vec<_> = numbers.map(|number| past.order(number)).collect();
        let (made, reserved): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        tokio::try_join!(commit(orders, &made), commit(customers, &reserved),)?;
    }
    let numbers: Vec<usize> = (0..past.customers.len()).collect();
    for numbers in numbers.chunks(BATCH as usize) {
        let made: Vec<_> = numbers.iter().map(|number| past.customer(*number)).collect();
        commit(customers, &made).await?;
    }
    Ok(())
}

async fn commit<D: Document>(store: &dyn DocumentStore, documents: &[D]) -> anyhow::Result<()> {
    let id = Uuid::now_v7();
    let write = |document: &D| {
        anyhow::Ok(Write {
            key: key::<D>(document.id()),
            expected_version: None,
            document: encode(document, 1, id, &[])?,
            carried: Vec::new(),
        })
    };
    let writes = documents.iter().map(write).collect::<anyhow::Result<Vec<_>>>()?;
    let outcomes = store
        .commit(Commit {
            id,
            atomic: false,
            writes,
        })
        .await?;
    let written = outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
    ensure!(written, "documents of the past are there already");
    Ok(())
}

struct Past {
    count: u64,
    customers: Vec<Uuid>,
    /// When the first order was made.
    begin: Timestamp,
}

impl Past {
    fn new(count: u64, customers: u64) -> Past {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(0);
        let Timestamp(now) = Environment::real().now();
        Past {
            count,
            customers: (0..customers).map(|_| Uuid::now_v7()).collect(),
            begin: Timestamp(now - millis(AGO) - millis(APART) * count.cast_signed()),
        }
    }

    /// Order number `number`, which was shipped, and its reservation.
    fn order(&self, number: u64) -> (Order, Reservation) {
        let of = number % self.customers.len() as u64;
        let customer_id = CustomerId(self.customers[of as usize]);
        let created_at = self
            .begin
            .after(APART * u32::try_from(number).unwrap_or(u32::MAX));
        let updated_at = created_at.after(Duration::from_millis(10));
        let id = OrderId(at(created_at));
        let amount = Money::units(AMOUNT);
        let context = Context {
            correlation_id: at(created_at).to_string(),
            ..Context::default()
        };
        let order = Order {
            id,
            customer_id,
            amount,
            status: OrderStatus::Shipped,
            reason: None,
            created_at,
            updated_at,
            context: context.clone(),
            end_context: None,
            announced_again: None,
        };
        let reservation = Reservation {
            id,
            customer_id,
            amount,
            state: ReservationState::Held,
            reason: None,
            decided_at: updated_at,
            updated_at,
            // What it came from is an event, with an id of its own.
            context: Context {
                causation_id: Some(at(created_at).to_string()),
                ..context
            },
        };
        (order, reservation)
    }

    /// A customer after all its orders.
    fn customer(&self, number: usize) -> Customer {
        let customers = self.customers.len() as u64;
        let one_more = u64::from((number as u64) < self.count % customers);
        let orders = (self.count / customers + one_more).cast_signed();
        let limit = Money::units(CREDIT.cast_signed());
        Customer {
            id: CustomerId(self.customers[number]),
            name: format!("Past customer {number}"),
            credit_limit: limit,
            initial_credit_limit: limit,
            reserved: Money::units(AMOUNT * orders),
            limit_changes: 0,
            created_at: self.begin,
            updated_at: self
                .begin
                .after(APART * u32::try_from(self.count).unwrap_or(u32::MAX)),
        }
    }
}

/// An id that was made then.
fn at(time: Timestamp) -> Uuid {
    let seconds = (time.0 / 1000).cast_unsigned();
    let nanos = u32::try_from(time.0 % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos))
}
