//! Exact decimal money.
//!
//! On the wire a JSON number with at least one fraction digit (`800.0`), as the C# services write
//! it; a numeric string is read too. In a document a `Decimal128`. Never a float: arithmetic is
//! checked and exact.

use std::fmt;

use bson::{Bson, Decimal128};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::document_store::numbers;

/// An amount of money: at most [`Money::FRACTION_DIGITS`] digits after the point, and between
/// `-`[`Money::LIMIT`] and [`Money::LIMIT`] where it comes from outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(Decimal);

/// Why a text is no [`Money`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number at all.
    #[error("is not a decimal number")]
    NotANumber,
    /// A number, but finer than the fourth fraction digit.
    #[error("has more than {} fraction digits", Money::FRACTION_DIGITS)]
    TooFine,
    /// A number, but too large to be held exactly.
    #[error("is out of range")]
    OutOfRange,
}

impl Money {
    /// No money.
    pub const ZERO: Money = Money(Decimal::ZERO);
    /// Fraction digits kept; finer input is refused, never rounded.
    pub const FRACTION_DIGITS: u32 = 4;
    /// Input has to stay below this: a billion sums of such amounts still fit the 28 digits of the
    /// decimal exactly.
    pub const LIMIT: i64 = 1_000_000_000_000_000;
    /// The longest text that can be a valid amount, generously; longer ones are refused unread.
    const MAX_TEXT: usize = 64;

    /// Whole units, for constants and tests.
    pub fn units(units: i64) -> Money {
        Money(Decimal::from(units))
    }

    /// Reads a JSON number or the content of a numeric string: digits, an optional fraction and an
    /// optional exponent.
    pub fn parse(text: &str) -> Result<Money, MoneyError> {
        let money = Self::exact(text)?;
        if money.0.abs() >= Decimal::from(Self::LIMIT) {
            return Err(MoneyError::OutOfRange);
        }
        Ok(money)
    }

    /// The same without [`Money::LIMIT`]: stored sums may be beyond it.
    fn exact(text: &str) -> Result<Money, MoneyError> {
        if !looks_like_a_number(text) {
            return Err(MoneyError::NotANumber);
        }
        if text.len() > Self::MAX_TEXT {
            return Err(MoneyError::OutOfRange);
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (
                mantissa,
                exponent.parse::<i32>().map_err(|_| MoneyError::OutOfRange)?,
            ),
            None => (text, 0),
        };
        let mantissa = Decimal::from_str_exact(mantissa).map_err(|error| match error {
            rust_decimal::Error::Underflow => MoneyError::TooFine,
            _ => MoneyError::OutOfRange,
        })?;
        let value = shift(mantissa.normalize(), exponent)?.normalize();
        if value.scale() > Self::FRACTION_DIGITS {
            return Err(MoneyError::TooFine);
        }
        Ok(Money(value))
    }

    /// The sum, or `None` where it cannot be held exactly.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(|sum| Money(sum.normalize()))
    }

    /// The difference (it may be negative), or `None` where it cannot be held exactly.
    pub fn checked_sub(self, other: Money) -> Option<Money> {
        self.0
            .checked_sub(other.0)
            .map(|difference| Money(difference.normalize()))
    }

    /// More than nothing.
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }

    /// Less than nothing.
    pub fn is_negative(self) -> bool {
        self.0 < Decimal::ZERO
    }
}

/// `value × 10^exponent`, exactly.
fn shift(value: Decimal, exponent: i32) -> Result<Decimal, MoneyError> {
    if value.is_zero() || exponent == 0 {
        return Ok(value);
    }
    let scale = i64::from(value.scale()) - i64::from(exponent);
    if scale > 28 {
        return Err(MoneyError::TooFine);
    }
    if scale >= 0 {
        let mut shifted = value;
        shifted
            .set_scale(u32::try_from(scale).map_err(|_| MoneyError::OutOfRange)?)
            .map_err(|_| MoneyError::OutOfRange)?;
        return Ok(shifted);
    }
    let mut shifted = Decimal::from_i128_with_scale(value.mantissa(), 0);
    for _ in scale..0 {
        shifted = shifted.checked_mul(Decimal::TEN).ok_or(MoneyError::OutOfRange)?;
        if shifted.abs() >= Decimal::from(Money::LIMIT) {
            return Err(MoneyError::OutOfRange);
        }
    }
    Ok(shifted)
}

