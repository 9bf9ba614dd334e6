//! The behaviour of Shipping: an actor for each event, and the commands of its RepositoryActor.

pub mod on_order_shipped;
mod prepare_shipment;
