//! The behaviour of Customers: one actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: one file `on_<event>.rs` and one line in [`start`].

use actix::{Actor, Recipient};
use contracts::{OrderCancelled, OrderCreated};
use shared::{
    actors::{
        consumer::Routes,
        repository::{Execute, Find, List},
    },
    service::Kit,
};

pub mod on_order_cancelled;
pub mod on_order_created;
pub mod repository;

use on_order_cancelled::OnOrderCancelledHandler;
use on_order_created::OnOrderCreatedHandler;
use repository::{ChangeCreditLimit, CreateCustomer, CustomersWorkspace};

use crate::domain::{Customer, Reservation};

/// The actors that HTTP endpoints ask.
#[derive(Clone)]
pub struct Endpoints {
    /// Creates a customer.
    pub create: Recipient<Execute<CreateCustomer>>,
    /// Changes a credit limit.
    pub change_credit_limit: Recipient<Execute<ChangeCreditLimit>>,
    /// Reads customers.
    pub find: Recipient<Find<Customer>>,
    /// Pages through customers.
    pub list: Recipient<List<Customer>>,
    /// Pages through reservations.
    pub reservations: Recipient<List<Reservation>>,
}

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<CustomersWorkspace>) -> (Endpoints, Routes) {
    let repository = &kit.repository;
    let on_order_created = OnOrderCreatedHandler::new(
        repository.clone().recipient(),
        kit.essential("OnOrderCreatedHandler"),
    );
    let on_order_cancelled = OnOrderCancelledHandler::new(
        repository.clone().recipient(),
        kit.essential("OnOrderCancelledHandler"),
    );
    let routes = Routes::default()
        .on::<OrderCreated>(on_order_created.start().recipient())
        .on::<OrderCancelled>(on_order_cancelled.start().recipient());
    let endpoints = Endpoints {
        create: repository.clone().recipient(),
        change_credit_limit: repository.clone().recipient(),
        find: repository.clone().recipient(),
        list: repository.clone().recipient(),
        reservations: repository.clone().recipient(),
    };
    (endpoints, routes)
}
