//! Parameters of the query string and of the path, with errors that name them.

use std::{borrow::Cow, time::Duration};

use actix_web::{HttpRequest, http::header, web};
use serde::Serialize;
use uuid::Uuid;

use super::Problem;
use crate::{
    actors::repository::Found,
    document_store::PageQuery,
    json::{FieldError, FieldType, parse_uuid},
};

/// No answer is held longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Page size, unless asked for another.
const PAGE: usize = 50;
/// No page is larger.
const LARGEST_PAGE: usize = 500;

/// How long an answer may be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// No longer.
    pub patience: Duration,
    /// What `Preference-Applied` says, where the header `Prefer` asked for it (RFC 7240).
    pub applied: Option<String>,
}

/// The parameters of a query string, taken one by one; what is wrong is collected.
pub struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Parameters {
    /// The parameters of a request.
    pub fn of(request: &HttpRequest) -> Parameters {
        let given = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let mut errors = Vec::new();
        let given = given.map(web::Query::into_inner).unwrap_or_else(|error| {
            errors.push(wrong(
                "query",
                format!("cannot be read: {error}"),
                "name=value&name=value",
            ));
            Vec::new()
        });
        Parameters {
            given,
            known: Vec::new(),
            errors,
        }
    }

    /// A parameter, read by `read`. `None`: it is not there or is wrong; the latter is noted.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        expected: impl Into<Cow<'static, str>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        let mut given = self
            .given
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let value = given.next()?;
        let read = if given.next().is_some() {
            Err("is given twice".into())
        } else {
            read(&value.1)
        };
        match read {
            Ok(value) => Some(value),
            Err(problem) => {
                self.errors.push(FieldError {
                    field: name,
                    problem,
                    expected: expected.into(),
                });
                None
            }
        }
    }

    /// A parameter that is a UUID.
    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        self.take(name, Uuid::EXPECTED, parse_uuid)
    }

    /// Which page of a list.
    pub fn page(&mut self) -> PageQuery {
        let limit = self.take(
            "limit",
            format!("a whole number from 1 to {LARGEST_PAGE}"),
            |text| {
                let limit = text.parse().map_err(|_| "is no whole number".to_owned())?;
                if (1..=LARGEST_PAGE).contains(&limit) {
                    Ok(limit)
                } else {
                    Err("is out of range".into())
                }
            },
        );
        let after = self.take("cursor", "the nextCursor of the page before", parse_uuid);
        PageQuery {
            after,
            limit: limit.unwrap_or(PAGE),
        }
    }

    /// How long the answer may be held: `?wait=2s` (also `500ms`, or seconds as a number) or the
    /// header `Prefer: wait=2`.
    pub fn wait(&mut self, request: &HttpRequest) -> Option<Wait> {
        let expected = format!(
            "a duration up to {}s, such as 2s or 500ms",
            LONGEST_WAIT.as_secs()
        );
        let asked = self.take("wait", expected, |text| {
            let wait = parse_duration(text).ok_or("is no duration")?;
            if wait <= LONGEST_WAIT {
                Ok(wait)
            } else {
                Err("is too long".to_owned())
            }
        });
        let preferred = request
            .headers()
            .get_all(header::HeaderName::from_static("prefer"));
        let mut preferences = preferred
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        // A preference that cannot be met is ignored, as RFC 7240 has it.
        let preferred = || {
            preferences.find_map(|preference| {
                let preference = preference.trim().to_ascii_lowercase();
                let patience = parse_duration(preference.strip_prefix("wait=")?)?.min(LONGEST_WAIT);
                let applied = match patience.subsec_millis() {
                    0 => format!("wait={}", patience.as_secs()),
                    _ => format!("wait={}ms", patience.as_millis()),
                };
                Some(Wait {
                    patience,
                    applied: Some(applied),
                })
            })
        };
        let asked = asked.map(|patience| Wait {
            patience,
            applied: None,
        });
        asked.or_else(preferred)
    }

    /// Fails where a parameter was wrong, or is none of those taken.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (given, _) in &self.given {
            if !self.known.iter().any(|known| known.eq_ignore_ascii_case(given)) {
                let expected = if self.known.is_empty() {
                    "none".to_owned()
                } else {
                    self.known.join(", ")
                };
                let problem = format!("holds the unknown parameter {given:?}");
                self.errors.push(FieldError {
                    field: "query",
                    problem,
                    expected: expected.into(),
                });
            }
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}

fn wrong(field: &'static str, problem: String, expected: &'static str) -> FieldError {
    FieldError {
        field,
        problem,
        expected: expected.into(),
    }
}

/// Reads `2s`, `500ms` or `2` (seconds).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.trim() {
        text if text.ends_with("ms") => (&text[..text.len() - 2], 1),
        text if text.ends_with('s') => (&text[..text.len() - 1], 1000),
        text => (text, 1000),
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit).map(Duration::from_millis)
}

/// A page of a list; the last one has no cursor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<V> {
    /// What stands on it.
    pub items: Vec<V>,
    /// What should stand on it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
    /// Asks for the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<Uuid>,
}

/// Documents that are stored and cannot be read.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// How many.
    pub count: usize,
    /// Which.
    pub ids: Vec<String>,
}

impl<V> Page<V> {
    /// The page of what was found, as it is shown.
    pub fn of<D>(found: Found<D>, show: impl Fn(&D) -> V) -> Page<V> {
        let ids = found.unreadable;
        Page {
            items: found.documents.iter().map(show).collect(),
            unreadable: (!ids.is_empty()).then_some(Unreadable {
                count: ids.len(),
                ids,
            }),
            next_cursor: found.next,
        }
    }
}

/// The one document that was looked for: not there, or there and not readable, is a problem.
pub fn the_one<D>(found: Found<D>, what: &str, id: Uuid) -> Result<D, Problem> {
    match (found.documents.into_iter().next(), found.unreadable.is_empty()) {
        (Some(document), _) => Ok(document),
        (None, false) => Err(Problem::unreadable(what, id)),
        (None, true) => Err(Problem::not_found(what, id)),
    }
}

/// The id in a path.
pub fn path_id(request: &HttpRequest) -> Result<Uuid, Problem> {
    let text = request.match_info().get("id").unwrap_or_default();
    parse_uuid(text).map_err(|problem| Problem::invalid(vec![wrong("id", problem, Uuid::EXPECTED)]))
}

/// The id that a body gives or, without one, that its `Idempotency-Key` stands for, so that a
/// repeated request means the same thing.
pub fn requested_id(request: &HttpRequest, given: Option<Uuid>) -> Result<Option<Uuid>, Problem> {
    const NAMESPACE: Uuid = Uuid::from_u128(0x1b0d_9c1e_55a7_4c8f_8e0f_3f1d_7c1a_90e2);
    let Some(key) = request
        .headers()
        .get("idempotency-key")
        .filter(|_| given.is_none())
    else {
        return Ok(given);
    };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= 255 => Ok(Some(
            Uuid::try_parse(key)
                .ok()
                .filter(|id| !id.is_nil())
                .unwrap_or_else(|| Uuid::new_v5(&NAMESPACE, format!("{} {key}", request.path()).as_bytes())),
        )),
        _ => Err(Problem::invalid(vec![wrong(
            "Idempotency-Key",
            "is empty, too long or not ASCII".into(),
            "1 to 255 visible characters",
        )])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(
            [millis("2s"), millis("500ms"), millis("3")],
            [Some(2000), Some(500), Some(3000)]
        );
        assert_eq!(
            [millis("x"), millis("-1s"), millis("99999999999999999999s")],
            [None, None, None]
        );
    }
}
