//! The HTTP side of Orders: translates requests into messages for the actors, and nothing else.

use actix_web::web;
use shared::http::resource;

use crate::actors::Endpoints;

mod orders;

/// Describes all of it; a test holds it against the routes.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Registers the resources. Paths are matched in any case: they come here in lower case.
pub fn configure(endpoints: Endpoints, config: &mut web::ServiceConfig) {
    config
        .app_data(web::Data::new(endpoints))
        .service(resource("/api/orders/neworder", "POST").post(orders::create_as_in_csharp))
        .service(
            resource("/api/orders", "GET, POST")
                .get(orders::list)
                .post(orders::create),
        )
        .service(resource("/api/orders/{id}", "GET").get(orders::get))
        .service(resource("/api/orders/{id}/cancel", "POST").post(orders::cancel));
}
