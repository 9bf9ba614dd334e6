//! What surrounds every request: ids in and out, paths in any case, one log line, one measurement.

use std::time::Instant;

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, Uri,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use futures_util::future::{Ready, ready};
use uuid::Uuid;

use super::{Problem, Refusals, body::close_if_unread};
use crate::{
    admission::Lifecycle,
    envelope::{Context, is_traceparent},
    logging::Step,
    metrics::Metrics,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A longer request id of a caller is replaced.
const MAX_REQUEST_ID: usize = 128;

/// Which request this is: its `X-Request-Id` (made if missing) is the correlation id of everything
/// that it sets off.
#[derive(Debug, Clone)]
pub struct RequestContext(pub Context);

impl FromRequest for RequestContext {
    type Error = Error;
    type Future = Ready<Result<RequestContext, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<RequestContext>().cloned();
        ready(Ok(
            known.unwrap_or_else(|| RequestContext(context(request.headers())))
        ))
    }
}

fn context(headers: &HeaderMap) -> Context {
    let given = |name: &HeaderName, right: fn(&str) -> bool| {
        let text = headers.get(name)?.to_str().ok()?;
        right(text).then(|| text.to_owned())
    };
    let visible = |id: &str| {
        !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let new_trace = || {
        let (trace, span) = (
            Uuid::new_v4().simple().to_string(),
            Uuid::new_v4().simple().to_string(),
        );
        format!("00-{trace}-{}-01", &span[..16])
    };
    Context {
        correlation_id: given(&REQUEST_ID, visible).unwrap_or_else(|| Uuid::now_v7().to_string()),
        causation_id: None,
        traceparent: Some(given(&TRACEPARENT, is_traceparent).unwrap_or_else(new_trace)),
    }
}

/// Wraps every request.
pub async fn surround(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begin = Instant::now();
    let known = RequestContext(context(request.headers()));
    request.extensions_mut().insert(known.clone());
    lower_case_path(&mut request);
    let method = request.method().clone();
    if method == Method::HEAD {
        // As GET; that the answer goes without its body is seen to where it is written.
        request.head_mut().method = Method::GET;
    }
    let metrics = request.app_data::<Data<Metrics>>().cloned();
    let refusals = request.app_data::<Data<Refusals>>().cloned();
    let lifecycle = request.app_data::<Data<Lifecycle>>().cloned();

    let about_itself = request.path().starts_with("/health/") || request.path() == "/metrics";
    // Held until there is an answer: a service that stops waits for it.
    let under_way = lifecycle.as_ref().map(|lifecycle| lifecycle.enter());
    let response = if matches!(under_way, Some(None)) && !about_itself {
        request.error_response(Problem::stopping())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    let problem = response
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>())
        .cloned();
    let mut response = match &problem {
        Some(problem) => {
            let body = problem.response(Some(&known.0.correlation_id));
            response.into_response(body.map_into_boxed_body())
        }
        None => response,
    };
    for (name, value) in [
        (REQUEST_ID, Some(&known.0.correlation_id)),
        (TRACEPARENT, known.0.traceparent.as_ref()),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }

    if lifecycle.is_some_and(|lifecycle| lifecycle.is_leaving()) {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }

    let response = close_if_unread(response);
    let request = response.request();
    let route = request.match_pattern().unwrap_or_else(|| "none".into());
    let (status, took) = (response.status().as_u16(), begin.elapsed());
    if let Some(metrics) = metrics {
        // Any text may stand for a method; only the usual ones become labels.
        let usual = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
        let label = usual
            .iter()
            .find(|usual| **usual == method.as_str())
            .unwrap_or(&"other");
        metrics.request(label, &route, status, took.as_secs_f64());
    }
    let code = problem.as_ref().map(|problem| problem.code);
    let told_together = match (refusals, code) {
        (Some(refusals), Some(code)) if Refusals::takes(code) => {
            refusals.count(code);
            true
        }
        _ => false,
    };
    let level = match status {
        _ if told_together => log::Level::Debug,
        _ if route.starts_with("/health") || route == "/metrics" => log::Level::Debug,
        503 => log::Level::Warn,
        500.. => log::Level::Error,
        _ => log::Level::Info,
    };
    let millis = format!("{:.1}", took.as_secs_f64() * 1000.0);
    Step::about("status", &status)
        .with("ms", &millis)
        .with("correlation_id", &known.0.correlation_id)
        .with_some("code", &code)
        .log(level, "HttpServer", format_args!("{method} {}", request.path()));
    Ok(response)
}

/// The C# routes are found in any case; so are all of ours. Ids are the same in lower case.
fn lower_case_path(request: &mut ServiceRequest) {
    let uri = request.head().uri.clone();
    let path = uri.path();
    let trimmed = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    if trimmed.len() == path.len() && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return;
    }
    let mut lower = trimmed.to_ascii_lowercase();
    if lower.is_empty() {
        lower.push('/');
    }
    if let Some(query) = uri.query() {
        lower.push('?');
        lower.push_str(query);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = lower.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        request.match_info_mut().get_mut().update(&uri);
        request.head_mut().uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_would_forge_log_lines_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(context(&headers).correlation_id, "abc-1");
        headers.insert(REQUEST_ID, HeaderValue::from_static("a b"));
        assert_ne!(context(&headers).correlation_id, "a b");
    }

    #[test]
    fn a_trace_is_taken_up_or_begun() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(given));
        assert_eq!(context(&headers).traceparent.as_deref(), Some(given));
        for wrong in [
            "00-nonsense",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        ] {
            headers.insert(TRACEPARENT, HeaderValue::from_static(wrong));
            let traceparent = context(&headers).traceparent.unwrap();
            assert_ne!(traceparent, wrong);
            assert!(is_traceparent(&traceparent));
        }
    }
}
