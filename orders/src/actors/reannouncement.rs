//! The actor that announces orders again which are not final after a while, so that none is
//! forgotten, whatever was lost on the way: Customers answers a known order with the same decision.
//!
//! Asks the RepositoryActor for such orders and the PublisherActor to publish. Waits until one
//! batch is in the log before it looks for the next; each time an order is announced again, the
//! pause until the next time doubles, so a Customers that is away is not drowned when it comes
//! back. When it fails, the service ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, ResponseActFuture, WrapFuture};
use shared::{
    actors::{essential::Essential, publisher::Publish, repository::List},
    contracts::{OrderId, OrderStatus},
    document_store::{Document, IndexValue, Order as Direction, Query},
    environment::Environment,
    metrics::Metrics,
};
use tokio::{sync::mpsc, time::Instant};

use super::repository::announcement;
use crate::domain::Order;

/// Orders that are read at a time.
const PAGE: usize = 500;
/// Orders that are looked at in one go, oldest first; more are looked at when these are final.
const AT_MOST: usize = 10_000;
/// The pause between announcements of an order doubles so often.
const DOUBLINGS: u32 = 7;

/// The actor.
pub struct ReannouncementActor {
    repository: Recipient<List<Order>>,
    publisher: Recipient<Publish>,
    environment: Environment,
    after: Duration,
    metrics: Metrics,
    /// When, and how often, an order that is still open was announced again by this process.
    announced: BTreeMap<OrderId, (Instant, u32)>,
    _essential: Essential,
}

impl ReannouncementActor {
    /// An actor that announces orders again `after` that time.
    pub fn new(
        repository: Recipient<List<Order>>,
        publisher: Recipient<Publish>,
        environment: Environment,
        after: Duration,
        metrics: Metrics,
        essential: Essential,
    ) -> ReannouncementActor {
        let announced = BTreeMap::new();
        ReannouncementActor {
            repository,
            publisher,
            environment,
            after,
            metrics,
            announced,
            _essential: essential,
        }
    }

    fn look_later(&self, ctx: &mut Context<Self>) {
        let pause = self.environment.jitter(self.after / 2);
        ctx.run_later(pause, |actor, ctx| {
            let look = actor.look();
            ctx.spawn(look);
        });
    }

    fn look(&mut self) -> ResponseActFuture<Self, ()> {
        let (repository, publisher) = (self.repository.clone(), self.publisher.clone());
        let look = async move { open_orders(&repository).await };
        let announce = look.into_actor(self).then(move |open, actor, _| {
            let overdue = actor.overdue(open);
            actor.metrics.reannounced(overdue.len());
            announce(publisher, overdue).into_actor(actor)
        });
        Box::pin(announce.map(|(), actor, ctx| actor.look_later(ctx)))
    }

    /// Of the open orders those that were announced long ago; they count as announced now.
    fn overdue(&mut self, open: Vec<Order>) -> Vec<Order> {
        let now = self.environment.now();
        let ids: BTreeSet<OrderId> = open.iter().map(|order| order.id).collect();
        self.announced.retain(|id, _| ids.contains(id));
        let overdue = |order: &Order| match self.announced.get(&order.id) {
            Some((last, times)) => last.elapsed() >= self.after * 2u32.pow((*times).min(DOUBLINGS)),
            // One of the future is of a clock that runs ahead: it would not be overdue for too long.
            None => order.created_at > now || now.since(order.created_at) >= self.after,
        };
        let overdue: Vec<_> = open.into_iter().filter(overdue).collect();
        for order in &overdue {
            let begun = || (Instant::now(), 0);
            let (last, times) = self.announced.entry(order.id).or_insert_with(begun);
            (*last, *times) = (Instant::now(), *times + 1);
        }
        overdue
    }
}

impl Actor for ReannouncementActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.look_later(ctx);
    }
}

/// Orders that are not final. Mostly there are few: what is open is what is under way.
async fn open_orders(repository: &Recipient<List<Order>>) -> Vec<Order> {
    let mut open: Vec<Order> = Vec::new();
    loop {
        let query = Query {
            collection: Order::COLLECTION.name,
            matching: vec![("status", vec![IndexValue::Int(OrderStatus::Created.number())])],
            after: open.last().map(Document::id),
            order: Direction::Ascending,
            limit: PAGE,
        };
        match repository.send(List::new(query)).await {
            Ok(Ok(page)) => {
                let last = page.len() < PAGE || open.len() + PAGE >= AT_MOST;
                open.extend(page);
                if last {
                    return open;
                }
            }
            Ok(Err(error)) => {
                log::warn!(target: "ReannouncementActor", "open orders cannot be read: {error}");
                return open;
            }
            Err(_) => return open,
        }
    }
}

async fn announce(publisher: Recipient<Publish>, overdue: Vec<Order>) {
    if overdue.is_empty() {
        return;
    }
    for order in &overdue {
        log::warn!(target: "ReannouncementActor", order_id:% = order.id, customer_id:% = order.customer_id;
            "not final yet, announced again");
    }
    let (settled, mut told) = mpsc::unbounded_channel();
    publisher.do_send(Publish {
        events: overdue.iter().map(announcement).collect(),
        settled,
    });
    while told.recv().await.is_some() {}
}
