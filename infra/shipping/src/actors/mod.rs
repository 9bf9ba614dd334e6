//! The behaviour of Shipping: an actor for each event that it handles, and the commands that its
//! RepositoryActor executes.

mod on_order_shipped;
mod prepare_shipment;

pub use on_order_shipped::OnOrderShipped;
