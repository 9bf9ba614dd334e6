//! A whole document, as it is stored.

use std::ops::Deref;

use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A whole document, as it is stored. Only the port and its adapters look into it; others read it with
/// the functions of this module.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredDocument(RawDocumentBuf);

impl StoredDocument {
    /// Some fields of it, by serde.
    pub fn fields<T: DeserializeOwned>(&self) -> Result<T, String> {
        bson::deserialize_from_slice(self.0.as_bytes()).map_err(|error| error.to_string())
    }
}

impl From<RawDocumentBuf> for StoredDocument {
    fn from(raw: RawDocumentBuf) -> StoredDocument {
        StoredDocument(raw)
    }
}

impl From<StoredDocument> for RawDocumentBuf {
    fn from(raw: StoredDocument) -> RawDocumentBuf {
        raw.0
    }
}

impl Deref for StoredDocument {
    type Target = RawDocumentBuf;

    fn deref(&self) -> &RawDocumentBuf {
        &self.0
    }
}
