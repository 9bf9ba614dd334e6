//! Orders: owns orders and brings each to exactly one final state.
//!
//! In the order in which a newcomer should read:
//!
//! - [`domain`]: the rules, pure. What creating, validating and cancelling mean.
//! - [`documents`]: how orders are stored.
//! - [`actors`]: what happens when: one actor an event, the commands of the RepositoryActor, what
//!   endpoints ask.
//! - [`http`]: requests into messages.
//!
//! Everything else is the kit's, crate `shared`: [`shared::service`] shows how the parts come
//! together.
//!
//! Deliberately absent: no actor but the RepositoryActor holds a database handle; nothing here reads
//! a customer: whether there is credit is decided elsewhere and comes as an event.

pub mod domain;
pub mod documents;
pub mod actors;
pub mod http;
pub mod settings;

use actix_web::web;
use shared::{
    actors::consumer::Routes,
    events::EventType,
    service::{Kit, Service},
    settings::Defaults,
};

/// The name of this service.
pub const NAME: &str = "orders";

/// The service.
pub struct Orders;

impl Service for Orders {
    const NAME: &'static str = NAME;
    const EVENTS: &'static [EventType] = contracts::EVENTS;
    const DEFAULTS: Defaults = Defaults {
        http_addr: "127.0.0.1:32002",
        admin_addr: "127.0.0.1:32012",
        topic: contracts::TOPIC,
        group: "order-service",
        database: "orders",
    };
    const OPENAPI: &'static str = http::OPENAPI;
    type Settings = settings::Settings;
    type Workspace = documents::OrdersWorkspace;
    type Endpoints = actors::Endpoints;

    fn start_actors(kit: &Kit<Self::Workspace>, settings: &Self::Settings) -> (Self::Endpoints, Routes) {
        actors::start(kit, settings)
    }

    fn configure_http(endpoints: Self::Endpoints, config: &mut web::ServiceConfig) {
        http::configure(endpoints, config);
    }
}
