use uuid::Uuid;

use super::*;
use crate::{event_log::Position, parking::Fate};

/// A record of key `k` and subject `s`.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    key: u128,
    subject: Option<u128>,
    partition: i32,
    offset: i64,
}

impl InOrder for Record {
    fn key(&self) -> KeyId {
        KeyId(Uuid::from_u128(self.key))
    }
    fn lane(&self) -> LaneId {
        let position = Position {
            topic: "t".into(),
            partition: self.partition,
            offset: self.offset,
        };
        match self.subject {
            Some(subject) => LaneId::of("t", self.partition, Uuid::from_u128(subject)),
            None => LaneId::alone(&position),
        }
    }
    fn assignment(&self) -> Assignment {
        Assignment {
            topic: "t".into(),
            partition: self.partition,
            generation: 1,
        }
    }
    fn parked_id(&self) -> ParkedId {
        ParkedId::of("t", self.partition, self.offset)
    }
    fn content_id(&self) -> ContentId {
        ContentId(Uuid::from_u128(self.key))
    }
    fn bytes(&self) -> usize {
        10
    }
}

fn record(key: u128, subject: u128, offset: i64) -> Record {
    Record {
        key,
        subject: Some(subject),
        partition: 0,
        offset,
    }
}

fn failure() -> Failure {
    Failure {
        fate: Fate::Final,
        reason: "unknown-parcel".into(),
        error: "none".into(),
        group: "g".into(),
    }
}

const OPEN: Parked = Parked::Open {
    due: None,
    known: false,
};

/// The steps that are left, in words.
fn steps(lanes: &mut Lanes<Record>) -> Vec<String> {
    std::iter::from_fn(|| lanes.next_step())
        .map(|step| match step {
            Step::HandOver(record) => format!("hand over {}", record.offset),
            Step::Skip(record) => format!("skip {}", record.offset),
            Step::Park(record, Why::Failed(_)) => format!("park {}", record.offset),
            Step::Park(record, Why::Behind(_)) => format!("park {} behind", record.offset),
            Step::Run { single, .. } => format!("run, single: {single}"),
        })
        .collect()
}

fn arrive(lanes: &mut Lanes<Record>, records: &[Record]) -> Vec<String> {
    records.iter().cloned().for_each(|record| lanes.arrived(record));
    steps(lanes)
}

fn done(lanes: &mut Lanes<Record>, record: &Record, accepted: bool) -> Vec<String> {
    lanes.done(record.lane(), record.key(), &record.assignment(), accepted);
    steps(lanes)
}

fn accepted(lanes: &mut Lanes<Record>, record: &Record) -> Vec<String> {
    lanes.accepted(record.key());
    steps(lanes)
}

fn fail(lanes: &mut Lanes<Record>, record: &Record, accepted: bool) -> Vec<String> {
    lanes.failed(record.clone(), failure(), accepted);
    steps(lanes)
}

fn parked(lanes: &mut Lanes<Record>, record: &Record, what: Parked) -> Vec<String> {
    lanes.parked(record.lane(), &record.assignment(), what);
    steps(lanes)
}

fn ran(lanes: &mut Lanes<Record>, record: &Record, end: RunEnd) -> Vec<String> {
    lanes.ran(record.lane(), &record.assignment(), end);
    steps(lanes)
}

/// An operator asks for the head of a lane.
fn ask(lanes: &mut Lanes<Record>, head: &Record) {
    let open = Open {
        assignment: Arc::new(head.assignment()),
        head: head.parked_id(),
        records: 1,
    };
    lanes.found(head.lane(), open, Some(Timestamp(0)));
    lanes.wake(Timestamp(0));
}

const NOTHING: [&str; 0] = [];

