//! The actor that knows how many orders are not final yet, and the bound on them.
//!
//! Orders are taken as long as Customers keeps up, or nearly: where more are open than
//! [`MAX_OPEN_ORDERS`](shared::settings::ServiceSettings::max_open_orders), in all instances
//! together, further ones are refused, so that an order that is accepted becomes final soon.
//!
//! Asks the RepositoryActor, four times a second while orders are open and never otherwise; in
//! between it counts what this instance has accepted. When it fails, the service ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};
use shared::{
    actors::{essential::Essential, repository::Count},
    contracts::OrderStatus,
    document_store::{Document, IndexValue, Order as Direction, Query},
    metrics::Metrics,
};

use crate::domain::Order;

/// How often open orders are counted.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// What is open, as far as this instance knows.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Known>);

#[derive(Debug)]
struct Known {
    most: usize,
    /// In the database, when they were counted last.
    counted: AtomicUsize,
    /// Accepted here since that count was begun.
    since: AtomicUsize,
    /// Asked for here and not decided.
    asked: AtomicUsize,
}

/// The place of an order that is asked for; free again when dropped, unless the order was accepted.
#[derive(Debug)]
pub struct Place(Arc<Known>);

impl Place {
    /// There is an order more.
    pub fn keep(self) {
        self.0.since.fetch_add(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Relaxed);
    }
}

impl Known {
    fn open(&self) -> usize {
        let in_database = self.counted.load(Relaxed) + self.since.load(Relaxed);
        in_database + self.asked.load(Relaxed)
    }
}

impl Backlog {
    /// At most about `most` orders.
    pub fn new(most: usize) -> Backlog {
        Backlog(Arc::new(Known {
            most,
            counted: AtomicUsize::new(0),
            since: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }))
    }

    /// A place for another order, if one may be taken.
    pub fn enter(&self) -> Option<Place> {
        self.0.asked.fetch_add(1, Relaxed);
        let place = Place(self.0.clone());
        (self.0.open() <= self.0.most).then_some(place)
    }
}

/// The actor.
pub struct BacklogActor {
    backlog: Backlog,
    repository: Recipient<Count>,
    metrics: Metrics,
    counting: bool,
    /// Once they were counted, it is known when there are none.
    counted_once: bool,
    _essential: Essential,
}

impl BacklogActor {
    /// An actor that keeps `backlog` up to date.
    pub fn new(
        backlog: Backlog,
        repository: Recipient<Count>,
        metrics: Metrics,
        essential: Essential,
    ) -> BacklogActor {
        BacklogActor {
            backlog,
            repository,
            metrics,
            counting: false,
            counted_once: false,
            _essential: essential,
        }
    }

    fn count(&mut self, ctx: &mut Context<Self>) {
        let idle = self.counted_once && self.backlog.0.open() == 0;
        if idle || std::mem::replace(&mut self.counting, true) {
            return;
        }
        let known = self.backlog.0.clone();
        // What is accepted while the count is under way may or may not be in it.
        let before = known.since.load(Relaxed);
        let open = self.repository.send(Count::new(Query {
            collection: Order::COLLECTION.name,
            matching: vec![("status", vec![IndexValue::Int(OrderStatus::Created.number())])],
            after: None,
            order: Direction::Ascending,
            limit: known.most,
        }));
        let counted = open.into_actor(self).map(move |open, actor, _| {
            actor.counting = false;
            match open {
                Ok(Ok(open)) => {
                    actor.counted_once = true;
                    known.counted.store(open, Relaxed);
                    known.since.fetch_sub(before, Relaxed);
                    actor.metrics.open_orders(open);
                }
                Ok(Err(error)) => {
                    log::debug!(target: "BacklogActor", "open orders cannot be counted: {error}");
                }
                Err(_) => {}
            }
        });
        ctx.spawn(counted);
    }
}

impl Actor for BacklogActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(COUNT_EVERY, Self::count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_what_is_accepted_take_a_place() {
        let backlog = Backlog::new(2);
        let (one, two) = (backlog.enter().unwrap(), backlog.enter().unwrap());
        assert!(backlog.enter().is_none());
        drop(one);
        two.keep();
        let three = backlog.enter().unwrap();
        assert!(backlog.enter().is_none());
        drop(three);
        assert_eq!(backlog.0.open(), 1);
    }
}
