//! What the HTTP side of every service has in common.

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::{Method, header},
    web,
};

mod body;
mod common;
mod heartbeat;
pub mod parked;
mod problem;
mod query;
mod refusals;
mod request;

pub use body::Body;
pub use common::{CommonEndpoints, Readiness, unknown_path};
pub use heartbeat::Heartbeat;
pub use problem::Problem;
pub use query::{Page, Parameters, Unreadable, Wait, parse_duration, path_id, requested_id, the_one};
pub use refusals::Refusals;
pub use request::{RequestContext, surround};

/// A resource at a path; methods that it has no route for are answered with those it has. `HEAD` is
/// answered wherever `GET` is, and `OPTIONS` everywhere.
pub fn resource(path: &'static str, methods: &'static str) -> Resource {
    let allow = methods.replace("GET", "GET, HEAD") + ", OPTIONS";
    let refuse = move |request: HttpRequest| {
        let allow = allow.clone();
        async move {
            if request.method() == Method::OPTIONS {
                let mut answer = HttpResponse::NoContent();
                return Ok(answer.insert_header((header::ALLOW, allow)).finish());
            }
            Err(Problem::method_not_allowed(request.method().as_str(), allow))
        }
    };
    web::resource(path).default_service(web::to(refuse))
}
