//! Errors over HTTP: `application/problem+json` (RFC 9457) with a stable `code`.

use std::fmt;

use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    actors::repository::RepositoryError,
    admission::AskError,
    json::{FieldError, Malformed},
};

/// What went wrong with a request, for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable: programs may depend on it. Listed in the README.
    pub code: &'static str,
    /// What happened and what to do, for people.
    pub detail: String,
    /// The fields that are wrong.
    pub errors: Vec<FieldError>,
    /// The id of what the request was about, where the sender may not know it.
    pub id: Option<Uuid>,
    /// Methods that are allowed, with 405.
    pub allow: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            id: None,
            allow: None,
        }
    }

    /// 400: fields (of the body, the path or the query) are wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        Problem {
            errors,
            ..Problem::new(StatusCode::BAD_REQUEST, "invalid-field", detail)
        }
    }

    /// 400: exactly one of some fields is needed.
    pub fn choose(fields: &'static str) -> Problem {
        let detail = format!("exactly one of these fields is needed: {fields}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-field", detail)
    }

    /// 400: the body cannot be read at all.
    pub fn malformed(error: &Malformed) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-body",
            format!("the body {error}"),
        )
    }

    /// 404: there is no such thing.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("there is no {what} {id}"),
        )
    }

    /// 500: it is stored, but nobody can read it.
    pub fn unreadable(what: &str, id: Uuid) -> Problem {
        let detail = format!(
            "the {what} {id} is stored, but its document cannot be read; the log of the service says why, \
             and an operator has to mend it"
        );
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "document-unreadable", detail).about(id)
    }

    /// 404: no resource at this path.
    pub fn unknown_path(path: &str) -> Problem {
        let detail = format!("there is nothing at {path}; /docs lists what there is");
        Problem::new(StatusCode::NOT_FOUND, "unknown-path", detail)
    }

    /// 405: the resource is there, but not for this method.
    pub fn method_not_allowed(method: &str, allow: String) -> Problem {
        let detail = format!("{method} is not for this path; use {allow}");
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        Problem {
            allow: Some(allow),
            ..problem
        }
    }

    /// 408: the body did not come in time.
    pub fn body_too_slow() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "the body did not arrive in time",
        )
    }

    /// 409: it contradicts what is there.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, code, detail)
    }

    /// 413: the body is too large.
    pub fn body_too_large(limit: usize) -> Problem {
        let detail = format!("the body is larger than {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    /// 415: the body is of another type.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            detail,
        )
    }

    /// 422: it can be read, and is refused.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 503: too much is under way.
    pub fn overloaded() -> Problem {
        let detail = "too much is under way; this request stored nothing, try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// 503: too much is under way even to find out whether an earlier request stored it.
    pub fn not_looked_up() -> Problem {
        let detail = "too much is under way to find out whether this id is stored already; ask for it by its id, or \
                      repeat the request with the same id";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// 503: the service ends; another instance, or its next run, answers.
    pub fn stopping() -> Problem {
        let detail = "the service is stopping; this request was not looked at, send it again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
    }

    /// 503: a question had no answer in time.
    pub fn too_slow() -> Problem {
        let detail = "what was asked for could not be read in time; ask again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-slow", detail)
    }

    /// 503: it took too long, and may or may not have happened.
    pub fn outcome_unknown() -> Problem {
        let detail =
            "the answer took too long: it may have been stored; repeat it with the same id to find out";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown", detail)
    }

    /// Names what the request was about.
    pub fn about(self, id: impl Into<Uuid>) -> Problem {
        Problem {
            id: Some(id.into()),
            ..self
        }
    }

    /// As it is sent; `correlation_id` leads to the log lines about it.
    pub fn response(&self, correlation_id: Option<&str>) -> HttpResponse {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(correlation_id) = correlation_id {
            body["correlationId"] = correlation_id.into();
        }
        if let Some(id) = self.id {
            body["id"] = id.to_string().into();
        }
        if !self.errors.is_empty() {
            let entry = |error: &FieldError| json!({ "field": error.field, "problem": error.problem, "expected": error.expected });
            body["errors"] = self.errors.iter().map(entry).collect::<Vec<Value>>().into();
        }
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/problem+json");
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            response.force_close();
        }
        response.body(body.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

impl From<RepositoryError> for Problem {
    fn from(error: RepositoryError) -> Problem {
        match error {
            RepositoryError::Unavailable(detail) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database-unavailable", detail)
            }
            RepositoryError::OutcomeUnknown(_) | RepositoryError::Stopping => Problem::outcome_unknown(),
            RepositoryError::Unfit(_) | RepositoryError::Panicked(_) => {
                log::error!(target: "HttpServer", "a request failed: {error}");
                let detail = "the service failed; its log says why";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", detail)
            }
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Problem {
        match error {
            AskError::Full => Problem::overloaded(),
            AskError::NotLookedUp => Problem::not_looked_up(),
            AskError::TooSlow => Problem::too_slow(),
            AskError::OutcomeUnknown => Problem::outcome_unknown(),
            AskError::Repository(error) => error.into(),
        }
    }
}
