//! Customers: owns customers and their credit, and decides whether there is enough for an order.
//!
//! In the order in which a newcomer should read:
//!
//! - [`domain`]: the rules, pure. What reserving and releasing mean.
//! - [`documents`]: how customers and reservations are stored.
//! - [`actors`]: what happens when: one actor an event, the commands of the RepositoryActor, what
//!   endpoints ask.
//! - [`http`]: requests into messages.
//!
//! Everything else is the kit's, crate `shared`: [`shared::service`] shows how the parts come
//! together.
//!
//! Deliberately absent: no actor but the RepositoryActor holds a database handle; nothing here reads
//! an order, not even by id: what there is to know of orders came in events.

pub mod domain;
pub mod documents;
pub mod actors;
pub mod http;

use actix_web::web;
use shared::{
    actors::consumer::Routes,
    events::EventType,
    service::{Kit, Service},
    settings::Defaults,
};

/// The name of this service.
pub const NAME: &str = "customers";

/// The service.
pub struct Customers;

impl Service for Customers {
    const NAME: &'static str = NAME;
    const EVENTS: &'static [EventType] = contracts::EVENTS;
    const DEFAULTS: Defaults = Defaults {
        http_addr: "127.0.0.1:32001",
        admin_addr: "127.0.0.1:32011",
        topic: contracts::TOPIC,
        group: "customer-service",
        database: "customers",
    };
    const OPENAPI: &'static str = http::OPENAPI;
    type Settings = ();
    type Workspace = documents::CustomersWorkspace;
    type Endpoints = actors::Endpoints;

    fn start_actors(kit: &Kit<Self::Workspace>, (): &()) -> (Self::Endpoints, Routes) {
        actors::start(kit)
    }

    fn configure_http(endpoints: Self::Endpoints, config: &mut web::ServiceConfig) {
        http::configure(endpoints, config);
    }
}
