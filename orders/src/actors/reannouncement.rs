//! The actor that announces orders again which are not final after a while, so that none is
//! forgotten, whatever was lost on the way: Customers answers a known order with the same decision.
//!
//! Asks the RepositoryActor for open orders, page by page, and lets it announce those that are due:
//! the event goes through the outbox of its order as every other. When each was announced stands in
//! the order itself. So instances share the work without a word: who writes first announces, and the
//! version guard makes the others look again. A share by hash of the customer would need to know who
//! is alive; jitter alone would announce twice.
//!
//! One look handles so many orders; the next goes on behind them, so that the first ones never hide
//! those behind. When the actor fails, the service ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, ResponseActFuture, WrapFuture};
use contracts::OrderStatus;
use futures_util::future::join_all;
use shared::{
    actors::{
        essential::Essential,
        repository::{Execute, List},
    },
    document_store::{Document, IndexValue, Order as Direction, Query},
    environment::{Environment, Timestamp},
    metrics::Metrics,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::repository::AnnounceAgain;
use crate::domain::{Order, Pauses, announce_again};

/// Orders that are read at a time.
const PAGE: usize = 500;
/// Orders that are looked at in one go.
const AT_MOST: usize = 10_000;
/// Orders that are announced at a time: a part of what a round takes, so that requests are not
/// held up.
const AT_A_TIME: usize = 64;
/// Where the database takes longer, the next look goes on.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(10);

/// What the actor has seen of orders that are open for long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenForLong {
    /// How many.
    pub orders: usize,
    /// When the oldest was created.
    pub oldest: Option<Timestamp>,
}

impl OpenForLong {
    fn add(&mut self, order: &Order, after: Duration, now: Timestamp) {
        if order.created_at.is_past(after, now) {
            self.orders += 1;
            self.oldest = self.oldest.into_iter().chain([order.created_at]).min();
        }
    }
}

/// Tells another actor what was seen.
#[derive(Debug, Clone, Default)]
pub struct SeenOpen(Arc<Mutex<OpenForLong>>);

impl SeenOpen {
    /// As it was seen last.
    pub fn get(&self) -> OpenForLong {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, seen: OpenForLong) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// The actor.
pub struct ReannouncementActor {
    reader: Reader,
    environment: Environment,
    metrics: Metrics,
    seen_open: SeenOpen,
    pass: Pass,
    /// Since this process began; the first one does not wait for doubled pauses: whoever restarts a
    /// service may just have mended what held its orders up.
    first_pass: bool,
    _essential: Essential,
}

/// One way through all open orders, in several looks where there are many.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    /// Behind which order it goes on.
    after: Option<Uuid>,
    /// What it has seen until there.
    seen: OpenForLong,
    /// Announced in the last look.
    announced: usize,
    /// It has seen all.
    complete: bool,
}

impl ReannouncementActor {
    /// An actor that announces orders again `after` that time.
    pub fn new(
        list: Recipient<List<Order>>,
        announce: Recipient<Execute<AnnounceAgain>>,
        environment: Environment,
        after: Duration,
        (metrics, seen_open): (Metrics, SeenOpen),
        essential: Essential,
    ) -> ReannouncementActor {
        ReannouncementActor {
            reader: Reader {
                list,
                announce,
                after,
            },
            environment,
            metrics,
            seen_open,
            pass: Pass::default(),
            first_pass: true,
            _essential: essential,
        }
    }

    fn look_later(&self, ctx: &mut Context<Self>) {
        let pause = self.environment.jitter(self.reader.after / 2);
        ctx.run_later(pause, |actor, ctx| {
            let look = actor.look();
            ctx.spawn(look);
        });
    }

    fn look(&mut self) -> ResponseActFuture<Self, ()> {
        let (reader, pass, now) = (self.reader.clone(), self.pass, self.environment.now());
        let pauses = Pauses {
            after: reader.after,
            double: !self.first_pass,
        };
        let look = async move { reader.go_on(pass, pauses, now).await }.into_actor(self);
        Box::pin(look.map(|pass, actor, ctx| {
            actor.metrics.reannounced(pass.announced);
            if pass.complete || pass.seen.orders > actor.seen_open.get().orders {
                actor.seen_open.set(pass.seen);
            }
            actor.first_pass &= !pass.complete;
            actor.pass = if pass.complete { Pass::default() } else { pass };
            actor.look_later(ctx);
        }))
    }
}

impl Actor for ReannouncementActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.look_later(ctx);
    }
}

#[derive(Clone)]
struct Reader {
    list: Recipient<List<Order>>,
    announce: Recipient<Execute<AnnounceAgain>>,
    after: Duration,
}