#[test]
fn records_of_a_key_wait_for_a_place_in_the_queue_and_other_keys_pass() {
    let mut lanes = Lanes::default();
    let (first, second, other) = (record(1, 10, 0), record(1, 11, 1), record(2, 20, 2));
    let handed_over = arrive(&mut lanes, &[first.clone(), second.clone(), other]);
    assert_eq!(handed_over, ["hand over 0", "hand over 2"]);
    assert_eq!(accepted(&mut lanes, &first), ["hand over 1"]);
    assert_eq!(accepted(&mut lanes, &second), NOTHING);
    assert_eq!(done(&mut lanes, &second, true), NOTHING);
    assert_eq!(done(&mut lanes, &first, true), NOTHING);
    assert_eq!(arrive(&mut lanes, &[record(1, 10, 3)]), ["hand over 3"]);
}

#[test]
fn a_record_that_is_done_without_a_place_in_the_queue_gives_its_turn_away() {
    let mut lanes = Lanes::default();
    let first = record(1, 10, 0);
    assert_eq!(
        arrive(&mut lanes, &[first.clone(), record(1, 11, 1)]),
        ["hand over 0"]
    );
    assert_eq!(done(&mut lanes, &first, false), ["hand over 1"]);
}

#[test]
fn records_of_a_subject_are_handled_one_after_the_other_in_the_order_of_their_key() {
    let mut lanes = Lanes::default();
    let first = record(1, 10, 0);
    let all = [
        first.clone(),
        record(1, 10, 1),
        record(1, 11, 2),
        record(2, 10, 3),
    ];
    assert_eq!(arrive(&mut lanes, &all), ["hand over 0"]);
    assert_eq!(
        accepted(&mut lanes, &first),
        NOTHING,
        "the next one is of the same subject"
    );
    assert_eq!(done(&mut lanes, &first, true), ["hand over 1"]);
}

#[test]
fn a_failure_stops_later_records_of_its_subject_and_no_other_of_its_key() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    let all = [sick.clone(), record(1, 10, 1), record(1, 11, 2)];
    assert_eq!(arrive(&mut lanes, &all), ["hand over 0"]);
    accepted(&mut lanes, &sick);
    let after = fail(&mut lanes, &sick, true);
    assert_eq!(after, ["park 0", "hand over 2"], "1 waits until 0 is written");
    assert_eq!(parked(&mut lanes, &sick, OPEN), ["park 1 behind"]);
    assert_eq!(parked(&mut lanes, &sick, OPEN), NOTHING);
    assert_eq!(arrive(&mut lanes, &[record(1, 10, 4)]), ["park 4 behind"]);
    lanes.accepted(KeyId(Uuid::from_u128(1)));
    assert_eq!(arrive(&mut lanes, &[record(1, 12, 5)]), ["hand over 5"]);
}

#[test]
fn a_record_without_a_subject_is_parked_alone() {
    let mut lanes = Lanes::default();
    let unreadable = Record {
        subject: None,
        ..record(1, 0, 0)
    };
    lanes.park_first(unreadable.clone(), failure());
    assert_eq!(steps(&mut lanes), ["park 0"]);
    assert_eq!(arrive(&mut lanes, &[record(1, 11, 1)]), ["hand over 1"]);
    parked(&mut lanes, &unreadable, OPEN);
    assert!(lanes.lanes.len() == 1, "only the record that is handled");
    ask(&mut lanes, &unreadable);
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
}

#[test]
fn a_head_is_run_when_it_is_due_and_what_came_meanwhile_is_handled_when_the_lane_is_empty() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, std::slice::from_ref(&sick));
    fail(&mut lanes, &sick, false);
    let due = Some(Timestamp(100));
    parked(&mut lanes, &sick, Parked::Open { due, known: false });
    assert_eq!(lanes.next_due(), due);
    lanes.wake(Timestamp(99));
    assert_eq!(steps(&mut lanes), NOTHING);
    lanes.wake(Timestamp(100));
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
    let meanwhile = [record(1, 10, 1), record(1, 11, 2)];
    assert_eq!(arrive(&mut lanes, &meanwhile), ["hand over 2"]);
    accepted(&mut lanes, &meanwhile[1]);
    assert_eq!(ran(&mut lanes, &sick, RunEnd::Empty), ["hand over 1"]);
}

