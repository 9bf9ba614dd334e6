//! The statements by which the services write, as raw commands.

use std::time::Duration;

use mongodb::bson::{
    Binary, RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc, spec::BinarySubtype,
};
use uuid::Uuid;

/// How long a write may take to be on the majority.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);

/// On the majority and in the journal.
fn durable() -> RawDocumentBuf {
    rawdoc! { "w": "majority", "j": true, "wtimeout": DURABLE_WITHIN.as_millis() as i64 }
}

/// Documents that are new. `alone`: durable by itself, not as part of a transaction.
pub fn insert(collection: &str, documents: &[RawDocumentBuf], alone: bool) -> RawDocumentBuf {
    let mut elements = RawArrayBuf::new();
    documents
        .iter()
        .for_each(|document| elements.push(document.as_ref()));
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("insert"), collection);
    command.append(cstr!("documents"), elements);
    finished(command, alone)
}

/// Documents that replace those of the version before. `alone` as for [`insert`].
pub fn replace(collection: &str, documents: &[(Uuid, i64, RawDocumentBuf)], alone: bool) -> RawDocumentBuf {
    let mut updates = RawArrayBuf::new();
    for (id, version, document) in documents {
        updates.push(replacement(*id, *version, document));
    }
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), collection);
    command.append(cstr!("updates"), updates);
    finished(command, alone)
}

fn replacement(id: Uuid, version: i64, document: &RawDocument) -> RawDocumentBuf {
    let mut literal = RawDocumentBuf::new();
    literal.append(cstr!("$literal"), document);
    let mut condition = RawArrayBuf::new();
    condition.push(rawdoc! { "$eq": ["$version", version] });
    condition.push(literal);
    condition.push("$$ROOT");
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$replaceWith": { "$cond": condition } });
    let mut update = RawDocumentBuf::new();
    update.append(cstr!("q"), rawdoc! { "_id": binary(id) });
    update.append(cstr!("u"), stages);
    update
}

fn finished(mut command: RawDocumentBuf, alone: bool) -> RawDocumentBuf {
    command.append(cstr!("ordered"), !alone);
    if alone {
        command.append(cstr!("writeConcern"), durable());
    }
    command
}

/// Empties the outboxes of documents of one version; may be lost in a crash.
pub fn forget_outboxes(collection: &str, version: i64, ids: &[Uuid]) -> RawDocumentBuf {
    let mut all = RawArrayBuf::new();
    ids.iter().for_each(|id| all.push(binary(*id)));
    rawdoc! {
        "update": collection,
        "updates": [{
            "q": { "_id": { "$in": all }, "version": version },
            "u": { "$unset": { "outbox": "" } },
            "multi": true,
            "hint": { "_id": 1 },
        }],
        "ordered": false,
        "writeConcern": { "w": 1 },
    }
}

fn binary(id: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}
