//! What the RepositoryActor of Orders is asked to do, each command beside its decision.
//!
//! A command changes one order, which carries its events itself: one single-document write is
//! atomic, so no transaction is needed.

use contracts::{CustomerId, OrderId, OrderStatus, OrderValidated};
use shared::{
    actors::repository::{Command, Copies, CopiesOf, Parking, Workspace},
    document_store::{DocumentKey, key},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    events::Event,
    logging::Step,
};

use crate::domain::{self, Change, Creation, Final, NewOrder, Order, Pauses};

/// The actor, with the documents of this service.
pub type RepositoryActor = shared::actors::repository::RepositoryActor<OrdersWorkspace>;

const ACTOR: &str = "RepositoryActor";

/// Numbers the events of an order: its creation is the first, its end the second.
const CREATION: i64 = 1;
const END: i64 = 2;

/// The documents of a round.
#[derive(Default)]
pub struct OrdersWorkspace {
    orders: CopiesOf<Order>,
    parked: Parking,
}

impl Workspace for OrdersWorkspace {
    const ATOMIC: bool = false;
    fn collections(&mut self) -> Vec<&mut dyn Copies> {
        let mut collections: Vec<&mut dyn Copies> = vec![&mut self.orders];
        collections.extend(self.parked.collections());
        collections
    }
    fn parked(&mut self) -> &mut Parking {
        &mut self.parked
    }
}

/// The event that announces (again) that an order is created.
pub fn announcement(order: &Order) -> OutboxEvent {
    OutboxEvent::new(
        &order.created(),
        order.id,
        CREATION,
        crate::NAME,
        order.created_at,
        &order.context,
    )
}

/// The event that announces the end of an order, which came at `time` from `context`.
fn ending<E: Event>(order: &Order, event: &E, time: Timestamp, context: &Context) -> OutboxEvent {
    OutboxEvent::new(event, order.id, END, crate::NAME, time, context)
}

/// Puts a changed order and announces its end.
fn put(documents: &mut OrdersWorkspace, change: &Change, context: &Context, now: Timestamp) {
    let Change::Finished(order, announced) = change else {
        return;
    };
    let mut order = order.clone();
    let event = match announced {
        Final::Shipped(event) => ending(&order, event, now, context),
        Final::Cancelled(event) => {
            order.end_context = Some(context.clone());
            ending(&order, event, now, context)
        }
    };
    documents.orders.put(order, [event]);
}

/// Announces the end of a cancelled order again where Customers seems not to have heard of it. The
/// time and the context of its end are stored, so it is the same event to the byte.
fn heal(documents: &mut OrdersWorkspace, validation: &OrderValidated, now: Timestamp) {
    let Some(order) = documents.orders.get(validation.order_id) else {
        return;
    };
    if let Some(event) = domain::cancelled_again(order, validation, now) {
        let context = order.end_context.as_ref().unwrap_or(&order.context);
        let event = ending(order, &event, order.updated_at, context);
        documents.orders.put(order.clone(), [event]);
    }
}

/// Creates an order.
#[derive(Debug, Clone)]
pub struct CreateOrder {
    /// As asked for.
    pub new: NewOrder,
    /// The request.
    pub context: Context,
}

impl Command for CreateOrder {
    type Workspace = OrdersWorkspace;
    type Reply = Creation;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.new.id)]
    }

    fn expects_to_create(&self) -> Option<DocumentKey> {
        Some(key::<Order>(self.new.id))
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Creation {
        let creation = domain::create(documents.orders.get(self.new.id), &self.new, &self.context, now);
        if let Creation::Created(order) = &creation {
            documents.orders.put(order.clone(), [announcement(order)]);
        }
        creation
    }

    fn committed(&self, creation: &Creation) {
        let what = match creation {
            Creation::Created(_) => "order created",
            Creation::Repeated(_) => "order known already, answered again",
            Creation::Contradicts(_) => "order refused: another one has this id",
        };
        Step::about("order_id", &self.new.id)
            .with("customer_id", &self.new.customer_id)
            .with("amount", &self.new.amount)
            .with("correlation_id", &self.context.correlation_id)
            .log(log::Level::Info, ACTOR, format_args!("{what}"));
    }
}

/// Cancels an order on behalf of its customer.
#[derive(Debug, Clone)]
pub struct CancelOrder {
    /// Which.
    pub order_id: OrderId,
    /// The request.
    pub context: Context,
}

impl Command for CancelOrder {
    type Workspace = OrdersWorkspace;
    type Reply = Change;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.order_id)]
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Change {
        let change = domain::cancel(documents.orders.get(self.order_id), now);
        put(documents, &change, &self.context, now);
        change
    }

    fn committed(&self, change: &Change) {
        told(self.order_id, change, &self.context);
    }
}

/// Applies what Customers has decided about an order.
#[derive(Debug, Clone)]
pub struct ApplyValidation {
    /// What was decided.
    pub validation: OrderValidated,
    /// The event that says so.
    pub context: Context,
}

impl Command for ApplyValidation {
    type Workspace = OrdersWorkspace;
    type Reply = Change;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.validation.order_id)]
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> Change {
        let order = documents.orders.get(self.validation.order_id);
        let change = domain::apply_validation(order, &self.validation, now);
        put(documents, &change, &self.context, now);
        if let Change::AlreadyFinal(_) = change {
            heal(documents, &self.validation, now);
        }
        change
    }

    fn committed(&self, change: &Change) {
        told(self.validation.order_id, change, &self.context);
    }
}

/// Announces an order again that stays open, if that is due. Replies whether it was.
#[derive(Debug, Clone, Copy)]
pub struct AnnounceAgain {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: CustomerId,
    /// When it is due.
    pub pauses: Pauses,
}

impl Command for AnnounceAgain {
    type Workspace = OrdersWorkspace;
    type Reply = bool;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<Order>(self.order_id)]
    }

    fn decide(&self, documents: &mut OrdersWorkspace, now: Timestamp) -> bool {
        let order = documents.orders.get(self.order_id);
        let again = order.and_then(|order| domain::announce_again(order, self.pauses, now));
        let due = again.is_some();
        if let Some(order) = again {
            let event = announcement(&order);
            documents.orders.put(order, [event]);
        }
        due
    }

    fn committed(&self, announced: &bool) {
        if *announced {
            Step::about("order_id", &self.order_id)
                .with("customer_id", &self.customer_id)
                .log(
                    log::Level::Warn,
                    ACTOR,
                    format_args!("not final yet, announced again"),
                );
        }
    }
}

fn told(order_id: OrderId, change: &Change, context: &Context) {
    let (what, reason) = match change {
        Change::Finished(order, _) if order.status == OrderStatus::Shipped => ("order shipped", None),
        Change::Finished(order, _) => ("order cancelled", order.reason),
        Change::AlreadyFinal(_) => ("order is final already, unchanged", None),
        Change::Unknown => ("there is no such order", None),
    };
    Step::about("order_id", &order_id)
        .with_some("reason", &reason)
        .with("correlation_id", &context.correlation_id)
        .log(log::Level::Info, ACTOR, format_args!("{what}"));
}
