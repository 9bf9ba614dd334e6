//! What may happen to a parked record: pure, so deciding again on a newer copy is harmless.

use super::{
    ContentId, Failure, Fate, JobId, KeyId, LONGEST_PAUSE, LaneId, ParkedId,
    record::{Entry, ParkedHeader, ParkedRecord, ParkedState, Request, Verb, binary},
    usable,
};
use crate::{environment::Timestamp, event_log::ConsumedRecord};

/// Entries at which a history loses its oldest failure but the first.
const HISTORY: usize = 50;

/// Something that happens to a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is parked: it failed, or it stands behind one that did.
    Park(Box<NewParked>),
    /// It is about to be tried again. From now on until the attempt has ended operators are refused:
    /// what they were promised is never overtaken by an attempt that was begun before.
    Begin,
    /// It was tried again, and failed again.
    Fail {
        /// How.
        failure: Failure,
        /// When the attempt began. One that the partition's next owner has begun anew counts no longer.
        begun: Option<Timestamp>,
    },
    /// It was tried again, and is handled.
    Finish {
        /// When the attempt began. What an operator has asked for since then comes first.
        begun: Option<Timestamp>,
    },
    /// It is given up, as an operator asked.
    Discard,
    /// A job asks for a replay, on behalf of an operator.
    ReplayFor {
        /// Which.
        job: JobId,
        /// The request behind it.
        correlation_id: String,
    },
    /// An operator decides.
    Request {
        /// What.
        request: Request,
        /// The request behind it.
        correlation_id: String,
    },
}

/// A record to park.
#[derive(Debug, Clone, PartialEq)]
pub struct NewParked {
    /// As it came.
    pub record: ConsumedRecord,
    /// Where it waits.
    pub lane: LaneId,
    /// Why it failed; none where it only stands behind another.
    pub failure: Option<Failure>,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// There is no such record.
    Unknown,
    /// It is handled or given up already.
    Closed(ParkedState),
    /// It stands behind another of its lane, which has to be dealt with first.
    Behind,
    /// It is being handled at this moment.
    Busy,
}

/// What is to be done with the head of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is to be handled now.
    Replay,
    /// It is to be given up now.
    Discard,
    /// It is to be handled at this moment.
    At(Timestamp),
    /// Nothing, before an operator decides.
    Never,
}

/// What is due with the head of a lane. Who wrote it may have had another clock.
pub fn due(head: &ParkedRecord, now: Timestamp) -> Due {
    if matches!(head.request, Some(Request::Discard { .. })) {
        return Due::Discard;
    }
    match head.state {
        ParkedState::Waiting | ParkedState::Requested => Due::Replay,
        ParkedState::Retrying => match head.next_try_at {
            // No pause is that long: the clock was another, or was set back.
            Some(next) if next > now && next.since(now) <= LONGEST_PAUSE * 2 => Due::At(next),
            _ => Due::Replay,
        },
        ParkedState::Parked | ParkedState::Done | ParkedState::Discarded => Due::Never,
    }
}

/// Decides what a change makes of a record. `None`: nothing changes.
pub fn decide(
    known: Option<&ParkedRecord>,
    change: &Change,
    now: Timestamp,
) -> Result<Option<ParkedRecord>, Refusal> {
    let known = match (known, change) {
        (None, Change::Park(new)) => return Ok(Some(park(new, now))),
        (None, _) => return Err(Refusal::Unknown),
        (Some(known), _) => known,
    };
    if !known.state.is_open() {
        return match change {
            Change::Park(new)
                if known
                    .content
                    .is_some_and(|known| known != ContentId::of(&new.record)) =>
            {
                Ok(Some(park(new, now)))
            }
            // Delivered again, though it was dealt with: so it stays.
            Change::Park(_)
            | Change::Begin
            | Change::Fail { .. }
            | Change::Finish { .. }
            | Change::Discard => Ok(None),
            Change::Request { .. } | Change::ReplayFor { .. } => Err(Refusal::Closed(known.state)),
        };
    }
    let mut record = known.clone();
    match change {
        Change::Park(new) => match &new.failure {
            // Delivered again after a crash: what stood behind another is now the one that fails.
            Some(failure) if known.state == ParkedState::Waiting => fail(&mut record, failure, now),
            _ => return Ok(None),
        },
        Change::Begin if due(known, now) != Due::Replay => return Ok(None),
        Change::Begin => record.attempt_since = Some(now),
        Change::Fail { begun, .. } if *begun != known.attempt_since => return Ok(None),
        Change::Fail { failure, .. } => fail(&mut record, failure, now),
        Change::Finish { begun } if *begun != known.attempt_since && known.request.is_some() => {
            return Ok(None);
        }
        Change::Finish { .. } => close(&mut record, ParkedState::Done, Verb::Handled, now),
        // He has thought better of it since.
        Change::Discard if !matches!(known.request, Some(Request::Discard { .. })) => return Ok(None),
        Change::Discard => close(&mut record, ParkedState::Discarded, Verb::Discarded, now),
        Change::ReplayFor { job, correlation_id } => {
            record.job = Some(*job);
            ask(&mut record, &Request::Replay, correlation_id, now)?;
        }
        Change::Request {
            request,
            correlation_id,
        } => ask(&mut record, request, correlation_id, now)?,
    }
    Ok(Some(record))
}

