//! How orders are stored, and the documents of a round.
//!
//! A command changes one order, which carries its events itself: one single-document write is atomic,
//! so no transaction is needed.

use contracts::OrderStatus;
use shared::{
    actors::repository::{CopiesOf, WorkspaceOf},
    document_store::{CollectionSettings, Document, Index},
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    events::{About, Event},
    saga::{AnnouncedAgain, Saga},
};
use uuid::Uuid;

use crate::domain::{Change, Final, Order};

/// The actor that owns the database.
pub type RepositoryActor = shared::actors::repository::RepositoryActor<OrdersWorkspace>;

/// Numbers the events of an order: its creation is the first, its end the second.
const CREATION: i64 = 1;
const END: i64 = 2;

/// The documents of a round.
pub type OrdersWorkspace = WorkspaceOf<Order>;

/// Puts a changed order and announces its end, which came at `now` from `context`.
pub fn put(documents: &mut OrdersWorkspace, change: &Change, context: &Context, now: Timestamp) {
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
    documents.put(order, [event]);
}

/// The event that announces the end of an order, which came at `time` from `context`.
pub fn ending<E: Event>(order: &Order, event: &E, time: Timestamp, context: &Context) -> OutboxEvent {
    OutboxEvent::new(event, order.id, END, crate::NAME, time, context)
}

impl Document for Order {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "orders",
        indexes: &[
            Index {
                fields: &["customerId", "status"],
            },
            Index { fields: &["status"] },
        ],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Saga for Order {
    type Workspace = OrdersWorkspace;
    const OPEN: (&'static str, i32) = ("status", OrderStatus::Created.number());
    const KEY: &'static str = "customerId";

    fn copies(documents: &mut OrdersWorkspace) -> &mut CopiesOf<Order> {
        documents.copies()
    }

    fn about(&self) -> About {
        self.created().about()
    }

    fn is_final(&self) -> bool {
        self.status.is_final()
    }

    fn since(&self) -> Timestamp {
        self.created_at
    }

    fn announced_again(&self) -> Option<AnnouncedAgain> {
        self.announced_again
    }

    fn with_announced_again(self, again: AnnouncedAgain) -> Order {
        Order {
            announced_again: Some(again),
            ..self
        }
    }

    fn announcement(&self) -> OutboxEvent {
        let time = self.created_at;
        OutboxEvent::new(
            &self.created(),
            self.id,
            CREATION,
            crate::NAME,
            time,
            &self.context,
        )
    }
}
