//! The actor that knows how many orders are not final yet, and the bounds on them.
//!
//! Orders are taken as long as Customers keeps up, or nearly: where more are open than
//! [`MAX_OPEN_ORDERS`](shared::settings::ServiceSettings::max_open_orders), in all instances
//! together, or more of one customer than
//! [`MAX_OPEN_ORDERS_PER_CUSTOMER`](shared::settings::ServiceSettings::max_open_orders_per_customer),
//! further ones are refused, so that an order that is accepted becomes final soon.
//!
//! Asks the RepositoryActor, four times a second while orders are open and every two seconds
//! otherwise: other instances accept orders, too. In between it counts what this instance has
//! accepted. When it fails, the service ends.

use std::{collections::BTreeMap, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};
use contracts::OrderStatus;
use shared::{
    actors::{
        essential::Essential,
        repository::{Count, List},
    },
    document_store::{Document, IndexValue, Order as Direction, Query},
    environment::{Environment, Timestamp},
    metrics::Metrics,
};
use tokio::time::Instant;

use super::reannouncement::{OpenForLong, SeenOpen};
use crate::domain::Order;

mod places;

pub use places::{Backlog, Full, Limits, Place};
use places::{Before, Counted};

/// How often open orders are counted.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// How often, while none are open as far as is known.
const COUNT_WHEN_IDLE: Duration = Duration::from_secs(2);
/// As many open orders as are read; more are counted by the index, and their ages are known from
/// what the ReannouncementActor has seen.
const READ: usize = 100;

/// The actor.
pub struct BacklogActor {
    backlog: Backlog,
    seen_open: SeenOpen,
    list: Recipient<List<Order>>,
    count: Recipient<Count>,
    environment: Environment,
    /// After that time an order is open for long.
    after: Duration,
    metrics: Metrics,
    counting: bool,
    counted: Option<Instant>,
    _essential: Essential,
}

/// What a [`BacklogActor`] is made of.
pub struct BacklogSettings {
    /// Kept up to date.
    pub backlog: Backlog,
    /// What the ReannouncementActor sees.
    pub seen_open: SeenOpen,
    /// Reads open orders.
    pub list: Recipient<List<Order>>,
    /// Counts open orders.
    pub count: Recipient<Count>,
    /// The clock.
    pub environment: Environment,
    /// After that time an order is open for long.
    pub after: Duration,
    /// Where it is shown.
    pub metrics: Metrics,
    /// Ends the process when the actor dies.
    pub essential: Essential,
}

/// What is open in the database.
struct Open {
    counted: Counted,
    oldest: Option<Timestamp>,
}

impl BacklogActor {
    /// An actor that keeps a backlog up to date.
    pub fn new(settings: BacklogSettings) -> BacklogActor {
        let BacklogSettings {
            backlog,
            seen_open,
            list,
            count,
            environment,
            after,
            metrics,
            essential,
        } = settings;
        BacklogActor {
            backlog,
            seen_open,
            list,
            count,
            environment,
            after,
            metrics,
            counting: false,
            counted: None,
            _essential: essential,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let rests = self
            .counted
            .is_some_and(|counted| self.backlog.is_empty() && counted.elapsed() < COUNT_WHEN_IDLE);
        if rests || std::mem::replace(&mut self.counting, true) {
            return;
        }
        // What is accepted while the count is under way may or may not be in it.
        let before = self.backlog.begin();
        let look = Look {
            list: self.list.clone(),
            count: self.count.clone(),
            now: self.environment.now(),
            after: self.after,
            seen: self.seen_open.get(),
        };
        let looked = async move {
            let open = look.open(&before).await;
            (before, open)
        };
        let looked = looked.into_actor(self).map(|(before, open), actor, _| {
            actor.counting = false;
            match open {
                Ok(open) => {
                    actor.counted = Some(Instant::now());
                    actor.backlog.counted(&before, &open.counted);
                    actor.metrics.open_orders(open.counted.all);
                    let now = actor.environment.now();
                    let age = open.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
                    actor.metrics.oldest_open(age);
                }
                Err(error) => {
                    log::debug!(target: "BacklogActor", "open orders cannot be counted: {error}");
                }
            }
        });
        ctx.spawn(looked);
    }
}

impl Actor for BacklogActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(COUNT_EVERY, Self::look);
    }
}

/// One look at the database.
struct Look {
    list: Recipient<List<Order>>,
    count: Recipient<Count>,
    now: Timestamp,
    after: Duration,
    seen: OpenForLong,
}

impl Look {
    async fn open(&self, before: &Before) -> Result<Open, String> {
        let page = self.list.send(List::new(self.query(None, READ))).await;
        let page = page
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let oldest = page.iter().map(|order| order.created_at).min();
        let old = page
            .iter()
            .filter(|order| order.created_at.is_past(self.after, self.now))
            .count();
        let (all, stuck, oldest) = match page.next {
            // One that cannot be read does not become final by itself.
            None => (
                page.len() + page.unreadable.len(),
                old + page.unreadable.len(),
                oldest,
            ),
            Some(_) => {
                let all = self.count(None, before.most).await?;
                let oldest = oldest.into_iter().chain(self.seen.oldest).min();
                (all, self.seen.orders.max(old).min(all), oldest)
            }
        };
        let mut customers = BTreeMap::new();
        for customer in &before.wanted {
            let open = self.count(Some(customer.0), before.most_of_customer).await?;
            customers.insert(*customer, open);
        }
        let counted = Counted {
            all,
            stuck,
            customers,
        };
        Ok(Open { counted, oldest })
    }

    async fn count(&self, customer: Option<uuid::Uuid>, most: usize) -> Result<usize, String> {
        let counted = self.count.send(Count::new(self.query(customer, most))).await;
        counted
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    fn query(&self, customer: Option<uuid::Uuid>, limit: usize) -> Query {
        let open = ("status", vec![IndexValue::Int(OrderStatus::Created.number())]);
        let customer = customer.map(|customer| ("customerId", vec![IndexValue::Uuid(customer)]));
        Query {
            collection: Order::COLLECTION.name,
            matching: customer.into_iter().chain([open]).collect(),
            after: None,
            order: Direction::Ascending,
            limit,
        }
    }
}
