//! Writes as commands of the server, and what the answers say of each write.
//!
//! Commands are built as raw BSON around the documents: nothing is parsed on the way, and a batch
//! costs one round trip (`Client::bulk_write` would need MongoDB 8).

use std::{collections::BTreeSet, time::Duration};

use bson::{
    Binary, Bson, Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc,
    spec::BinarySubtype,
};
use uuid::Uuid;

use super::{
    super::{Mark, Write},
    errors::{Fate, clean, fate_of_code},
};

/// Most writes in one command.
pub(super) const MOST_WRITES: usize = 1000;
/// Most bytes of documents in one command. A command is a document itself and ends at 16 MB; 256
/// documents of 64 KB would not fit.
const MOST_BYTES: usize = 12 * 1024 * 1024;
/// Each write beside its document: guard, field names, array index.
const BYTES_BESIDE: usize = 192;

/// Writes of one kind to one collection, sent as one command.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) collection: &'static str,
    /// Replacements, else inserts.
    pub(super) replaces: bool,
    /// Places of the writes in the commit.
    pub(super) writes: Vec<usize>,
    bytes: usize,
}

/// Sorts the `pending` of `writes` into as few batches as may be, replacements first: it is they
/// that meet others, and a transaction that has to fail fails early.
pub(super) fn batches(writes: &[Write], pending: impl IntoIterator<Item = usize>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for index in pending {
        let write = &writes[index];
        let (collection, replaces) = (write.key.collection, write.expected_version.is_some());
        let bytes = write.document.as_bytes().len() + BYTES_BESIDE;
        let open = batches.iter_mut().rev().find(|batch| {
            batch.collection == collection
                && batch.replaces == replaces
                && batch.writes.len() < MOST_WRITES
                && batch.bytes + bytes <= MOST_BYTES
        });
        match open {
            Some(batch) => {
                batch.writes.push(index);
                batch.bytes += bytes;
            }
            None => batches.push(Batch {
                collection,
                replaces,
                writes: vec![index],
                bytes,
            }),
        }
    }
    batches.sort_by_key(|batch| !batch.replaces);
    batches
}

/// How durable: on the majority, in the journal, said within `within`.
pub(super) fn durable(within: Duration) -> RawDocumentBuf {
    let wtimeout = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    rawdoc! { "w": "majority", "j": true, "wtimeout": wtimeout }
}

/// The command of a batch; within a transaction it has no write concern of its own.
pub(super) fn write_command(
    batch: &Batch,
    writes: &[Write],
    write_concern: Option<RawDocumentBuf>,
) -> RawDocumentBuf {
    let mut elements = RawArrayBuf::new();
    for write in batch.writes.iter().map(|index| &writes[*index]) {
        match write.expected_version {
            None => elements.push(write.document.as_ref()),
            Some(version) => elements.push(replacement(write, version)),
        }
    }
    let mut command = RawDocumentBuf::new();
    if batch.replaces {
        command.append(cstr!("update"), batch.collection);
        command.append(cstr!("updates"), elements);
    } else {
        command.append(cstr!("insert"), batch.collection);
        command.append(cstr!("documents"), elements);
    }
    // In a transaction the first error ends everything anyway.
    command.append(cstr!("ordered"), write_concern.is_none());
    if let Some(write_concern) = write_concern {
        command.append(cstr!("writeConcern"), write_concern);
    }
    command
}

/// The statement that replaces a document which is still of this version, and leaves any other alone.
///
/// The guard stands in the update, not in the query: a query for nothing but an `_id` needs no
/// planner, which halves what a replacement costs the server.
fn replacement(write: &Write, version: i64) -> RawDocumentBuf {
    let mut condition = RawArrayBuf::new();
    // Numbers are equal whatever their type. A tool may also have made a text of it.
    condition.push(rawdoc! { "$in": ["$version", [version, version.to_string()]] });
    condition.push(wanted(write));
    condition.push("$$ROOT");
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$replaceWith": { "$cond": condition } });
    let mut update = RawDocumentBuf::new();
    update.append(cstr!("q"), rawdoc! { "_id": binary(write.key.id) });
    update.append(cstr!("u"), stages);
    update
}

/// What the document becomes: as it was written, without those carried events that the stored document
/// no longer has.
fn wanted(write: &Write) -> RawDocumentBuf {
    if write.carried.is_empty() {
        return literal(&write.document);
    }
    let mut fields = RawDocumentBuf::new();
    let mut events = RawArrayBuf::new();
    for field in write.document.iter().flatten() {
        match field {
            (name, RawBsonRef::Array(entries)) if name.as_str() == "outbox" => {
                entries.into_iter().flatten().for_each(|entry| events.push(entry));
            }
            (name, value) => fields.append(name, value),
        }
    }
    let mut input = RawDocumentBuf::new();
    input.append(cstr!("$literal"), events);
    let carried: RawArrayBuf = write.carried.iter().map(|event| binary(event.0)).collect();
    // A carried event that is not in the stored outbox is marked.
    let left = rawdoc! { "$filter": { "input": input, "cond": { "$or": [
        { "$not": [{ "$in": ["$$this._id", carried] }] },
        { "$in": ["$$this._id", { "$ifNull": ["$outbox._id", []] }] },
    ] } } };
    rawdoc! { "$mergeObjects": [literal(&fields), { "outbox": unless_empty(left) }] }
}

