//! Reads JSON objects tolerantly and says exactly what is wrong with them.
//!
//! One reader serves events from the log and bodies over HTTP: property names in any case, unknown
//! fields ignored, numbers kept as their text so that money stays exact. All wrong fields are
//! reported at once.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

mod types;

pub use types::{Amount, DisplayName, Limit, Text, parse_uuid};

/// Why a text is not a JSON object at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not UTF-8.
    #[error("is not UTF-8 (byte {0})")]
    NotUtf8(usize),
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// Not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// JSON of another shape.
    #[error("is not a JSON {0}")]
    OtherShape(&'static str),
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Its name, as documented.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub expected: Cow<'static, str>,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` {} (expected: {})",
            self.field, self.problem, self.expected
        )
    }
}

/// How the value of a field is read.
pub trait FieldType {
    /// What it becomes.
    type Value;
    /// What is right, for the reader of an error.
    const EXPECTED: &'static str;
    /// Reads it; the error tells what is wrong, as the rest of a sentence about the field.
    fn read(value: &RawValue) -> Result<Self::Value, String>;
}

/// Checks that `bytes` are UTF-8 and not blank.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    let text = str::from_utf8(bytes).map_err(|error| Malformed::NotUtf8(error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        Err(Malformed::Empty)
    } else {
        Ok(text)
    }
}

/// Reads a bare value, such as a body that is only a number.
pub fn bare<T: FieldType>(
    field: &'static str,
    bytes: &[u8],
) -> Result<Result<T::Value, FieldError>, Malformed> {
    let value: &RawValue = serde_json::from_str(text(bytes)?).map_err(not_json)?;
    Ok(T::read(value).map_err(|problem| FieldError {
        field,
        problem,
        expected: T::EXPECTED.into(),
    }))
}

fn not_json(error: serde_json::Error) -> Malformed {
    Malformed::NotJson(error.to_string())
}

/// A JSON object whose fields are taken one by one; what is wrong is collected.
pub struct Fields<'a> {
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// Reads the outer level of an object; what stands in its fields is read when they are taken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let text = text(bytes)?;
        if !text.trim_start().starts_with('{') {
            // Not an object; but a broken text is better told as such.
            let _: &RawValue = serde_json::from_str(text).map_err(not_json)?;
            return Err(Malformed::OtherShape("object"));
        }
        let Entries(entries) = serde_json::from_str(text).map_err(not_json)?;
        Ok(Fields {
            entries,
            errors: Vec::new(),
        })
    }

    /// A field that has to be there. `None`: it is not or is wrong; see [`Fields::into_errors`].
    pub fn required<T: FieldType>(&mut self, field: &'static str) -> Option<T::Value> {
        match self.optional::<T>(field)? {
            Some(value) => Some(value),
            None => {
                let null = self.find(field).is_some_and(|found| found.is_some());
                let problem = if null { "is null" } else { "is missing" };
                self.reject(field, problem, T::EXPECTED)
            }
        }
    }

    /// A field that may be missing or null (`Some(None)`). `None`: it is there and wrong.
    pub fn optional<T: FieldType>(&mut self, field: &'static str) -> Option<Option<T::Value>> {
        match self.find(field)? {
            None => Some(None),
            Some(value) if value.get() == "null" => Some(None),
            Some(value) => match T::read(value) {
                Ok(value) => Some(Some(value)),
                Err(problem) => self.reject(field, problem, T::EXPECTED),
            },
        }
    }

    /// What was wrong with the fields taken so far.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// `None`: it stands there more than once, which is reported.
    fn find(&mut self, field: &'static str) -> Option<Option<&'a RawValue>> {
        let mut found = self
            .entries
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(field));
        let value = found.next().map(|(_, value)| *value);
        if found.next().is_some() {
            self.reject(field, "is given twice", "one value")
        } else {
            Some(value)
        }
    }

    fn reject<T>(
        &mut self,
        field: &'static str,
        problem: impl Into<String>,
        expected: &'static str,
    ) -> Option<T> {
        let error = FieldError {
            field,
            problem: problem.into(),
            expected: expected.into(),
        };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
        None
    }
}

struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The kind of a value, for the reader of an error.
fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "is a string",
        Some(b'{') => "is an object",
        Some(b'[') => "is an array",
        Some(b't' | b'f') => "is a boolean",
        Some(b'n') => "is null",
        _ => "is a number",
    }
}

/// The content of a JSON string.
pub fn string(value: &RawValue) -> Result<Cow<'_, str>, String> {
    #[derive(Deserialize)]
    struct Content<'a>(#[serde(borrow)] Cow<'a, str>);
    if !value.get().starts_with('"') {
        return Err(kind(value).into());
    }
    let Content(content) =
        serde_json::from_str(value.get()).map_err(|error| format!("is not a valid string: {error}"))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::money::Money;

    #[test]
    fn names_are_found_in_any_case_and_unknown_fields_ignored() {
        let body = br#"{"LOADLIMIT": "12.50", "other": {"a": [1]}, "name": "Ada"}"#;
        let mut fields = Fields::parse(body).unwrap();
        assert_eq!(fields.required::<Limit>("loadLimit"), Money::parse("12.5").ok());
        assert_eq!(fields.required::<DisplayName>("name"), Some("Ada".into()));
        assert_eq!(fields.optional::<Uuid>("id"), Some(None));
        assert!(fields.into_errors().is_empty());
    }

    #[test]
    fn all_wrong_fields_are_reported_at_once() {
        let body = br#"{"id": "x", "amount": -1, "name": null, "flag": "yes", "twice": 1, "Twice": 2}"#;
        let mut fields = Fields::parse(body).unwrap();
        fields.required::<Uuid>("id");
        fields.required::<Amount>("amount");
        fields.required::<DisplayName>("name");
        fields.optional::<bool>("flag");
        fields.required::<Amount>("twice");
        fields.required::<Amount>("absent");
        let problems: Vec<_> = fields
            .into_errors()
            .into_iter()
            .map(|error| (error.field, error.problem))
            .collect();
        let expected = [
            ("id", "is not a UUID"),
            ("amount", "is negative"),
            ("name", "is null"),
            ("flag", "is a string"),
            ("twice", "is given twice"),
            ("absent", "is missing"),
        ];
        assert_eq!(
            problems,
            expected.map(|(field, problem)| (field, problem.to_owned()))
        );
    }

    #[test]
    fn what_is_no_object_says_why() {
        assert_eq!(Fields::parse(b"\xff{}").err(), Some(Malformed::NotUtf8(0)));
        assert_eq!(Fields::parse(b"  ").err(), Some(Malformed::Empty));
        assert_eq!(Fields::parse(b"[1]").err(), Some(Malformed::OtherShape("object")));
        assert!(matches!(
            Fields::parse(b"{\"a\": NaN}").err(),
            Some(Malformed::NotJson(_))
        ));
        assert!(matches!(
            Fields::parse(b"hello").err(),
            Some(Malformed::NotJson(_))
        ));
        assert!(matches!(
            Fields::parse(b"{} {}").err(),
            Some(Malformed::NotJson(_))
        ));
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(15_000), "]".repeat(15_000));
        let mut fields = Fields::parse(deep.as_bytes()).unwrap();
        assert_eq!(fields.required::<Amount>("a"), None);
        let brackets = "[".repeat(30_000);
        assert!(matches!(
            Fields::parse(brackets.as_bytes()).err(),
            Some(Malformed::NotJson(_))
        ));
    }
}
