//! Shipping: prepares a shipment for each order that is shipped. An example of a service, to copy.

mod actors;
mod domain;
mod http;
mod settings;

use actix_web::web;
use actors::on_order_shipped::OnOrderShipped;
use domain::Shipment;
use settings::Settings;
use shared::{
    actors::{consumer::Routes, repository::WorkspaceOf},
    admission::Reader,
    events::EventType,
    service::{Kit, Service},
    settings::Defaults,
};

const NAME: &str = "shipping";
/// The service.
pub struct Shipping;

impl Service for Shipping {
    const NAME: &'static str = NAME;
    const EVENTS: &'static [EventType] = contracts::EVENTS;
    const DEFAULTS: Defaults = Defaults {
        http_addr: "127.0.0.1:32003",
        admin_addr: "127.0.0.1:32013",
        topic: contracts::TOPIC,
        group: "shipping-service",
        database: "shipping",
    };
    const OPENAPI: &'static str = include_str!("openapi.json");
    type Settings = Settings;
    type Workspace = WorkspaceOf<Shipment>;
    type Endpoints = Reader<Shipment>;

    /// To handle another event: a file `actors/on_<event>.rs` and a line here.
    fn start_actors(kit: &Kit<Self::Workspace>, settings: &Settings) -> (Reader<Shipment>, Routes) {
        let prefix = settings.tracking_prefix.clone();
        let prepared = kit
            .metrics
            .counter("shipments_prepared_total", "Shipments prepared");
        let routes = Routes::default().on(kit, OnOrderShipped { prefix, prepared });
        (kit.reader(), routes)
    }

    fn configure_http(shipments: Reader<Shipment>, config: &mut web::ServiceConfig) {
        config.app_data(web::Data::new(shipments)).configure(http::routes);
    }
}