fn park(new: &NewParked, now: Timestamp) -> ParkedRecord {
    let NewParked {
        record,
        lane,
        failure,
    } = new;
    let position = &record.position;
    let header = |header: &crate::event_log::Header| ParkedHeader {
        name: header.name.clone(),
        value: header.value.clone().map(binary),
    };
    let mut parked = ParkedRecord {
        id: ParkedId::of(&position.topic, position.partition, position.offset),
        lane: *lane,
        key_id: usable(record.key.as_deref()).map(|key| KeyId::of(&position.topic, key)),
        state: ParkedState::Waiting,
        topic: position.topic.to_string(),
        partition: position.partition,
        offset: position.offset,
        key: record.key.clone().map(binary),
        value: record.value.clone().map(binary),
        headers: record.headers.iter().map(header).collect(),
        content: Some(ContentId::of(record)),
        reason: None,
        error: None,
        attempts: 0,
        parked_at: now,
        updated_at: now,
        next_try_at: None,
        attempt_since: None,
        request: None,
        job: None,
        edited: None,
        history: Vec::new(),
    };
    match failure {
        Some(failure) => fail(&mut parked, failure, now),
        None => note(
            &mut parked,
            Verb::Parked,
            "behind an earlier one of its subject",
            None,
            now,
        ),
    }
    parked
}

fn fail(record: &mut ParkedRecord, failure: &Failure, now: Timestamp) {
    record.attempts = record.attempts.saturating_add(1);
    record.reason = Some(failure.reason.clone());
    record.error = Some(failure.error.clone());
    record.request = None;
    record.attempt_since = None;
    (record.state, record.next_try_at) = match failure.fate {
        Fate::Retry(pause) => (ParkedState::Retrying, Some(now.after(pause))),
        Fate::Final => (ParkedState::Parked, None),
    };
    let what = format!("{}: {}", failure.reason, failure.error);
    note(record, Verb::Failed, &what, None, now);
}

fn close(record: &mut ParkedRecord, state: ParkedState, verb: Verb, now: Timestamp) {
    let why = match record.request.take() {
        Some(Request::Discard { why }) if verb == Verb::Discarded => why,
        _ => String::new(),
    };
    record.state = state;
    record.next_try_at = None;
    record.attempt_since = None;
    note(record, verb, &why, None, now);
}

fn ask(
    record: &mut ParkedRecord,
    request: &Request,
    correlation_id: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    // No clock ends an attempt: whoever takes the partition over begins it anew.
    if record.attempt_since.is_some() {
        return Err(Refusal::Busy);
    }
    let (verb, why) = match request {
        Request::Replay if record.state == ParkedState::Waiting => return Err(Refusal::Behind),
        Request::Replay => (Verb::ReplayRequested, ""),
        Request::Edit { value } => {
            record.edited = Some(binary(value.as_bytes()));
            (Verb::Edited, "")
        }
        Request::Discard { why } => (Verb::DiscardRequested, why.as_str()),
    };
    // The value of an edit is in the record now; kept twice it would only cost.
    record.request = Some(match request {
        Request::Edit { .. } => Request::Replay,
        other => other.clone(),
    });
    if record.state != ParkedState::Waiting {
        record.state = ParkedState::Requested;
        record.next_try_at = None;
    }
    note(record, verb, why, Some(correlation_id), now);
    Ok(())
}

