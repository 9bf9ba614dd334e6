//! What the services agree on: events, ids and words, as they stand in the topic. Golden files in the
//! tests hold them to the byte.

mod events;
mod ids;

pub use events::{
    CreditLimitChanged, CustomerCreated, OrderCancelled, OrderCreated, OrderShipped, OrderStatus,
    OrderValidated, ShipmentPrepared,
};
pub use ids::{CancelReason, CustomerId, OrderId, Refusal};
use shared::events::EventType;

/// The topic that all services share, unless a setting says otherwise.
pub const TOPIC: &str = "ReactiveMicroservices";

/// All events. A record with another name is somebody else's.
pub const EVENTS: &[EventType] = &[
    EventType::of::<CustomerCreated>(),
    EventType::of::<CreditLimitChanged>(),
    EventType::of::<OrderCreated>(),
    EventType::of::<OrderValidated>(),
    EventType::of::<OrderShipped>(),
    EventType::of::<OrderCancelled>(),
    EventType::of::<ShipmentPrepared>(),
];
