//! The actor that knows who waits for which order to become final (`?wait=2s`).
//!
//! Asked by HTTP endpoints; told by whoever finishes an order in this process, which costs nothing.
//! Orders that another instance finishes are found by asking the RepositoryActor: one look at a time,
//! for at most `IDS_IN_A_LOOK` orders, and for each order less often the longer it is waited for. So
//! what waiting costs does not grow with those who wait. When it fails, callers see their order as it
//! was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, SpawnHandle,
    WrapFuture,
};
use contracts::OrderId;
use shared::actors::{essential::Essential, repository::Find};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};

use crate::domain::Order;

/// How often somebody is looked for whose order is due to be looked up.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An order is looked up after this time, then after twice that, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Nobody learns later than that, and what an idle wait takes, what another instance has finished,
/// as long as fewer wait than are looked up in this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Reading so many takes a few milliseconds, which others must not notice.
const IDS_IN_A_LOOK: usize = 250;
/// More callers are not kept waiting: each holds a connection and a few hundred bytes.
const MOST_WAITERS: usize = 20_000;
/// Orders that became final a moment ago and are remembered: one may become final between the answer
/// to its command and the wait for it.
const REMEMBERED: usize = 512;

/// Waits until an order is final, at most `patience`; answers it if it is. Where too many wait
/// already, the answer comes at once.
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
    waiting: BTreeMap<OrderId, Awaited>,
    /// When which order is to be looked up; those of the look under way are not in it.
    due: BTreeSet<(Instant, OrderId)>,
    places: Arc<Semaphore>,
    finished: Finished,
    /// Runs while somebody waits.
    ticking: Option<SpawnHandle>,
    looking: bool,
    _essential: Essential,
}

/// An order that somebody waits for.
struct Awaited {
    callers: Vec<oneshot::Sender<Order>>,
    /// How often it was looked up.
    looks: u32,
    /// `None`: now.
    due: Option<Instant>,
}

/// The orders that became final last: all of the newer half, and those before them.
#[derive(Default)]
struct Finished {
    newer: BTreeMap<OrderId, Order>,
    older: BTreeMap<OrderId, Order>,
}

impl Finished {
    fn remember(&mut self, order: Order) {
        if self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(order.id, order);
    }

    fn recall(&self, id: OrderId) -> Option<Order> {
        self.newer.get(&id).or_else(|| self.older.get(&id)).cloned()
    }
}

