//! Reads numbers of stored documents in every type in which a tool may have written them.
//!
//! We write 32-bit and 64-bit integers and `Decimal128`. mongosh writes a typed number as a double or
//! a 32-bit integer, mongo-express and imports also as a string. All of them are read, as long as they
//! say exactly one number. A double says the decimal number with the fewest digits that has it as its
//! nearest double; above `DOUBLE_DIGITS` digits that is no longer certain, and it is not read.

use bson::{Bson, RawBsonRef, spec::ElementType};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};

/// Any decimal number of so many digits comes back from a double unchanged (`DBL_DIG` of C).
const DOUBLE_DIGITS: usize = 15;

/// The decimal text of a number: digits, an optional fraction, an optional exponent.
pub(crate) fn text(value: RawBsonRef<'_>) -> Result<String, String> {
    match value {
        RawBsonRef::Int32(number) => Ok(number.to_string()),
        RawBsonRef::Int64(number) => Ok(number.to_string()),
        RawBsonRef::Decimal128(number) => Ok(number.to_string()),
        RawBsonRef::String(text) => Ok(text.to_owned()),
        RawBsonRef::Double(number) => exact(number),
        other => Err(not_a_number(other.element_type())),
    }
}

/// The same of a value that serde reads from a document.
pub(crate) fn text_of(value: &Bson) -> Result<String, String> {
    text(number_of(value)?)
}

/// A whole number, in whatever type it stands there; for `#[serde(deserialize_with = …)]`.
pub fn whole<'de, N: TryFrom<i64>, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    let value = Bson::deserialize(deserializer)?;
    let number = whole_in(&value).map_err(D::Error::custom)?;
    N::try_from(number).map_err(|_| D::Error::custom(format!("{number} is out of range")))
}

/// The same of a value that serde has read.
pub(crate) fn whole_in(value: &Bson) -> Result<i64, String> {
    number_of(value).and_then(whole_of)
}

/// A whole number, in whatever type it stands there.
pub fn whole_of(value: RawBsonRef<'_>) -> Result<i64, String> {
    match value {
        // Only as we would write it ourselves: the guards of the databases compare the text.
        RawBsonRef::String(text) => text
            .parse::<i64>()
            .ok()
            .filter(|number| number.to_string() == text)
            .ok_or_else(|| format!("the text {text:?} is not a whole number")),
        RawBsonRef::Int32(number) => Ok(i64::from(number)),
        RawBsonRef::Int64(number) => Ok(number),
        other => {
            let text = self::text(other)?;
            let number = Decimal::from_scientific(&text).or_else(|_| Decimal::from_str_exact(&text));
            number
                .ok()
                .map(|number| number.normalize())
                .filter(|number| number.scale() == 0)
                .and_then(|number| i64::try_from(number).ok())
                .ok_or_else(|| format!("{text} is not a whole number of 64 bits"))
        }
    }
}

fn number_of(value: &Bson) -> Result<RawBsonRef<'_>, String> {
    match value {
        Bson::Int32(number) => Ok(RawBsonRef::Int32(*number)),
        Bson::Int64(number) => Ok(RawBsonRef::Int64(*number)),
        Bson::Double(number) => Ok(RawBsonRef::Double(*number)),
        Bson::Decimal128(number) => Ok(RawBsonRef::Decimal128(*number)),
        Bson::String(text) => Ok(RawBsonRef::String(text)),
        other => Err(not_a_number(other.element_type())),
    }
}

fn exact(number: f64) -> Result<String, String> {
    // The shortest text that is read back as this double, never with an exponent.
    let text = number.to_string();
    let digits = text.trim_start_matches(['-', '0', '.']);
    let digits = if digits.contains('.') || text.contains('.') {
        digits
    } else {
        digits.trim_end_matches('0')
    };
    let digits = digits.bytes().filter(u8::is_ascii_digit).count();
    if number.is_finite() && digits <= DOUBLE_DIGITS {
        Ok(text)
    } else {
        Err(format!("the double {text} is not an exact number"))
    }
}

fn not_a_number(found: ElementType) -> String {
    format!("a number is expected, not {found:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> RawBsonRef<'static> {
        RawBsonRef::Decimal128(text.parse().unwrap())
    }

    #[test]
    fn a_whole_number_is_read_in_every_type_that_tools_write() {
        for value in [
            RawBsonRef::Int32(200),
            RawBsonRef::Int64(200),
            RawBsonRef::Double(200.0),
            decimal("200"),
            decimal("200.0"),
            decimal("2E+2"),
            RawBsonRef::String("200"),
        ] {
            assert_eq!(whole_of(value), Ok(200), "{value:?}");
        }
        assert_eq!(whole_of(RawBsonRef::Double(-0.0)), Ok(0));
    }

    #[test]
    fn what_is_not_exactly_one_whole_number_is_refused() {
        for value in [
            RawBsonRef::Double(1.5),
            RawBsonRef::Double(f64::NAN),
            RawBsonRef::Double(f64::INFINITY),
            RawBsonRef::Double(9_007_199_254_740_993.0),
            decimal("1.5"),
            decimal("1E+40"),
            decimal("NaN"),
            RawBsonRef::String("two"),
            RawBsonRef::String("02"),
            RawBsonRef::Boolean(true),
            RawBsonRef::Null,
        ] {
            assert!(whole_of(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_double_is_exact_where_no_other_decimal_number_has_it() {
        for (number, said) in [(12.34, "12.34"), (0.1, "0.1"), (1e15, "1000000000000000")] {
            assert_eq!(exact(number).as_deref(), Ok(said));
        }
        assert!(exact(0.1 + 0.2).is_err());
        assert!(exact(1_234_567_890_123.456_7).is_err());
    }
}
