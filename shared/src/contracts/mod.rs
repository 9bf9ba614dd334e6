//! What the services agree on: ids, words, events. The only part of the kit that knows of orders
//! and customers.

mod events;
mod ids;

pub use events::{
    CreditLimitChanged, CustomerCreated, Event, EventError, OrderCancelled, OrderCreated, OrderShipped,
    OrderStatus, OrderValidated, read,
};
pub(crate) use ids::id;
pub use ids::{CancelReason, CustomerId, EventId, OrderId, Refusal};

/// The topic that all services share, unless a setting says otherwise.
pub const TOPIC: &str = "ReactiveMicroservices";

/// The topic of what could not be handled, beside a topic.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letters")
}

/// Whether an event of this name is part of these contracts.
pub fn is_known(name: &str) -> bool {
    let names = [
        CustomerCreated::NAME,
        CreditLimitChanged::NAME,
        OrderCreated::NAME,
        OrderValidated::NAME,
        OrderShipped::NAME,
        OrderCancelled::NAME,
    ];
    names.contains(&name)
}
