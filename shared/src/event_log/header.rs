//! Headers of records. Kafka takes any bytes as the name of a header, not only text.

use std::fmt;

/// One header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value; Kafka allows none.
    pub value: Option<Vec<u8>>,
}

/// The name of a header: as a rule text, but any bytes are kept and given back as they came.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Vec<u8>);

impl HeaderName {
    /// The bytes, as they stand in the log.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text; `None` where it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

/// For people: bytes that are not UTF-8 show as replacement characters.
impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) => fmt::Debug::fmt(text, f),
            None => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

impl From<&str> for HeaderName {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().to_vec())
    }
}

impl From<String> for HeaderName {
    fn from(name: String) -> Self {
        Self(name.into_bytes())
    }
}

impl From<Vec<u8>> for HeaderName {
    fn from(name: Vec<u8>) -> Self {
        Self(name)
    }
}

impl PartialEq<str> for HeaderName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for HeaderName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_kept_and_can_be_shown() {
        let name = HeaderName::from(vec![b'a', 0xFF, 0]);
        assert_eq!(name.as_bytes(), [b'a', 0xFF, 0]);
        assert_eq!(name.as_str(), None);
        assert_eq!(name.to_string(), "a\u{FFFD}\0");
        assert_eq!(format!("{name:?}"), "b\"a\\xff\\x00\"");
        let plain = HeaderName::from("ce_id");
        assert!(plain == "ce_id" && plain != "CE_ID");
    }
}