impl Reader {
    /// Goes on with a pass: as it then is. Orders that cannot be read are left out; the repository
    /// tells of them.
    async fn go_on(&self, mut pass: Pass, pauses: Pauses, now: Timestamp) -> Pass {
        pass.announced = 0;
        for _ in 0..AT_MOST / PAGE {
            let query = Query {
                collection: Order::COLLECTION.name,
                matching: vec![("status", vec![IndexValue::Int(OrderStatus::Created.number())])],
                after: pass.after,
                order: Direction::Ascending,
                limit: PAGE,
            };
            let page = match self.list.send(List::new(query)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    log::warn!(target: "ReannouncementActor", "open orders cannot be read: {error}");
                    return pass;
                }
                Err(_) => return pass,
            };
            pass.after = page.next;
            page.iter()
                .for_each(|order| pass.seen.add(order, self.after, now));
            let due = |order: &&Order| announce_again(order, pauses, now).is_some();
            let due: Vec<_> = page.iter().filter(due).collect();
            for orders in due.chunks(AT_A_TIME) {
                pass.announced += self.announce(orders, pauses).await;
            }
            if pass.after.is_none() {
                pass.complete = true;
                break;
            }
        }
        pass
    }

    /// How many of the orders were announced; others are final or announced by somebody else.
    async fn announce(&self, orders: &[&Order], pauses: Pauses) -> usize {
        let announced = orders.iter().map(|order| {
            self.announce.send(Execute {
                command: AnnounceAgain {
                    order_id: order.id,
                    customer_id: order.customer_id,
                    pauses,
                },
                turn: None,
                deadline: Some(Instant::now() + ANNOUNCED_WITHIN),
                permit: None,
            })
        });
        let mut count = 0;
        for (order, announced) in orders.iter().zip(join_all(announced).await) {
            match announced {
                Ok(Ok(announced)) => count += usize::from(announced),
                Ok(Err(error)) => {
                    log::warn!(target: "ReannouncementActor", order_id:% = order.id;
                        "cannot be announced again: {error}");
                }
                Err(_) => {}
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use actix::{Handler, MessageResult};
    use contracts::{CustomerId, OrderId};
    use shared::{actors::repository::Found, envelope::Context as EventContext, money::Money};

    use super::*;
    use crate::domain::{Creation, NewOrder, create};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A repository with so many open orders, of which every hundredth cannot be read.
    #[derive(Default)]
    struct Repository {
        orders: u128,
        announced: Vec<OrderId>,
    }

    impl Actor for Repository {
        type Context = Context<Self>;
    }

    impl Handler<List<Order>> for Repository {
        type Result = MessageResult<List<Order>>;

        fn handle(&mut self, list: List<Order>, _: &mut Context<Self>) -> Self::Result {
            let after = list.query().after.map_or(0, |after| after.as_u128());
            let last = self.orders.min(after + list.query().limit as u128);
            let (unreadable, readable): (Vec<_>, Vec<_>) =
                (after + 1..=last).partition(|number| number % 100 == 0);
            MessageResult(Ok(Found {
                documents: readable.into_iter().map(order).collect(),
                unreadable: unreadable.iter().map(ToString::to_string).collect(),
                next: (last < self.orders).then(|| Uuid::from_u128(last)),
            }))
        }
    }

    impl Handler<Execute<AnnounceAgain>> for Repository {
        type Result = MessageResult<Execute<AnnounceAgain>>;

        fn handle(&mut self, execute: Execute<AnnounceAgain>, _: &mut Context<Self>) -> Self::Result {
            self.announced.push(execute.command.order_id);
            MessageResult(Ok(true))
        }
    }

    #[derive(actix::Message)]
    #[rtype(result = "Vec<OrderId>")]
    struct Announced;

    impl Handler<Announced> for Repository {
        type Result = MessageResult<Announced>;

        fn handle(&mut self, _: Announced, _: &mut Context<Self>) -> Self::Result {
            MessageResult(self.announced.clone())
        }
    }

    fn order(number: u128) -> Order {
        let new = NewOrder {
            id: OrderId(Uuid::from_u128(number)),
            customer_id: CustomerId(Uuid::from_u128(1)),
            amount: Money::units(1),
        };
        match create(None, &new, &EventContext::default(), Timestamp(0)) {
            Creation::Created(order) => order,
            other => panic!("a new order is created, not {other:?}"),
        }
    }

    #[test]
    fn what_one_look_does_not_reach_the_next_one_does() {
        actix::System::new().block_on(async {
            const ORDERS: u128 = AT_MOST as u128 + 700;
            let repository = Repository {
                orders: ORDERS,
                ..Repository::default()
            };
            let repository = repository.start();
            let reader = Reader {
                list: repository.clone().recipient(),
                announce: repository.clone().recipient(),
                after: HOUR,
            };
            let pauses = Pauses {
                after: HOUR,
                double: true,
            };
            let now = Timestamp(0).after(HOUR);
            let first = reader.go_on(Pass::default(), pauses, now).await;
            assert!(!first.complete);
            let second = reader.go_on(first, pauses, now).await;
            assert!(second.complete);

            // Those that cannot be read stop neither the page nor the pass.
            let readable = ORDERS - ORDERS / 100;
            let oldest = Some(Timestamp(0));
            let seen = OpenForLong {
                orders: readable as usize,
                oldest,
            };
            assert_eq!(second.seen, seen);
            assert_eq!((first.announced + second.announced) as u128, readable);
            let mut announced = repository.send(Announced).await.unwrap();
            announced.dedup();
            assert_eq!(announced.len() as u128, readable, "each once");
        });
    }
}