impl OrderWatchActor {
    /// An actor that looks orders up there.
    pub fn new(repository: Recipient<Find<Order>>, essential: Essential) -> OrderWatchActor {
        OrderWatchActor {
            repository,
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            places: Arc::new(Semaphore::new(MOST_WAITERS)),
            finished: Finished::default(),
            ticking: None,
            looking: false,
            _essential: essential,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        let ids = self.take_due(Instant::now());
        if self.waiting.is_empty() {
            if let Some(ticking) = self.ticking.take() {
                ctx.cancel_future(ticking);
            }
            return;
        }
        if ids.is_empty() {
            return;
        }
        self.looking = true;
        let found = self.repository.send(Find::new(ids.iter().copied()));
        let tell = found.into_actor(self).map(move |found, actor, _| {
            actor.looking = false;
            let found = found.ok().and_then(Result::ok).unwrap_or_default();
            found
                .into_iter()
                .filter(|order| order.status.is_final())
                .for_each(|order| actor.tell(order));
            ids.into_iter().for_each(|id| actor.look_again(id));
        });
        ctx.spawn(tell);
    }

    /// The orders that are to be looked up now, those that are due longest first.
    fn take_due(&mut self, now: Instant) -> Vec<OrderId> {
        let mut ids = Vec::new();
        while ids.len() < IDS_IN_A_LOOK
            && let Some(&(due, id)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            let Some(awaited) = self.waiting.get_mut(&id) else {
                continue;
            };
            // Callers whose time was up have hung up.
            awaited.callers.retain(|caller| !caller.is_closed());
            if awaited.callers.is_empty() {
                self.waiting.remove(&id);
            } else {
                awaited.due = None;
                ids.push(id);
            }
        }
        ids
    }

    fn look_again(&mut self, id: OrderId) {
        // One that was told and is awaited anew is due already.
        if let Some(awaited) = self.waiting.get_mut(&id).filter(|awaited| awaited.due.is_none()) {
            awaited.looks += 1;
            let pause = FIRST_LOOK
                .saturating_mul(1 << awaited.looks.min(16))
                .min(LONGEST_PAUSE);
            let due = Instant::now() + pause;
            awaited.due = Some(due);
            self.due.insert((due, id));
        }
    }

    fn tell(&mut self, order: Order) {
        if let Some(awaited) = self.waiting.remove(&order.id) {
            if let Some(due) = awaited.due {
                self.due.remove(&(due, order.id));
            }
            for caller in awaited.callers {
                let _ = caller.send(order.clone());
            }
        }
        self.finished.remember(order);
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
        if let Some(order) = self.finished.recall(order_id) {
            return Box::pin(async { Some(order) });
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Box::pin(async { None });
        };
        let (caller, told) = oneshot::channel();
        let due = Instant::now() + FIRST_LOOK;
        let awaited = self.waiting.entry(order_id).or_insert_with(|| {
            self.due.insert((due, order_id));
            Awaited {
                callers: Vec::new(),
                looks: 0,
                due: Some(due),
            }
        });
        awaited.callers.push(caller);
        if self.ticking.is_none() {
            self.ticking = Some(ctx.run_interval(LOOK_EVERY, Self::look));
        }
        Box::pin(async move {
            let told = timeout(patience, told).await;
            drop(place);
            told.ok()?.ok()
        })
    }
}

impl Handler<OrderIsFinal> for OrderWatchActor {
    type Result = ();

