//! Parked records as operators see them.

use actix_web::HttpResponse;
use bson::Binary;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    environment::Timestamp,
    event_log::HeaderName,
    parking::{Entry, JobId, LaneId, ParkedId, ParkedRecord, ParkedState, ReplayJob, Request},
};

/// A record whose envelope cannot be read is for nobody in particular.
const EVERYWHERE: &str =
    "every service that reads this topic has parked this record and needs to be asked by itself";

/// A line of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    id: ParkedId,
    state: &'static str,
    topic: String,
    partition: i32,
    offset: i64,
    key: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    attempts: i32,
    parked_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'static str>,
    /// Who else holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// A record with all that is known of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<LaneId>,
    /// Records of its subject that wait for it.
    behind: usize,
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<Value>,
    headers: Vec<Value>,
    history: Vec<Entry>,
}

/// What became of a request, or would become of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub dry_run: bool,
    /// As they are (would be) then.
    pub records: Vec<Summary>,
    /// Records that stand behind these, and follow them.
    pub behind: usize,
    pub refused: Vec<Refused>,
}

/// A replay job, with what has become of its records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    job: JobId,
    reason: String,
    created_at: Timestamp,
    correlation_id: String,
    /// Records that were asked for so far.
    total: usize,
    /// Handled.
    done: usize,
    /// Failed again, for good or until the next try.
    failed: usize,
    /// Given up by an operator since.
    discarded: usize,
    /// Not tried yet.
    pending: usize,
    /// Nothing is pending, and nothing more will be asked for.
    finished: bool,
}

/// Whether a record in this state is still to be tried for its job.
pub fn is_pending(state: ParkedState) -> bool {
    matches!(state, ParkedState::Requested | ParkedState::Waiting)
}

pub fn progress(job: &ReplayJob, by_state: &[usize; ParkedState::ALL.len()]) -> Progress {
    let count = |state: ParkedState| by_state[state as usize];
    let pending = ParkedState::ALL.into_iter().filter(|state| is_pending(*state));
    let pending = pending.map(count).sum();
    Progress {
        job: job.id,
        reason: job.reason.clone(),
        created_at: job.created_at,
        correlation_id: job.correlation_id.clone(),
        total: by_state.iter().sum(),
        done: count(ParkedState::Done),
        failed: count(ParkedState::Parked) + count(ParkedState::Retrying),
        discarded: count(ParkedState::Discarded),
        pending,
        finished: job.finished != 0 && pending == 0,
    }
}

/// A record that nothing was done to.
#[derive(Serialize)]
pub struct Refused {
    pub id: ParkedId,
    pub why: String,
}

impl Outcome {
    pub fn new(dry_run: bool) -> Outcome {
        Outcome {
            dry_run,
            records: Vec::new(),
            behind: 0,
            refused: Vec::new(),
        }
    }
}

pub fn outcome(outcome: &Outcome) -> HttpResponse {
    if outcome.dry_run || outcome.records.is_empty() {
        HttpResponse::Ok().json(outcome)
    } else {
        HttpResponse::Accepted().json(outcome)
    }
}

pub fn list_page(records: &[ParkedRecord], cursor: Option<ParkedId>) -> Value {
    let items: Vec<_> = records.iter().map(summary).collect();
    json!({ "items": items, "nextCursor": cursor })
}

pub fn summary(record: &ParkedRecord) -> Summary {
    Summary {
        id: record.id,
        state: record.state.as_str(),
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
        key: text(record.key.as_ref()),
        reason: record.reason.clone(),
        error: record.error.clone(),
        attempts: record.attempts,
        parked_at: record.parked_at,
        updated_at: record.updated_at,
        next_try_at: record.next_try_at,
        request: record.request.as_ref().map(verb),
        note: (record.reason.as_deref() == Some("malformed-envelope")).then_some(EVERYWHERE),
    }
}

pub fn detail(record: &ParkedRecord, behind: usize) -> Detail {
    let header = |header: &crate::parking::ParkedHeader| json!({ "name": name(&header.name), "value": text(header.value.as_ref()) });
    Detail {
        summary: summary(record),
        lane: (!record.lane.is_alone()).then_some(record.lane),
        behind,
        value: text(record.value.as_ref()),
        edited: record.edited.as_ref().map(|edited| text(Some(edited))),
        headers: record.headers.iter().map(header).collect(),
        history: record.history.clone(),
    }
}

fn name(name: &HeaderName) -> Value {
    name.as_str().map_or_else(|| hex(name.as_bytes()), Value::from)
}

/// What an operator asked for, as a word.
pub fn verb(request: &Request) -> &'static str {
    match request {
        Request::Replay => "replay",
        Request::Edit { .. } => "edit",
        Request::Discard { .. } => "discard",
    }
}

/// Text where it is UTF-8, `{"hex": …}` where not.
fn text(binary: Option<&Binary>) -> Value {
    let Some(binary) = binary else {
        return Value::Null;
    };
    match str::from_utf8(&binary.bytes) {
        Ok(text) => text.into(),
        Err(_) => hex(&binary.bytes),
    }
}

fn hex(bytes: &[u8]) -> Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "hex": hex })
}