#[test]
fn a_run_that_fails_again_parks_what_came_meanwhile_behind_the_head() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, std::slice::from_ref(&sick));
    fail(&mut lanes, &sick, false);
    parked(&mut lanes, &sick, OPEN);
    ask(&mut lanes, &sick);
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
    assert_eq!(arrive(&mut lanes, &[record(1, 10, 1)]), NOTHING);
    let blocked = |records| RunEnd::Blocked {
        head: sick.parked_id(),
        records,
        due: Some(Timestamp(7)),
    };
    assert_eq!(ran(&mut lanes, &sick, blocked(1)), ["park 1 behind"]);
    ask(&mut lanes, &sick);
    assert_eq!(parked(&mut lanes, &sick, OPEN), ["run, single: false"]);
    ask(&mut lanes, &sick);
    let again = ran(&mut lanes, &sick, blocked(2));
    assert_eq!(again, ["run, single: false"], "asked for while it ran");
}

#[test]
fn a_record_that_was_dealt_with_and_comes_again_holds_nothing_up() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, &[sick.clone(), record(1, 10, 1)]);
    fail(&mut lanes, &sick, false);
    assert_eq!(parked(&mut lanes, &sick, Parked::Closed), ["hand over 1"]);
}

#[test]
fn an_event_that_is_repeated_behind_a_record_leaves_the_time_at_which_that_is_tried_again() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, &[sick.clone(), record(1, 10, 1)]);
    fail(&mut lanes, &sick, false);
    let due = Some(Timestamp(100));
    let behind = parked(&mut lanes, &sick, Parked::Open { due, known: false });
    assert_eq!(behind, ["park 1 behind"]);
    parked(&mut lanes, &sick, Parked::Repeated);
    assert_eq!(lanes.next_due(), due);
    lanes.wake(Timestamp(100));
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
}

#[test]
fn records_that_an_earlier_owner_has_parked_meanwhile_are_worked_off_with_their_head() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, &[sick.clone(), record(1, 10, 1)]);
    fail(&mut lanes, &sick, false);
    let known = |due| Parked::Open { due, known: true };
    assert_eq!(
        parked(&mut lanes, &sick, known(Some(Timestamp(1)))),
        ["park 1 behind"]
    );
    parked(&mut lanes, &sick, known(None));
    lanes.wake(Timestamp(1));
    assert_eq!(steps(&mut lanes), ["run, single: false"]);
}

#[test]
fn while_the_service_ends_nothing_overtakes_a_record_that_could_not_be_parked() {
    let mut lanes = Lanes::default();
    let sick = record(1, 10, 0);
    arrive(&mut lanes, &[sick.clone(), record(1, 10, 1)]);
    fail(&mut lanes, &sick, false);
    assert_eq!(parked(&mut lanes, &sick, Parked::Abandoned), NOTHING);
    assert_eq!(lanes.stop().records, 1, "it waits in memory");
}

#[test]
fn a_revoked_partition_takes_its_lanes_along_and_ends_their_runs() {
    let mut lanes = Lanes::default();
    let (sick, live) = (record(1, 10, 0), record(2, 20, 1));
    arrive(&mut lanes, &[sick.clone(), live.clone(), record(2, 21, 2)]);
    fail(&mut lanes, &sick, false);
    parked(&mut lanes, &sick, OPEN);
    ask(&mut lanes, &sick);
    let Some(Step::Run { stop, .. }) = lanes.next_step() else {
        panic!("it is run");
    };
    arrive(&mut lanes, &[record(1, 10, 3)]);
    assert_eq!(
        lanes.revoked(&[sick.assignment()]),
        Forgotten {
            records: 2,
            bytes: 20
        },
        "behind the run, and behind the key"
    );
    assert!(stop.is_set());
    assert_eq!(ran(&mut lanes, &sick, RunEnd::Stopped), NOTHING);
    assert_eq!(done(&mut lanes, &live, true), NOTHING);
    assert!(lanes.lanes.is_empty());
}