    fn handle(&mut self, OrderIsFinal(order): OrderIsFinal, _: &mut Context<Self>) {
        self.tell(order);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use actix::Addr;
    use contracts::{CustomerId, OrderStatus};
    use shared::{
        actors::{
            essential::Essentials,
            repository::{Found, RepositoryError},
        },
        envelope::Context as EventContext,
        environment::Timestamp,
        money::Money,
    };
    use tokio::time::sleep;
    use uuid::Uuid;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn order(id: u128, status: OrderStatus) -> Order {
        Order {
            id: OrderId(Uuid::from_u128(id)),
            customer_id: CustomerId(Uuid::from_u128(1)),
            amount: Money::units(1),
            status,
            reason: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            context: EventContext::default(),
            end_context: None,
            announced_again: Default::default(),
        }
    }

    /// What the repository was asked for, and what it will find.
    #[derive(Default)]
    struct Seen {
        looks: Vec<Vec<Uuid>>,
        under_way: usize,
        most_under_way: usize,
        stored: Vec<Order>,
    }

    /// In the place of the repository: takes `takes` for each look.
    struct Probe {
        seen: Arc<Mutex<Seen>>,
        takes: Duration,
    }

    impl Actor for Probe {
        type Context = Context<Self>;
    }

    impl Handler<Find<Order>> for Probe {
        type Result = ResponseFuture<Result<Found<Order>, RepositoryError>>;

        fn handle(&mut self, find: Find<Order>, _: &mut Context<Self>) -> Self::Result {
            let (seen, takes) = (self.seen.clone(), self.takes);
            {
                let mut seen = seen.lock().unwrap();
                seen.under_way += 1;
                seen.most_under_way = seen.most_under_way.max(seen.under_way);
                seen.looks.push(find.ids().to_vec());
            }
            Box::pin(async move {
                sleep(takes).await;
                let mut seen = seen.lock().unwrap();
                seen.under_way -= 1;
                let asked = |order: &&Order| find.ids().contains(&order.id.0);
                Ok(Found {
                    documents: seen.stored.iter().filter(asked).cloned().collect(),
                    ..Found::default()
                })
            })
        }
    }

    /// With time that passes when nothing else is left to do.
    fn watch(takes: Duration) -> (Addr<OrderWatchActor>, Arc<Semaphore>, Arc<Mutex<Seen>>) {
        tokio::time::pause();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let probe = Probe {
            seen: seen.clone(),
            takes,
        };
        let (essentials, _) = Essentials::new();
        let repository = probe.start().recipient();
        let watch = OrderWatchActor::new(repository, essentials.guard("OrderWatchActor"));
        let places = watch.places.clone();
        (watch.start(), places, seen)
    }

    fn wait(id: u128, patience: Duration) -> AwaitFinal {
        AwaitFinal {
            order_id: OrderId(Uuid::from_u128(id)),
            patience,
        }
    }

    #[actix::test]
    async fn an_order_is_looked_up_less_often_the_longer_it_is_waited_for() {
        let (watch, places, seen) = watch(Duration::ZERO);
        assert_eq!(watch.send(wait(1, LONG)).await.unwrap(), None);
        let looks = seen.lock().unwrap().looks.len();
        // 0.1, 0.3, 0.7, 1.5, 3.1 s and every 2 s from there on.
        assert!((15..=19).contains(&looks), "{looks} looks");
        assert_eq!(places.available_permits(), MOST_WAITERS);
        sleep(LONG).await;
        let afterwards = seen.lock().unwrap().looks.len();
        assert_eq!(afterwards, looks, "nobody waits, nothing is looked up");
    }

    #[actix::test]
    async fn looks_never_overlap_and_are_bounded_however_many_wait() {
        let (watch, _, seen) = watch(Duration::from_millis(350));
        let waiting: Vec<_> = (1..=2000)
            .map(|id| actix::spawn(watch.send(wait(id, LONG))))
            .collect();
        sleep(Duration::from_secs(5)).await;
        seen.lock().unwrap().stored = (1..=1000).map(|id| order(id, OrderStatus::Shipped)).collect();
        let mut shipped = 0;
        for waiting in waiting {
            shipped += usize::from(waiting.await.unwrap().unwrap().is_some());
        }
        assert_eq!(shipped, 1000);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.most_under_way, 1);
        let most = seen.looks.iter().map(Vec::len).max();
        assert_eq!(most, Some(IDS_IN_A_LOOK));
        // A look takes 350 ms and the next begins with the next tick.
        assert!(seen.looks.len() <= 30_000 / 400 + 1, "{} looks", seen.looks.len());
    }

    #[actix::test]
    async fn what_is_finished_here_is_told_at_once_and_without_a_look() {
        let (watch, _, seen) = watch(Duration::ZERO);
        let waiting = [(); 2].map(|()| actix::spawn(watch.send(wait(1, LONG))));
        tokio::task::yield_now().await;
        let begin = Instant::now();
        let shipped = order(1, OrderStatus::Shipped);
        watch.send(OrderIsFinal(shipped.clone())).await.unwrap();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap(), Some(shipped.clone()));
        }
        // It may have become final before anybody waited.
        let late = watch.send(wait(1, LONG)).await.unwrap();
        assert_eq!((late, begin.elapsed()), (Some(shipped), Duration::ZERO));
        assert!(seen.lock().unwrap().looks.is_empty());
    }

    #[actix::test]
    async fn beyond_the_bound_nobody_is_kept_waiting() {
        let (watch, places, _) = watch(Duration::ZERO);
        let others = places
            .clone()
            .try_acquire_many_owned(MOST_WAITERS as u32)
            .unwrap();
        let begin = Instant::now();
        assert_eq!(watch.send(wait(1, LONG)).await.unwrap(), None);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        drop(others);
        assert_eq!(watch.send(wait(1, Duration::from_secs(1))).await.unwrap(), None);
        assert!(
            begin.elapsed() >= Duration::from_secs(1),
            "there is a place again"
        );
    }
}