fn note(record: &mut ParkedRecord, what: Verb, text: &str, correlation_id: Option<&str>, now: Timestamp) {
    record.updated_at = now;
    record.history.push(Entry {
        at: now,
        what,
        note: text.to_owned(),
        correlation_id: correlation_id.map(str::to_owned),
    });
    if record.history.len() > HISTORY {
        // What operators did is kept for good.
        let failed = |entry: &Entry| entry.what == Verb::Failed;
        if let Some(oldest) = record.history.iter().skip(1).position(failed) {
            record.history.remove(oldest + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event_log::Position;
    use uuid::Uuid;

    fn record(offset: i64) -> ConsumedRecord {
        ConsumedRecord {
            position: Position {
                topic: "t".into(),
                partition: 3,
                offset,
            },
            generation: 1,
            key: Some(b"ada".to_vec()),
            value: Some(b"{}".to_vec()),
            headers: Vec::new(),
        }
    }

    fn failure(fate: Fate) -> Failure {
        Failure {
            fate,
            reason: "unknown-parcel".into(),
            error: "there is no parcel".into(),
            group: "parcel-service".into(),
        }
    }

    fn new(fate: Option<Fate>) -> NewParked {
        NewParked {
            record: record(7),
            lane: LaneId::of("t", 3, Uuid::from_u128(1)),
            failure: fate.map(failure),
        }
    }

    fn parked(fate: Option<Fate>) -> ParkedRecord {
        let new = new(fate);
        changed(None, &Change::Park(Box::new(new)), 0)
    }

    fn changed(known: Option<&ParkedRecord>, change: &Change, at: i64) -> ParkedRecord {
        decide(known, change, Timestamp(at)).unwrap().unwrap()
    }

    fn fails(begun: Option<Timestamp>, fate: Fate) -> Change {
        Change::Fail {
            failure: failure(fate),
            begun,
        }
    }

    fn finishes(begun: &ParkedRecord) -> Change {
        Change::Finish {
            begun: begun.attempt_since,
        }
    }

    fn request(request: Request) -> Change {
        Change::Request {
            request,
            correlation_id: "c".into(),
        }
    }

    #[test]
    fn a_record_that_failed_for_good_waits_for_an_operator_and_is_handled_as_it_came() {
        let parked = parked(Some(Fate::Final));
        assert_eq!((parked.state, parked.attempts), (ParkedState::Parked, 1));
        let handled = parked.to_handle();
        assert_eq!((handled.key, handled.value), (record(7).key, record(7).value));
        let requested = changed(Some(&parked), &request(Request::Replay), 5);
        assert_eq!(requested.state, ParkedState::Requested);
        let begun = changed(Some(&requested), &Change::Begin, 6);
        let done = changed(Some(&begun), &finishes(&begun), 6);
        assert_eq!((done.state, done.request), (ParkedState::Done, None));
        let happened: Vec<_> = done.history.iter().map(|entry| entry.what).collect();
        assert_eq!(happened, [Verb::Failed, Verb::ReplayRequested, Verb::Handled]);
    }

    #[test]
    fn attempts_are_counted_over_retries_until_it_is_for_good() {
        let retry = Fate::Retry(Duration::from_millis(10));
        let first = parked(Some(retry));
        assert_eq!(
            (first.state, first.next_try_at),
            (ParkedState::Retrying, Some(Timestamp(10)))
        );
        let again = changed(Some(&first), &fails(None, retry), 99);
        assert_eq!((again.next_try_at, again.attempts), (Some(Timestamp(109)), 2));
        let last = changed(Some(&again), &fails(None, Fate::Final), 100);
        assert_eq!((last.state, last.attempts), (ParkedState::Parked, 3));
    }

    #[test]
    fn a_pause_that_another_clock_has_set_is_not_waited_out() {
        let first = parked(Some(Fate::Retry(Duration::from_secs(9))));
        assert_eq!(due(&first, Timestamp(0)), Due::At(Timestamp(9_000)));
        assert_eq!(due(&first, Timestamp(9_000)), Due::Replay);
        assert_eq!(due(&first, Timestamp(-3_600_000)), Due::Replay, "an hour behind");
    }

    #[test]
    fn a_record_that_is_delivered_again_stays_as_it_was_dealt_with() {
        let parked = parked(Some(Fate::Final));
        let again = Change::Park(Box::new(new(Some(Fate::Final))));
        assert_eq!(decide(Some(&parked), &again, Timestamp(1)), Ok(None));
        let done = changed(Some(&parked), &finishes(&parked), 2);
        assert_eq!(decide(Some(&done), &again, Timestamp(3)), Ok(None));
        let mut other = new(Some(Fate::Final));
        other.record.value = Some(b"another, at the same offset".to_vec());
        let other = changed(Some(&done), &Change::Park(Box::new(other)), 3);
        assert_eq!(other.state, ParkedState::Parked, "the log had lost its tail");
        let late = decide(Some(&done), &request(Request::Replay), Timestamp(3));
        assert_eq!(late, Err(Refusal::Closed(ParkedState::Done)));
    }

    #[test]
    fn what_stands_behind_another_is_not_replayed_before_it() {
        let behind = parked(None);
        assert_eq!((behind.state, behind.attempts), (ParkedState::Waiting, 0));
        let refused = decide(Some(&behind), &request(Request::Replay), Timestamp(1));
        assert_eq!(refused, Err(Refusal::Behind));
        let why = "a test".to_owned();
        let asked = changed(Some(&behind), &request(Request::Discard { why: why.clone() }), 1);
        assert_eq!(asked.state, ParkedState::Waiting, "its turn has not come");
        let discarded = changed(Some(&asked), &Change::Discard, 2);
        assert_eq!(discarded.state, ParkedState::Discarded);
        assert_eq!(
            discarded.history.last().map(|entry| entry.note.clone()),
            Some(why)
        );
    }

    #[test]
    fn what_an_operator_asked_for_last_counts() {
        let parked = parked(Some(Fate::Final));
        let why = "a test".to_owned();
        let discard = changed(Some(&parked), &request(Request::Discard { why }), 1);
        let replay = changed(Some(&discard), &request(Request::Replay), 2);
        assert_eq!(decide(Some(&replay), &Change::Discard, Timestamp(3)), Ok(None));
    }

    #[test]
    fn an_edited_record_keeps_what_it_was() {
        let parked = parked(Some(Fate::Final));
        let value = "{\"a\":1}".to_owned();
        let edited = changed(Some(&parked), &request(Request::Edit { value: value.clone() }), 1);
        assert_eq!(edited.value, parked.value, "the old one is kept");
        assert_eq!(edited.to_handle().value, Some(value.into_bytes()));
        assert_eq!(edited.request, Some(Request::Replay));
    }

    #[test]
    fn what_an_operator_asked_for_is_not_overtaken_by_an_attempt_and_an_attempt_not_by_an_operator() {
        let parked = parked(Some(Fate::Retry(Duration::ZERO)));
        let begun = changed(Some(&parked), &Change::Begin, 1);
        let late = decide(Some(&begun), &request(Request::Replay), Timestamp(2));
        assert_eq!(late, Err(Refusal::Busy));
        let why = "a test".to_owned();
        let discard = request(Request::Discard { why });
        let asked = changed(Some(&parked), &discard, 1);
        let overtaken = decide(Some(&asked), &Change::Begin, Timestamp(2));
        assert_eq!(overtaken, Ok(None), "it is to be given up, not to be tried");

        let hours_later = decide(Some(&begun), &discard, Timestamp(9_000_000));
        assert_eq!(hours_later, Err(Refusal::Busy), "clocks differ");
        let failed = changed(Some(&begun), &fails(begun.attempt_since, Fate::Final), 3);
        assert_eq!(failed.attempt_since, None);
        let asked = changed(Some(&failed), &discard, 4);
        let late = fails(begun.attempt_since, Fate::Retry(Duration::ZERO));
        let overtaken = decide(Some(&asked), &late, Timestamp(5));
        assert_eq!(overtaken, Ok(None), "an attempt that has ended fails no more");
        let overtaken = decide(Some(&asked), &finishes(&begun), Timestamp(5));
        assert_eq!(overtaken, Ok(None), "nor does it succeed");
    }
}
