//! Clients of both services: they create customers and orders, change limits, cancel, read, repeat
//! what got no answer with the same id, and hold the services to their answers.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use ::customers::Customers;
use contracts::{CustomerId, OrderId};
use futures_util::future::join_all;
use orders::{
    Orders,
    actors::endpoints::NotCreated,
    domain::{Change, Creation, NewOrder, Order},
};
use shared::{actors::repository::RepositoryError, admission::AskError, envelope::Context, money::Money};

use tokio::time::Instant;

use crate::{
    chance::Chance,
    faults::{Fault, Kind},
    instance::{Instance, World},
    invariants::{Invariant, Violation, i12, i16_not_stored, i16_stored},
    seen::Asked,
    wire::pause,
};

mod customers;

/// How long after the healing an instance may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// By then all instances of a calm seed are in their groups.
const ALL_HAVE_JOINED: Duration = Duration::from_secs(5);
/// How often a client repeats what got no answer.
const TRIES: usize = 12;

/// The instances that clients reach, and what they know in common.
pub struct Cluster {
    /// What is shared.
    pub world: Rc<World>,
    /// Instances of Orders.
    pub orders: Vec<Rc<Instance<Orders>>>,
    /// Instances of Customers.
    pub customers: Vec<Rc<Instance<Customers>>>,
    /// Orders as they were read last.
    read: RefCell<BTreeMap<OrderId, Order>>,
}

/// What an answer says about an order that somebody wanted to create.
#[allow(clippy::large_enum_variant, reason = "one at a time, for a moment")]
enum Answer {
    Stored(Creation),
    NothingStored,
    InDoubt,
}

/// One client.
pub struct Client {
    cluster: Rc<Cluster>,
    chance: Chance,
    customers: Vec<CustomerId>,
    orders: RefCell<Vec<OrderId>>,
}

impl Cluster {
    /// Nothing known yet.
    pub fn new(
        world: Rc<World>,
        orders: Vec<Rc<Instance<Orders>>>,
        customers: Vec<Rc<Instance<Customers>>>,
    ) -> Rc<Cluster> {
        Rc::new(Cluster {
            world,
            orders,
            customers,
            read: RefCell::default(),
        })
    }

    fn note<T>(&self, note: impl FnOnce(&mut Asked) -> T) {
        self.world.observer.with(|seen| note(&mut seen.asked));
    }

    fn violated(&self, invariant: Invariant, expected: String, found: String) {
        self.world
            .observer
            .violated(Violation::new(invariant, expected, found));
    }

    /// An order was answered: it must not be less than what was known when it was asked for.
    fn learn(&self, before: Option<Order>, id: OrderId, now: Option<&Order>) {
        if let Some(before) = before
            && let Err(violation) = i12(id, &before, now)
        {
            self.world.observer.violated(violation);
        }
        if let Some(now) = now {
            let mut read = self.read.borrow_mut();
            if now.status.is_final() || !read.contains_key(&id) {
                read.insert(id, now.clone());
            }
        }
    }

    fn known(&self, id: OrderId) -> Option<Order> {
        self.read.borrow().get(&id).cloned()
    }
}

impl Client {
    /// A client with these customers.
    pub fn new(cluster: Rc<Cluster>, chance: Chance, customers: Vec<CustomerId>) -> Client {
        Client {
            cluster,
            chance,
            customers,
            orders: RefCell::default(),
        }
    }

    /// Asks for one thing after the other until things stop going wrong.
    pub async fn run(self) {
        for customer in self.customers.clone() {
            // An order may come before its customer.
            if self.chance.strikes(0.6) {
                self.create_customer(customer).await;
            }
        }
        if self.cluster.world.kind == Kind::Calm {
            // Who joins takes partitions from others, and what was under way there is done again.
            pause(ALL_HAVE_JOINED).await;
        }
        let hurry = *self.chance.pick(&[20, 200, 1_500]);
        while self.cluster.world.wire.faults.is_active() {
            pause(self.chance.millis(0, hurry)).await;
            match self.chance.below(20) {
                0 => self.create_customer(*self.chance.pick(&self.customers)).await,
                1 | 2 => self.change_limit(*self.chance.pick(&self.customers)).await,
                3..=5 => self.read_some().await,
                6 | 7 => self.cancel_some().await,
                _ if self.orders.borrow().len() >= 25 => self.read_some().await,
                8..=10 => drop(join_all((0..5).map(|_| self.order())).await),
                11 => self.cancel_at_once().await,
                _ => self.order().await,
            }
        }
    }

