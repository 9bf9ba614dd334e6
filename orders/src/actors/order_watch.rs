//! The actor that knows who waits for which order to become final (`?wait=2s`).
//!
//! Asked by HTTP endpoints; told by whoever finishes an order in this process. Orders that another
//! instance finishes are found by asking the RepositoryActor now and then, for all of them at once
//! and only while somebody waits. When it fails, callers see their order as it was.

use std::{collections::BTreeMap, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, SpawnHandle,
    WrapFuture,
};
use shared::{
    actors::{essential::Essential, repository::Find},
    contracts::OrderId,
};
use tokio::sync::oneshot;

use crate::domain::Order;

/// How often orders are looked up that somebody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until an order is final, at most `patience`; answers it if it is.
#[derive(Message)]
#[rtype(result = "Option<Order>")]
pub struct AwaitFinal {
    /// Which.
    pub order_id: OrderId,
    /// How long.
    pub patience: Duration,
}

/// This order is final.
#[derive(Message)]
#[rtype(result = "()")]
pub struct OrderIsFinal(pub Order);

/// The actor.
pub struct OrderWatchActor {
    repository: Recipient<Find<Order>>,
    waiting: BTreeMap<OrderId, Vec<oneshot::Sender<Order>>>,
    /// Runs while somebody waits.
    looking: Option<SpawnHandle>,
    _essential: Essential,
}

impl OrderWatchActor {
    /// An actor that looks orders up there.
    pub fn new(repository: Recipient<Find<Order>>, essential: Essential) -> OrderWatchActor {
        OrderWatchActor {
            repository,
            waiting: BTreeMap::new(),
            looking: None,
            _essential: essential,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        // Callers whose time was up have hung up.
        self.waiting.retain(|_, callers| {
            callers.retain(|caller| !caller.is_closed());
            !callers.is_empty()
        });
        if self.waiting.is_empty() {
            if let Some(looking) = self.looking.take() {
                ctx.cancel_future(looking);
            }
            return;
        }
        let found = self.repository.send(Find::new(self.waiting.keys().copied()));
        let tell = found.into_actor(self).map(|found, actor, _| {
            let found = found.ok().and_then(Result::ok).unwrap_or_default();
            found
                .into_iter()
                .filter(|order| order.status.is_final())
                .for_each(|order| actor.tell(order));
        });
        ctx.spawn(tell);
    }

    fn tell(&mut self, order: Order) {
        for caller in self.waiting.remove(&order.id).into_iter().flatten() {
            let _ = caller.send(order.clone());
        }
    }
}

impl Actor for OrderWatchActor {
    type Context = Context<Self>;
}

impl Handler<AwaitFinal> for OrderWatchActor {
    type Result = ResponseFuture<Option<Order>>;

    fn handle(
        &mut self,
        AwaitFinal { order_id, patience }: AwaitFinal,
        ctx: &mut Context<Self>,
    ) -> Self::Result {
        let (caller, told) = oneshot::channel();
        let first = !self.waiting.contains_key(&order_id);
        self.waiting.entry(order_id).or_default().push(caller);
        if self.looking.is_none() {
            self.looking = Some(ctx.run_interval(LOOK_EVERY, Self::look));
        }
        if first {
            // It may have become final before anybody waited.
            ctx.notify(LookUp(order_id));
        }
        Box::pin(async move { tokio::time::timeout(patience, told).await.ok()?.ok() })
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LookUp(OrderId);

impl Handler<LookUp> for OrderWatchActor {
    type Result = ();

    fn handle(&mut self, LookUp(order_id): LookUp, ctx: &mut Context<Self>) {
        let found = self.repository.send(Find::new([order_id]));
        let this = ctx.address();
        actix::spawn(async move {
            let found = found.await.ok().and_then(Result::ok).unwrap_or_default();
            for order in found.into_iter().filter(|order| order.status.is_final()) {
                this.do_send(OrderIsFinal(order));
            }
        });
    }
}

impl Handler<OrderIsFinal> for OrderWatchActor {
    type Result = ();

    fn handle(&mut self, OrderIsFinal(order): OrderIsFinal, _: &mut Context<Self>) {
        self.tell(order);
    }
}
