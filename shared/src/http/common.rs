//! What every service answers: health, metrics, its description.

use std::sync::{Arc, PoisonError, RwLock};

use actix::Recipient;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde_json::json;

use super::{Heartbeat, Problem, Refusals, resource};
use crate::{actors::essential::Check, admission::Lifecycle, metrics::Metrics};

/// Whom to ask whether the service is ready.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Vec<NamedCheck>>>);

/// A check, with who makes it or why it fails for now.
type NamedCheck = (&'static str, Result<Recipient<Check>, String>);

impl Readiness {
    /// This check is made by that actor from now on.
    pub fn asks(&self, name: &'static str, actor: Recipient<Check>) {
        self.set(name, Ok(actor));
    }

    /// This check fails for now, for that reason.
    pub fn waits(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, Err(reason.into()));
    }

    fn set(&self, name: &'static str, how: Result<Recipient<Check>, String>) {
        let mut checks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match checks.iter_mut().find(|(known, _)| *known == name) {
            Some(check) => check.1 = how,
            None => checks.push((name, how)),
        }
    }

    /// Each check with what it found.
    pub async fn check(&self) -> Vec<(&'static str, Result<(), String>)> {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let answers = checks.into_iter().map(|(name, how)| async move {
            let answer = match how {
                Ok(actor) => actor
                    .send(Check)
                    .await
                    .unwrap_or_else(|_| Err("its actor is gone".into())),
                Err(reason) => Err(reason),
            };
            (name, answer)
        });
        join_all(answers).await
    }
}

/// The endpoints that every service has.
#[derive(Clone)]
pub struct CommonEndpoints {
    /// Whom to ask.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
    /// The description of the service's HTTP interface.
    pub openapi: &'static str,
    /// Whether the thread of the actors moves.
    pub heartbeat: Heartbeat,
    /// Whether requests are taken.
    pub lifecycle: Lifecycle,
    /// Where refused requests are counted for the log.
    pub refusals: Refusals,
}

impl CommonEndpoints {
    /// Registers them.
    pub fn configure(self, config: &mut web::ServiceConfig) {
        let CommonEndpoints {
            readiness,
            metrics,
            openapi,
            heartbeat,
            lifecycle,
            refusals,
        } = self;
        let text = |content_type: &'static str, body: &'static str| {
            move || async move { HttpResponse::Ok().content_type(content_type).body(body) }
        };
        let ready = move || {
            let readiness = readiness.clone();
            async move { show(readiness.check().await) }
        };
        let live = move || {
            let answer = heartbeat.check();
            async move {
                match answer {
                    Ok(()) => HttpResponse::Ok().json(json!({ "status": "up" })),
                    Err(reason) => {
                        HttpResponse::ServiceUnavailable().json(json!({ "status": "down", "reason": reason }))
                    }
                }
            }
        };
        let counted = metrics.clone();
        let counters = move || {
            let text = counted.text();
            async move {
                HttpResponse::Ok()
                    .content_type("text/plain; version=0.0.4")
                    .body(text)
            }
        };
        config
            .app_data(web::Data::new(metrics))
            .app_data(web::Data::new(lifecycle))
            .app_data(web::Data::new(refusals))
            .service(resource("/health/live", "GET").get(live))
            .service(resource("/health/ready", "GET").get(ready))
            .service(resource("/metrics", "GET").get(counters))
            .service(resource("/openapi.json", "GET").get(text("application/json", openapi)))
            .service(
                resource("/docs", "GET").get(text("text/html; charset=utf-8", include_str!("docs.html"))),
            );
    }
}

/// The answer to a path that nothing is at.
pub async fn unknown_path(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::unknown_path(request.path()))
}

fn show(checks: Vec<(&'static str, Result<(), String>)>) -> HttpResponse {
    let ready = checks.iter().all(|(_, answer)| answer.is_ok());
    let checks: Vec<_> = checks
        .into_iter()
        .map(|(name, answer)| match answer {
            Ok(()) => json!({ "name": name, "status": "up" }),
            Err(reason) => json!({ "name": name, "status": "down", "reason": reason }),
        })
        .collect();
    let body = json!({ "status": if ready { "up" } else { "down" }, "checks": checks });
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}