    fn new_order(&self) -> NewOrder {
        let customer_id = if self.chance.strikes(0.05) {
            CustomerId(self.chance.uuid())
        } else {
            *self.chance.pick(&self.customers)
        };
        let amount = Money::units(1 + i64::try_from(self.chance.below(40)).unwrap_or(0));
        let id = OrderId(self.chance.uuid());
        self.orders.borrow_mut().push(id);
        NewOrder {
            id,
            customer_id,
            amount,
        }
    }

    async fn order(&self) {
        let new = self.new_order();
        let Some(order) = self.create_order(&new).await else {
            return;
        };
        if self.chance.strikes(0.1) {
            self.create_order(&new).await;
        }
        if self.chance.strikes(0.05) {
            self.contradict(&new).await;
        }
        if self.chance.strikes(0.15) {
            self.cancel(order.id).await;
        }
        if self.chance.strikes(0.2) {
            self.await_final(order.id).await;
        }
    }

    /// The cancel may well be there before the order.
    async fn cancel_at_once(&self) {
        let new = self.new_order();
        futures_util::future::join(self.create_order(&new), async {
            pause(self.chance.millis(0, 10)).await;
            self.cancel(new.id).await;
        })
        .await;
    }

    /// Once nothing goes wrong any more: every customer gets an order, whatever is parked.
    pub async fn order_for_all(self) {
        for customer_id in self.customers.clone() {
            let new = NewOrder {
                customer_id,
                ..self.new_order()
            };
            let sent = (new.customer_id, new.amount);
            self.cluster.note(|asked| asked.orders.insert(new.id, sent));
            let instance = self.chance.pick(&self.cluster.orders);
            // One that is full, because a partition has no leader, may say no.
            self.post_order(instance, new).await;
        }
    }

    /// Once nothing goes wrong any more: every instance takes an order or a limit, and answers.
    pub async fn find_all_well(self) {
        for instance in &self.cluster.customers {
            let customer_id = *self.chance.pick(&self.customers);
            let new = self.new_customer(customer_id);
            self.expect_answer("Customers", async || {
                self.post_customer(instance, new.clone()).await.is_some()
            })
            .await;
        }
        for instance in &self.cluster.orders {
            let new = self.new_order();
            let sent = (new.customer_id, new.amount);
            self.cluster.note(|asked| asked.orders.insert(new.id, sent));
            self.expect_answer("Orders", async || {
                self.post_order(instance, new.clone()).await.is_some()
            })
            .await;
        }
    }

    /// One that was started last may still wait for a call that was slow before all was healed.
    async fn expect_answer(&self, service: &str, ask: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while !ask().await {
            if Instant::now() >= deadline {
                let expected = format!("every instance of {service} answers once all is healed");
                return self
                    .cluster
                    .violated(Invariant::FinalInTime, expected, "no answer".into());
            }
            pause(Duration::from_millis(500)).await;
        }
    }

    /// Creates an order, or learns that it was created before.
    async fn create_order(&self, new: &NewOrder) -> Option<Order> {
        let sent = (new.customer_id, new.amount);
        self.cluster.note(|asked| asked.orders.insert(new.id, sent));
        let known = self.cluster.known(new.id);
        for answer in 0..TRIES {
            let instance = self.chance.pick(&self.cluster.orders);
            match self.post_order(instance, new.clone()).await {
                Some(Creation::Created(order) | Creation::Repeated(order)) => {
                    self.cluster.note(|asked| asked.acknowledged.insert(new.id));
                    if (order.customer_id, order.amount) != sent {
                        let expected = format!("{} answered as it was sent, {sent:?}", new.id);
                        self.cluster
                            .violated(Invariant::StoredIsSent, expected, format!("{order:?}"));
                    }
                    self.cluster.learn(known, new.id, Some(&order));
                    return Some(order);
                }
                Some(Creation::Contradicts(other)) => {
                    let expected = format!("{} is answered as the first time", new.id);
                    self.cluster.violated(
                        Invariant::StoredIsSent,
                        expected,
                        format!("it contradicts {other:?}"),
                    );
                    return None;
                }
                None if self.gives_up() => return None,
                None => self.before_the_next_try(answer).await,
            }
        }
        None
    }

    /// The id of an order with another amount: refused.
    async fn contradict(&self, new: &NewOrder) {
        let other = NewOrder {
            amount: Money::units(1_000_000),
            ..new.clone()
        };
        let instance = self.chance.pick(&self.cluster.orders);
        let answer = self.post_order(instance, other).await;
        if let Some(Creation::Created(order) | Creation::Repeated(order)) = answer {
            let expected = format!("{} with another amount is a conflict", new.id);
            self.cluster
                .violated(Invariant::StoredIsSent, expected, format!("{order:?}"));
        }
    }