#[test]
fn an_answer_of_an_assignment_that_is_over_does_not_end_the_record_of_the_new_one() {
    let mut lanes = Lanes::default();
    let old = record(1, 10, 0);
    arrive(&mut lanes, std::slice::from_ref(&old));
    let over = Assignment {
        generation: 0,
        ..old.assignment()
    };
    accepted(&mut lanes, &old);
    lanes.done(old.lane(), old.key(), &over, true);
    assert_eq!(
        arrive(&mut lanes, &[record(1, 10, 1)]),
        NOTHING,
        "the new one is under way"
    );
}

#[test]
fn a_backlog_is_worked_off_so_many_lanes_at_a_time() {
    let mut lanes = Lanes::default();
    let all: Vec<_> = (0..MOST_RUNNING as i64 + 5)
        .map(|n| record(1, n as u128, n))
        .collect();
    for record in &all {
        let open = Open {
            assignment: Arc::new(record.assignment()),
            head: record.parked_id(),
            records: 1,
        };
        lanes.found(record.lane(), open, Some(Timestamp(0)));
    }
    lanes.wake(Timestamp(0));
    assert_eq!(steps(&mut lanes).len(), MOST_RUNNING);
    assert!(lanes.is_busy());
    let running = |(id, lane): (&LaneId, &Lane<Record>)| matches!(lane, Lane::Running(_)).then_some(*id);
    let first = lanes.lanes.iter().find_map(running).expect("one runs");
    lanes.ran(first, &all[0].assignment(), RunEnd::Empty);
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
}

#[test]
fn a_lane_that_is_no_longer_open_in_the_store_is_run_and_found_empty() {
    let mut lanes = Lanes::default();
    let first = record(1, 10, 0);
    arrive(&mut lanes, std::slice::from_ref(&first));
    fail(&mut lanes, &first, false);
    parked(&mut lanes, &first, OPEN);
    let of = [first.assignment()];
    lanes.only(|lane| *lane == first.lane(), &of, Timestamp(0));
    lanes.wake(Timestamp(0));
    assert_eq!(steps(&mut lanes), NOTHING, "an operator has to decide");
    lanes.only(|_| false, &of, Timestamp(0));
    lanes.wake(Timestamp(0));
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
    ran(&mut lanes, &first, RunEnd::Empty);
    assert_eq!(arrive(&mut lanes, &[record(1, 10, 1)]), ["hand over 1"]);
}

#[test]
fn a_record_that_is_delivered_again_is_skipped_once_the_parked_one_is_dealt_with() {
    let mut lanes = Lanes::default();
    let first = record(1, 10, 0);
    ask(&mut lanes, &first);
    assert_eq!(steps(&mut lanes), ["run, single: true"]);
    // It comes again while the lane is worked off, and with it one of the same subject.
    assert_eq!(arrive(&mut lanes, &[first.clone(), record(1, 10, 1)]), NOTHING);
    lanes.remember(vec![(first.parked_id(), first.content_id())]);
    assert_eq!(ran(&mut lanes, &first, RunEnd::Empty), ["skip 0", "hand over 1"]);
}

#[test]
fn a_record_that_waits_for_its_turn_is_skipped_once_the_parked_one_is_dealt_with() {
    let mut lanes = Lanes::default();
    let (first, second) = (record(1, 10, 0), record(1, 11, 1));
    assert_eq!(
        arrive(&mut lanes, &[first.clone(), second.clone()]),
        ["hand over 0"]
    );
    lanes.remember(vec![(second.parked_id(), second.content_id())]);
    assert_eq!(accepted(&mut lanes, &first), ["skip 1"]);
}

#[test]
fn another_record_at_the_offset_of_a_closed_one_is_handled() {
    let mut lanes = Lanes::default();
    let (closed, other) = (record(1, 10, 0), record(2, 20, 0));
    lanes.remember(vec![(closed.parked_id(), closed.content_id())]);
    assert_eq!(arrive(&mut lanes, &[other]), ["hand over 0"]);
    lanes.unreadable(closed, failure());
    assert_eq!(steps(&mut lanes), ["skip 0"], "nor is it parked again");
}
