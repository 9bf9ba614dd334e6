//! What the store must know of a document: its version, its commit, its outbox, its index values.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, spec::BinarySubtype};
use uuid::Uuid;

use crate::document_store::{IndexValue, StoreError, StoredDocument, Write, numbers};

/// Fields that every document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) version: i64,
    pub(super) commit_id: Option<Uuid>,
}

/// A document read from the disk.
pub(super) fn decode(bytes: &[u8]) -> Result<StoredDocument, StoreError> {
    let raw = RawDocumentBuf::from_bytes(bytes.to_vec());
    raw.map(StoredDocument::from)
        .map_err(|error| StoreError::Unfit(error.to_string()))
}

pub(super) fn head(document: &RawDocument) -> Result<Head, StoreError> {
    let version = get(document, "version")?
        .ok_or_else(|| "it is missing".to_owned())
        .and_then(numbers::whole_of)
        .map_err(|error| StoreError::Unfit(format!("the version of a document: {error}")))?;
    Ok(Head {
        version,
        commit_id: get(document, "commitId")?.and_then(uuid),
    })
}

/// Whether the document to write fits what is said of it.
pub(super) fn check(write: &Write) -> Result<(), StoreError> {
    let head = head(&write.document)?;
    if get(&write.document, "_id")?.and_then(uuid) != Some(write.key.id) {
        return Err(StoreError::Unfit(format!(
            "the document for {} has another _id",
            write.key.id
        )));
    }
    let expected = write.expected_version.map_or(1, |version| version + 1);
    if head.version != expected {
        let (id, found) = (write.key.id, head.version);
        return Err(StoreError::Unfit(format!(
            "the document {id} has version {found}, not {expected}"
        )));
    }
    Ok(())
}

pub(super) fn has_outbox(document: &RawDocument) -> Result<bool, StoreError> {
    Ok(match get(document, "outbox")? {
        Some(RawBsonRef::Array(events)) => events.into_iter().next().is_some(),
        _ => false,
    })
}

/// Its place in an index; `None` where it lacks one of the fields.
pub(super) fn index_key(
    document: &RawDocument,
    fields: &[&str],
    id: Uuid,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut key = Vec::with_capacity(17 * fields.len() + 16);
    for field in fields {
        match get(document, field)?.and_then(index_value) {
            Some(value) => put(&mut key, value),
            None => return Ok(None),
        }
    }
    key.extend_from_slice(id.as_bytes());
    Ok(Some(key))
}

/// In bytes whose order is that of the values. The first byte tells the length, so no value is the
/// beginning of another.
pub(super) fn put(key: &mut Vec<u8>, value: IndexValue) {
    match value {
        IndexValue::Int(value) => {
            key.push(1);
            key.extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
        }
        IndexValue::Uuid(value) => {
            key.push(2);
            key.extend_from_slice(value.as_bytes());
        }
    }
}

fn index_value(value: RawBsonRef<'_>) -> Option<IndexValue> {
    // MongoDB finds a number by its value, whatever its type.
    if is_number(value) {
        let number = numbers::whole_of(value).ok()?;
        return i32::try_from(number).ok().map(IndexValue::Int);
    }
    uuid(value).map(IndexValue::Uuid)
}

fn uuid(value: RawBsonRef<'_>) -> Option<Uuid> {
    match value {
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            Uuid::from_slice(binary.bytes).ok()
        }
        _ => None,
    }
}

fn get<'a>(document: &'a RawDocument, field: &str) -> Result<Option<RawBsonRef<'a>>, StoreError> {
    document
        .get(field)
        .map_err(|error| StoreError::Unfit(format!("a document is not BSON: {error}")))
}

/// Whether a database that compares numbers across types (MongoDB) takes it for a number.
fn is_number(value: RawBsonRef<'_>) -> bool {
    matches!(
        value,
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_)
    )
}

#[cfg(test)]
mod tests {
    use bson::{RawBson, raw::cstr};

    use super::*;

    #[test]
    fn an_index_holds_a_number_by_its_value_whatever_its_type() {
        let key = |status: RawBson| {
            let mut document = RawDocumentBuf::new();
            document.append(cstr!("status"), status);
            index_key(&document, &["status"], Uuid::nil()).unwrap()
        };
        let written = key(RawBson::Int32(1));
        assert!(written.is_some());
        let decimal = RawBson::Decimal128("1.0".parse().unwrap());
        for by_tools in [RawBson::Int64(1), RawBson::Double(1.0), decimal] {
            assert_eq!(key(by_tools.clone()), written, "{by_tools:?}");
        }
        assert_eq!(key(RawBson::Double(1.5)), None);
        assert_eq!(key(RawBson::String("1".into())), None, "nor does MongoDB find it");
    }

    #[test]
    fn index_keys_are_in_the_order_of_the_values() {
        let values = [
            IndexValue::Int(i32::MIN),
            IndexValue::Int(-1),
            IndexValue::Int(0),
            IndexValue::Int(1),
            IndexValue::Int(i32::MAX),
            IndexValue::Uuid(Uuid::nil()),
            IndexValue::Uuid(Uuid::from_u128(1)),
            IndexValue::Uuid(Uuid::max()),
        ];
        let keys: Vec<Vec<u8>> = values
            .iter()
            .map(|value| {
                let mut key = Vec::new();
                put(&mut key, *value);
                key
            })
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }
}