    async fn post_order(&self, instance: &Instance<Orders>, new: NewOrder) -> Option<Creation> {
        let (context, id) = (self.context(), new.id);
        let answer =
            instance.ask(move |api| Box::pin(async move { api.endpoints.create(new, true, context).await }));
        let answer = answer.await.map(|answer| match answer {
            Ok(creation) => Answer::Stored(creation),
            Err(
                NotCreated::TooManyOpen(_)
                | NotCreated::Ask(AskError::Full | AskError::Repository(RepositoryError::Unavailable(_))),
            ) => Answer::NothingStored,
            Err(NotCreated::Ask(_)) => Answer::InDoubt,
        });
        self.hold_to_it(id, answer.as_ref());
        match answer? {
            Answer::Stored(creation) => Some(creation),
            Answer::NothingStored | Answer::InDoubt => None,
        }
    }

    /// I16: an answer is true at the moment at which it is given.
    fn hold_to_it(&self, id: OrderId, answer: Option<&Answer>) {
        let judged = self.cluster.world.observer.with(|seen| match answer {
            Some(Answer::Stored(Creation::Created(_) | Creation::Repeated(_))) => {
                seen.asked.refused.remove(&id);
                seen.asked.doubtful.insert(id);
                i16_stored(seen, id)
            }
            Some(Answer::NothingStored) if !seen.asked.doubtful.contains(&id) => {
                seen.asked.refused.insert(id);
                i16_not_stored(seen, id)
            }
            // Another try may still be under way, or it was another order.
            Some(Answer::Stored(Creation::Contradicts(_)) | Answer::NothingStored) => Ok(()),
            Some(Answer::InDoubt) | None => {
                seen.asked.refused.remove(&id);
                seen.asked.doubtful.insert(id);
                Ok(())
            }
        });
        if let Err(violation) = judged {
            self.cluster.world.observer.violated(violation);
        }
    }

    async fn cancel_some(&self) {
        if let Some(id) = self.some_order() {
            self.cancel(id).await;
        }
    }

    async fn cancel(&self, order_id: OrderId) {
        self.cluster.note(|asked| asked.cancels.insert(order_id));
        let known = self.cluster.known(order_id);
        for answer in 0..TRIES {
            let context = self.context();
            let instance = self.chance.pick(&self.cluster.orders);
            let asked = instance
                .ask(move |api| Box::pin(async move { api.endpoints.cancel(order_id, context).await }));
            match asked.await.and_then(Result::ok) {
                Some(Change::Finished(order, _)) => {
                    self.cluster.note(|asked| asked.cancelled.insert(order_id));
                    return self.cluster.learn(known, order_id, Some(&order));
                }
                Some(Change::AlreadyFinal(order)) => {
                    return self.cluster.learn(known, order_id, Some(&order));
                }
                Some(Change::Unknown) => return self.cluster.learn(known, order_id, None),
                None if self.gives_up() => return,
                None => self.before_the_next_try(answer).await,
            }
        }
    }

    async fn read_some(&self) {
        let Some(id) = self.some_order() else {
            return;
        };
        if self.chance.strikes(0.2) {
            return self.await_final(id).await;
        }
        let known = self.cluster.known(id);
        let instance = self.chance.pick(&self.cluster.orders);
        let found = instance.ask(move |api| Box::pin(async move { api.endpoints.find(id.0).await }));
        // One that cannot be read now is no order that is gone.
        if let Some(Ok(found)) = found.await
            && found.unreadable.is_empty()
        {
            self.cluster.learn(known, id, found.first());
        }
    }

    async fn await_final(&self, order_id: OrderId) {
        let known = self.cluster.known(order_id);
        let patience = Duration::from_secs(2);
        let instance = self.chance.pick(&self.cluster.orders);
        let told = instance
            .ask(move |api| Box::pin(async move { api.endpoints.until_final(order_id, patience).await }));
        if let Some(Some(order)) = told.await {
            self.cluster.learn(known, order_id, Some(&order));
        }
    }

    fn some_order(&self) -> Option<OrderId> {
        let orders = self.orders.borrow();
        (!orders.is_empty()).then(|| *self.chance.pick(&orders))
    }

    fn gives_up(&self) -> bool {
        let faults = &self.cluster.world.wire.faults;
        !faults.is_active() || faults.strikes(Fault::ClientHangsUp)
    }

    async fn before_the_next_try(&self, tries: usize) {
        let longest = 100 << tries.min(5);
        pause(self.chance.millis(10, longest)).await;
    }

    fn context(&self) -> Context {
        Context {
            correlation_id: self.chance.uuid().to_string(),
            causation_id: None,
            traceparent: None,
        }
    }
}
