//! The behaviour of Orders: one actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: one file `on_<event>.rs` and one line in [`start`].

use actix::{Actor, Recipient};
use contracts::OrderValidated;
use shared::{
    actors::{
        consumer::Routes,
        repository::{Execute, Find, List},
    },
    service::Kit,
};

pub mod backlog;
pub mod on_order_validated;
pub mod order_watch;
pub mod reannouncement;
pub mod repository;

use backlog::{Backlog, BacklogActor, BacklogSettings, Limits};
use on_order_validated::OnOrderValidatedHandler;
use order_watch::{AwaitFinal, OrderIsFinal, OrderWatchActor};
use reannouncement::{ReannouncementActor, SeenOpen};
use repository::{CancelOrder, CreateOrder, OrdersWorkspace};

use crate::domain::Order;

/// The actors that HTTP endpoints ask.
#[derive(Clone)]
pub struct Endpoints {
    /// Creates an order.
    pub create: Recipient<Execute<CreateOrder>>,
    /// Cancels an order.
    pub cancel: Recipient<Execute<CancelOrder>>,
    /// Reads orders.
    pub find: Recipient<Find<Order>>,
    /// Pages through orders.
    pub list: Recipient<List<Order>>,
    /// Waits for an order to become final.
    pub watch: Recipient<AwaitFinal>,
    /// Tells those who wait.
    pub finished: Recipient<OrderIsFinal>,
    /// How many orders are open.
    pub backlog: Backlog,
}

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<OrdersWorkspace>) -> (Endpoints, Routes) {
    let repository = &kit.repository;
    let watch =
        OrderWatchActor::new(repository.clone().recipient(), kit.essential("OrderWatchActor")).start();
    let seen_open = SeenOpen::default();
    ReannouncementActor::new(
        repository.clone().recipient(),
        repository.clone().recipient(),
        kit.environment.clone(),
        kit.reannounce_after,
        (kit.metrics.clone(), seen_open.clone()),
        kit.essential("ReannouncementActor"),
    )
    .start();
    let backlog = Backlog::new(Limits {
        all: kit.max_open_orders,
        of_customer: kit.max_open_orders_per_customer,
    });
    BacklogActor::new(BacklogSettings {
        backlog: backlog.clone(),
        seen_open,
        list: repository.clone().recipient(),
        count: repository.clone().recipient(),
        environment: kit.environment.clone(),
        after: kit.reannounce_after,
        metrics: kit.metrics.clone(),
        essential: kit.essential("BacklogActor"),
    })
    .start();
    let on_order_validated = OnOrderValidatedHandler::new(
        repository.clone().recipient(),
        watch.clone().recipient(),
        kit.essential("OnOrderValidatedHandler"),
    );
    let routes = Routes::default().on::<OrderValidated>(on_order_validated.start().recipient());
    let endpoints = Endpoints {
        create: repository.clone().recipient(),
        cancel: repository.clone().recipient(),
        find: repository.clone().recipient(),
        list: repository.clone().recipient(),
        watch: watch.clone().recipient(),
        finished: watch.recipient(),
        backlog,
    };
    (endpoints, routes)
}