fn literal(document: &RawDocument) -> RawDocumentBuf {
    let mut literal = RawDocumentBuf::new();
    literal.append(cstr!("$literal"), document);
    literal
}

/// The array, or nothing at all where it is empty.
fn unless_empty(array: RawDocumentBuf) -> RawDocumentBuf {
    let choice = rawdoc! { "$cond": [{ "$eq": ["$$left", []] }, "$$REMOVE", "$$left"] };
    rawdoc! { "$let": { "vars": { "left": array }, "in": choice } }
}

/// The command that takes events out of outboxes, whatever the version of their document is: one
/// statement for all, which takes from each of them what is in the list.
///
/// An outbox that becomes empty stays as an empty array until its document is written again. The sparse
/// index does not hold it, and `{"outbox._id": {"$exists": true}}` does not find it. To remove the field
/// as well costs the server half as much again (0.085 instead of 0.057 ms a mark, by a pipeline with
/// `$filter` and `$$REMOVE`; twice as much by a second statement).
///
/// Hazard: without `j` others would wait. A durable write is confirmed once the journal holds all that
/// comes before it in the oplog. Where a mark stands there that is not committed yet (a
/// [hole](https://jira.mongodb.org/browse/SERVER-70155)), the flush that the write asks for does not
/// reach as far as the write itself; a mark that asks for none leaves that to the server's next one by
/// the clock, 100 ms later.
pub(super) fn forget_events(collection: &'static str, marks: &[Mark]) -> RawDocumentBuf {
    let ids: RawArrayBuf = marks.iter().map(|mark| binary(mark.key.id)).collect();
    let events = marks.iter().flat_map(|mark| &mark.events);
    let events: RawArrayBuf = events.map(|event| binary(event.0)).collect();
    let mut updates = RawArrayBuf::new();
    updates.push(rawdoc! {
        "q": { "_id": { "$in": ids } },
        "u": { "$pull": { "outbox": { "_id": { "$in": events } } } },
        "multi": true,
        "hint": { "_id": 1 },
    });
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("update"), collection);
    command.append(cstr!("updates"), updates);
    command.append(cstr!("ordered"), false);
    command.append(cstr!("writeConcern"), rawdoc! { "w": 1, "j": true });
    command
}

/// The largest document that MongoDB takes.
const LARGEST_DOCUMENT: usize = 16 * 1024 * 1024;

/// Says so where a document is larger than the server takes. It would not answer which one, and may
/// close the connection.
pub(super) fn too_large(writes: &[Write]) -> Option<String> {
    let write = writes
        .iter()
        .find(|write| write.document.as_bytes().len() > LARGEST_DOCUMENT)?;
    let (key, bytes) = (write.key, write.document.as_bytes().len());
    Some(format!(
        "{} of {} has {bytes} bytes, more than 16 MB",
        key.id, key.collection
    ))
}

fn binary(id: Uuid) -> Binary {
    Binary {
        subtype: BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    }
}

/// What an answer says of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Written, and durable.
    Applied,
    /// Not written by this command; perhaps by an earlier one of ours. Reading back tells.
    Refused,
    /// Nobody knows yet; ask again.
    Unknown(String),
    /// The server will take nothing of this kind until somebody acts.
    Unfit(String),
    /// The server will never take this document.
    Rejected(String),
}

/// What `reply` says of the writes of `batch`, in their order.
pub(super) fn judge(batch: &Batch, reply: &Document) -> Vec<Verdict> {
    let asked = batch.writes.len();
    if let Some(reason) = write_concern_error(reply) {
        return vec![Verdict::Unknown(reason); asked];
    }
    let mut verdicts = vec![Verdict::Applied; asked];
    let mut failed = BTreeSet::new();
    for error in write_errors(reply) {
        let index = error
            .get("index")
            .and_then(number)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(verdict) = index.and_then(|index| verdicts.get_mut(index)) {
            *verdict = judge_error(error);
            failed.extend(index);
        }
    }
    // The answer counts the replacements that met their version; it does not say which. One that met
    // another has changed nothing.
    let counter = if batch.replaces { "nModified" } else { "n" };
    let applied = reply
        .get(counter)
        .and_then(number)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0);
    if applied + failed.len() != asked {
        for (index, verdict) in verdicts.iter_mut().enumerate() {
            if !failed.contains(&index) {
                *verdict = Verdict::Refused;
            }
        }
    }
    verdicts
}