/// `-?digits(.digits)?([eE][+-]?digits)?`
fn looks_like_a_number(text: &str) -> bool {
    fn digits(bytes: &[u8]) -> Option<&[u8]> {
        let end = bytes
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(bytes.len());
        (end > 0).then(|| &bytes[end..])
    }
    fn number(bytes: &[u8]) -> Option<&[u8]> {
        let rest = digits(bytes.strip_prefix(b"-").unwrap_or(bytes))?;
        let rest = match rest {
            [b'.', fraction @ ..] => digits(fraction)?,
            _ => rest,
        };
        match rest {
            [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => digits(exponent),
            _ => Some(rest),
        }
    }
    number(text.as_bytes()).is_some_and(<[u8]>::is_empty)
}

impl fmt::Display for Money {
    /// Canonical: no needless zeros, at least one fraction digit (`800.0`, `12.34`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.scale() == 0 {
            write!(f, "{}.0", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Money({self})")
    }
}

impl Serialize for Money {
    /// A JSON number for people and services, a `Decimal128` for documents.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let number = serde_json::value::RawValue::from_string(self.to_string());
            number.map_err(ser::Error::custom)?.serialize(serializer)
        } else {
            let decimal: Decimal128 = self.to_string().parse().map_err(ser::Error::custom)?;
            decimal.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    /// From a document only, in every type that tools write; JSON is read by [`crate::json`], which
    /// names the field that is wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        let text = numbers::text_of(&Bson::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Money::exact(&text).map_err(|error| de::Error::custom(format!("the amount {text:?} {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_written_canonically() {
        for (text, canonical) in [
            ("800", "800.0"),
            ("800.0", "800.0"),
            ("800.00000", "800.0"),
            ("12.34", "12.34"),
            ("0.0001", "0.0001"),
            ("1e2", "100.0"),
            ("1.5E+3", "1500.0"),
            ("25e-2", "0.25"),
            ("-3.5", "-3.5"),
            ("0e999", "0.0"),
            ("-0", "0.0"),
            ("999999999999999.9999", "999999999999999.9999"),
        ] {
            assert_eq!(
                Money::parse(text).map(|money| money.to_string()),
                Ok(canonical.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_amount_says_why() {
        use MoneyError::{NotANumber, OutOfRange, TooFine};
        for (text, error) in [
            ("", NotANumber),
            ("NaN", NotANumber),
            ("Infinity", NotANumber),
            ("12,5", NotANumber),
            ("1.", NotANumber),
            (".5", NotANumber),
            ("0x10", NotANumber),
            (" 1", NotANumber),
            ("1_000", NotANumber),
            ("1e", NotANumber),
            ("0.00001", TooFine),
            ("1e-5", TooFine),
            ("0.00000000000000000000000000000000001", TooFine),
            ("1e300", OutOfRange),
            ("1e99999999999", OutOfRange),
            ("1000000000000000", OutOfRange),
            ("99999999999999999999999999999999999", OutOfRange),
        ] {
            assert_eq!(Money::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_sum_is_exact() {
        let sum = Money::parse("0.1")
            .unwrap()
            .checked_add(Money::parse("0.2").unwrap());
        assert_eq!(sum, Money::parse("0.3").ok());
    }

    #[test]
    fn a_document_keeps_every_digit() {
        #[derive(Serialize, Deserialize)]
        struct Holder {
            amount: Money,
        }
        for text in ["800.0", "-999999999999999.9999", "0.0001", "0.0", "100000.0"] {
            let amount = Money::parse(text).unwrap();
            let bytes = bson::serialize_to_vec(&Holder { amount }).unwrap();
            let back: Holder = bson::deserialize_from_slice(&bytes).unwrap();
            assert_eq!(back.amount.to_string(), text);
        }
    }

    #[test]
    fn a_document_may_hold_it_in_every_type_that_tools_write() {
        #[derive(Debug, Deserialize)]
        struct Holder {
            amount: Money,
        }
        let read = |amount: Bson| {
            let bytes = bson::serialize_to_vec(&bson::doc! { "amount": amount }).unwrap();
            bson::deserialize_from_slice::<Holder>(&bytes).map(|holder| holder.amount.to_string())
        };
        for (amount, said) in [
            (Bson::Int32(1000), "1000.0"),
            (Bson::Int64(1000), "1000.0"),
            (Bson::Double(1000.0), "1000.0"),
            (Bson::Double(99.99), "99.99"),
            (Bson::Decimal128("1E+3".parse().unwrap()), "1000.0"),
            (Bson::String("1000.50".into()), "1000.5"),
        ] {
            assert_eq!(read(amount.clone()).unwrap(), said, "{amount:?}");
        }
        let not_exact = read(Bson::Double(0.1 + 0.2)).unwrap_err().to_string();
        assert!(not_exact.contains("is not an exact number"), "{not_exact}");
        assert!(read(Bson::Decimal128("NaN".parse().unwrap())).is_err());
        assert!(read(Bson::Boolean(true)).is_err());
    }

    #[test]
    fn json_gets_a_number() {
        assert_eq!(serde_json::to_string(&Money::units(800)).unwrap(), "800.0");
    }
}
