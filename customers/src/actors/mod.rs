//! The behaviour of Customers: an actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: a file `on_<event>.rs` and a line in [`start`].

use shared::{actors::consumer::Routes, service::Kit};

pub mod commands;
mod endpoints;
mod on_order_cancelled;
mod on_order_created;

pub use endpoints::Endpoints;
use on_order_cancelled::OnOrderCancelled;
use on_order_created::OnOrderCreated;

use crate::documents::CustomersWorkspace;

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<CustomersWorkspace>) -> (Endpoints, Routes) {
    let routes = Routes::default()
        .on(kit, OnOrderCreated)
        .on(kit, OnOrderCancelled);
    (Endpoints::new(kit), routes)
}
