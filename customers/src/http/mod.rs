//! The HTTP side of Customers: translates requests into messages for the actors, and nothing else.

use actix_web::web;
use shared::http::resource;

use crate::actors::Endpoints;

mod customers;

/// Describes all of it; a test holds it against the routes.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Registers the resources. Paths are matched in any case: they come here in lower case.
pub fn configure(endpoints: Endpoints, config: &mut web::ServiceConfig) {
    config
        .app_data(web::Data::new(endpoints))
        .service(resource("/api/customer/newcustomer", "POST").post(customers::create_as_in_csharp))
        .service(resource("/api/customer/{id}", "PUT").put(customers::change_credit_limit))
        .service(
            resource("/api/customers", "GET, POST")
                .get(customers::list)
                .post(customers::create),
        )
        .service(resource("/api/customers/{id}", "GET").get(customers::get))
        .service(resource("/api/customers/{id}/credit-limit", "PUT").put(customers::change_credit_limit))
        .service(resource("/api/customers/{id}/reservations", "GET").get(customers::reservations));
}
