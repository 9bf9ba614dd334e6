//! The behaviour of Orders: an actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: a file `on_<event>.rs` and a line in [`start`].

use shared::{actors::consumer::Routes, saga::Sagas, service::Kit};

pub mod commands;
pub mod endpoints;
mod on_order_validated;

pub use endpoints::Endpoints;
use on_order_validated::OnOrderValidated;

use crate::{documents::OrdersWorkspace, settings::Settings};

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<OrdersWorkspace>, settings: &Settings) -> (Endpoints, Routes) {
    let sagas = Sagas::start(kit, settings.max_open_orders, settings.reannounce_after);
    let endpoints = Endpoints::new(kit, sagas.clone());
    let routes = Routes::default().on(kit, OnOrderValidated { sagas });
    (endpoints, routes)
}
