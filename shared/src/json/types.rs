//! The types of fields that events and bodies have.

use std::borrow::Cow;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{FieldType, kind, string};
use crate::money::{Money, MoneyError};

/// A money value from a number or a numeric string.
fn money(value: &RawValue) -> Result<Money, String> {
    let text = match value.get().as_bytes().first() {
        Some(b'"') => string(value)?,
        Some(b'-' | b'0'..=b'9') => value.get().into(),
        _ => return Err(kind(value).into()),
    };
    Money::parse(&text).map_err(|error: MoneyError| error.to_string())
}

/// More than nothing.
pub struct Amount;

impl FieldType for Amount {
    type Value = Money;
    const EXPECTED: &'static str =
        "a number above 0 and below 1000000000000000 with at most 4 fraction digits";
    fn read(value: &RawValue) -> Result<Money, String> {
        match money(value)? {
            amount if amount.is_positive() => Ok(amount),
            amount if amount.is_negative() => Err("is negative".into()),
            _ => Err("is zero".into()),
        }
    }
}

/// Nothing or more.
pub struct Limit;

impl FieldType for Limit {
    type Value = Money;
    const EXPECTED: &'static str =
        "a number from 0 and below 1000000000000000 with at most 4 fraction digits";
    fn read(value: &RawValue) -> Result<Money, String> {
        match money(value)? {
            limit if limit.is_negative() => Err("is negative".into()),
            limit => Ok(limit),
        }
    }
}

impl FieldType for Uuid {
    type Value = Uuid;
    const EXPECTED: &'static str = "a UUID such as b3d27f9b-d21d-327c-164e-7fb6776f87b0, not all zeros";
    fn read(value: &RawValue) -> Result<Uuid, String> {
        parse_uuid(&string(value)?)
    }
}

/// A UUID that names something: not all zeros.
pub fn parse_uuid(text: &str) -> Result<Uuid, String> {
    match Uuid::try_parse(text) {
        Ok(id) if id.is_nil() => Err("is all zeros".into()),
        Ok(id) => Ok(id),
        Err(_) => Err("is not a UUID".into()),
    }
}

impl FieldType for bool {
    type Value = bool;
    const EXPECTED: &'static str = "true or false";
    fn read(value: &RawValue) -> Result<bool, String> {
        match value.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(kind(value).into()),
        }
    }
}

/// A name that people gave: 1 to 200 characters, none of them a control character.
pub struct DisplayName;

impl FieldType for DisplayName {
    type Value = String;
    const EXPECTED: &'static str = "1 to 200 characters without control characters";
    fn read(value: &RawValue) -> Result<String, String> {
        let name = string(value)?;
        if name.trim().is_empty() {
            Err("is blank".into())
        } else if name.chars().count() > 200 {
            Err("is longer than 200 characters".into())
        } else if let Some(control) = name.chars().find(|c| c.is_control()) {
            Err(format!(
                "holds the control character U+{:04X}",
                u32::from(control)
            ))
        } else {
            Ok(name.into_owned())
        }
    }
}

/// Any string.
pub struct Text;

impl FieldType for Text {
    type Value = String;
    const EXPECTED: &'static str = "a string";
    fn read(value: &RawValue) -> Result<String, String> {
        string(value).map(Cow::into_owned)
    }
}
