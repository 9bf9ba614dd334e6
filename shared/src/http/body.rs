//! The body of a request: JSON, at most 32 KB, within a deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceResponse},
    http::header,
    web::Bytes,
};
use futures_util::StreamExt;

use super::Problem;
use crate::json::{FieldType, Fields, Malformed, bare};

/// More than any body of ours needs.
const MAX_BYTES: usize = 32 * 1024;
/// A body that stalls would hold its connection for ever.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// A body whose type and size were right.
pub struct Body(Bytes);

impl Body {
    /// Its fields.
    pub fn fields(&self) -> Result<Fields<'_>, Problem> {
        Fields::parse(&self.0).map_err(|error| Problem::malformed(&error))
    }

    /// Its only value, which an error calls `field`.
    pub fn value<T: FieldType>(&self, field: &'static str) -> Result<T::Value, Problem> {
        let value = bare::<T>(field, &self.0).map_err(|error: Malformed| Problem::malformed(&error))?;
        value.map_err(|error| Problem::invalid(vec![error]))
    }
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Body, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let declared = check_headers(request);
        let mut payload = payload.take();
        let request = request.clone();
        Box::pin(async move {
            let read = async {
                declared?;
                let mut body = Vec::new();
                while let Some(chunk) = payload.next().await {
                    let chunk =
                        chunk.map_err(|error| Problem::malformed(&Malformed::NotJson(error.to_string())))?;
                    if body.len() + chunk.len() > MAX_BYTES {
                        return Err(Problem::body_too_large(MAX_BYTES));
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(Body(body.into()))
            };
            let read = tokio::time::timeout(ARRIVES_WITHIN, read)
                .await
                .unwrap_or_else(|_| Err(Problem::body_too_slow()));
            if read.is_err() {
                request.extensions_mut().insert(Unread(payload));
            }
            read
        })
    }
}

/// What is left of a body that was refused.
struct Unread(Payload);

/// Sends an answer and then closes the connection, if the request was refused with its body unread.
///
/// actix-http closes it only as long as somebody holds the body when the answer is sent. Of a
/// chunked body that nobody holds it reads on for the end, which a client that stalls never sends.
pub(super) fn close_if_unread(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let unread = response.request().extensions_mut().remove::<Unread>();
    match unread {
        Some(Unread(unread)) => response.map_body(|_, body| {
            BoxBody::new(Holding {
                body,
                _unread: unread,
            })
        }),
        None => response,
    }
}

struct Holding {
    body: BoxBody,
    _unread: Payload,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

fn check_headers(request: &HttpRequest) -> Result<(), Problem> {
    let text = |name| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MAX_BYTES) {
        return Err(Problem::body_too_large(MAX_BYTES));
    }
    if let Some(encoding) =
        text(header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    {
        let detail = format!("a body with content-encoding {encoding:?} is not read here; send it plain");
        return Err(Problem::unsupported_media_type(detail));
    }
    let empty =
        length == Some(0) || (length.is_none() && !request.headers().contains_key(header::TRANSFER_ENCODING));
    let media_type = text(header::CONTENT_TYPE)
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim();
    let json = media_type.eq_ignore_ascii_case("application/json")
        || (media_type.len() > 5 && media_type[media_type.len() - 5..].eq_ignore_ascii_case("+json"));
    if json || (empty && media_type.is_empty()) {
        return Ok(());
    }
    let detail = format!("the body has to be application/json, not {media_type:?}");
    Err(Problem::unsupported_media_type(detail))
}