/// The first thing that an answer complains of, if any.
pub(super) fn first_error(reply: &Document) -> Option<String> {
    write_concern_error(reply).or_else(|| write_errors(reply).next().map(describe))
}

fn judge_error(error: &Document) -> Verdict {
    let code = error
        .get("code")
        .and_then(number)
        .and_then(|code| i32::try_from(code).ok())
        .unwrap_or(0);
    match code {
        // DuplicateKey; `_id` is the only unique index.
        11000 | 11001 => Verdict::Refused,
        // DocumentValidationFailure, BSONObjectTooLarge (two codes), KeyTooLong.
        121 | 10334 | 17280 | 17419 => Verdict::Rejected(describe(error)),
        code => match fate_of_code(code) {
            Fate::Unfit => Verdict::Unfit(describe(error)),
            Fate::NotSent | Fate::Unknown | Fate::WriteConflict => Verdict::Unknown(describe(error)),
        },
    }
}

fn write_errors(reply: &Document) -> impl Iterator<Item = &Document> {
    reply
        .get_array("writeErrors")
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
}

fn write_concern_error(reply: &Document) -> Option<String> {
    let error = reply.get_document("writeConcernError").ok()?;
    Some(format!("write concern not met, {}", describe(error)))
}

fn describe(error: &Document) -> String {
    let code = error.get("code").and_then(number).unwrap_or(0);
    clean(&format!(
        "error code {code}: {}",
        error.get_str("errmsg").unwrap_or("no message")
    ))
}

/// Servers and routers answer numbers in whatever type they please.
pub(super) fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::document_store::DocumentKey;

    fn write(collection: &'static str, expected_version: Option<i64>, bytes: usize) -> Write {
        let document = rawdoc! { "padding": "x".repeat(bytes) };
        Write {
            key: DocumentKey {
                collection,
                id: Uuid::now_v7(),
            },
            expected_version,
            document: document.into(),
            carried: Vec::new(),
        }
    }

    fn batch(asked: usize) -> Batch {
        Batch {
            collection: "c",
            replaces: true,
            writes: (0..asked).collect(),
            bytes: 0,
        }
    }

    #[test]
    fn writes_share_a_command_per_collection_and_kind_up_to_the_server_limits() {
        let writes = [
            write("a", None, 1),
            write("b", Some(1), 1),
            write("a", None, 1),
            write("a", Some(4), 1),
        ];
        let sorted: Vec<_> = batches(&writes, 0..4)
            .into_iter()
            .map(|batch| (batch.collection, batch.replaces, batch.writes))
            .collect();
        assert_eq!(
            sorted,
            [
                ("b", true, vec![1]),
                ("a", true, vec![3]),
                ("a", false, vec![0, 2])
            ]
        );

        let large: Vec<Write> = (0..256).map(|_| write("a", None, 64 * 1024)).collect();
        let split = batches(&large, 0..256);
        assert_eq!(split.len(), 2);
        for batch in &split {
            let command = write_command(batch, &large, Some(durable(Duration::from_secs(1))));
            assert!(command.as_bytes().len() < 16 * 1024 * 1024);
        }
        let many: Vec<Write> = (0..2500).map(|_| write("a", None, 1)).collect();
        assert_eq!(batches(&many, 0..2500).len(), 3);
    }

    #[test]
    fn each_write_is_judged_by_itself_where_the_answer_tells_it() {
        let reply = doc! { "ok": 1, "n": 1, "nModified": 1, "writeErrors": [
            { "index": 1, "code": 11000, "errmsg": "E11000" },
            { "index": 2, "code": 121, "errmsg": "failed validation" },
        ] };
        let rejected = Verdict::Rejected("error code 121: failed validation".into());
        assert_eq!(
            judge(&batch(3), &reply),
            [Verdict::Applied, Verdict::Refused, rejected]
        );
    }

    #[test]
    fn a_count_that_falls_short_puts_every_write_in_doubt() {
        assert_eq!(
            judge(&batch(2), &doc! { "n": 2, "nModified": 2 }),
            [Verdict::Applied, Verdict::Applied]
        );
        assert_eq!(
            judge(&batch(2), &doc! { "n": 2, "nModified": 1_i64 }),
            [Verdict::Refused, Verdict::Refused]
        );
        assert_eq!(judge(&batch(1), &doc! {}), [Verdict::Refused]);
    }

    #[test]
    fn a_write_concern_error_leaves_everything_unknown() {
        let reply = doc! { "n": 1, "writeConcernError": { "code": 64, "errmsg": "timed out" } };
        assert!(matches!(&judge(&batch(1), &reply)[0], Verdict::Unknown(reason) if reason.contains("64")));
    }
}
