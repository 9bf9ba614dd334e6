//! Events that cannot be handled: they stop nothing else, and wait until somebody decides.

#![allow(missing_docs, reason = "the name of a promise says it")]

use serde_json::{Value, json};
use shared::event_log::Record;
use uuid::Uuid;

use super::{
    ServiceDescription, UnderTest,
    support::{handle, start_on_ready, start_with, until_answered},
};
use crate::{
    parked::parked_id,
    service::{ServiceUnderTest, event},
};

/// An event that can never be handled, under this key.
fn poison<D: ServiceDescription>(service: &UnderTest<D>, key: Uuid) {
    service.publish_event(D::HANDLED_EVENT, &json!({ "id": "?" }), key);
}

pub fn a_record_without_a_value_is_counted_and_stops_nothing<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let behind = [D::exchange(&service, Uuid::new_v4())];
    service.publish(Record {
        value: None,
        ..behind[0].record::<D>()
    });
    handle::<D>(&service, &behind);
    assert_eq!(service.counted("records_skipped_total{why=\"tombstone\""), 1);
    assert!(service.parked("").is_empty());
}

pub fn an_edited_event_is_handled_in_the_place_of_the_failed_one_and_both_are_kept<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let key = Uuid::new_v4();
    let edited = D::exchange(&service, key);
    poison::<D>(&service, key);
    let found = service.until_parked(1);
    let value = edited.record::<D>().value.expect("an event has a value");
    let value = String::from_utf8(value).expect("an event is text");
    let dry = format!("/admin/parked/{}/edit?dryRun=true", parked_id(&found[0]));
    let answer = service.admin.post(&dry, &json!({ "value": value }));
    let answer = answer.expect(200).json();
    assert_eq!((&answer["dryRun"], &answer["behind"]), (&json!(true), &json!(0)));
    assert_eq!(answer["records"][0]["state"], "requested");
    assert_eq!(
        service.parked("?state=parked").len(),
        1,
        "a dry run changes nothing"
    );

    let empty = event(D::HANDLED_EVENT, &json!({}), None).value;
    let empty = String::from_utf8(empty.expect("an event has a value")).expect("an event is text");
    for worse in ["{", empty.as_str(), r#"{"name":"Other","eventData":"{}"}"#] {
        let worse = json!({ "value": worse });
        let refused = service.admin.post(&dry, &worse).expect(422);
        assert_eq!(refused.text("code"), "value-is-no-better");
        service.act_on_parked(&found[0], "edit", &worse).expect(422);
    }
    let body = json!({ "value": value });
    service.act_on_parked(&found[0], "edit", &body).expect(202);
    let mut tape = service.tape();
    service.until("it is answered", || {
        let answers = tape.events(D::ANSWER_EVENT).into_iter();
        let answers: Vec<_> = answers.map(|seen| seen.data).collect();
        if answers == [edited.answer.clone()] {
            Ok(())
        } else {
            Err(answers)
        }
    });
    assert!(D::were_handled(&service, &[edited]));
    let head = service.until("it is done", || {
        let head = service.parked_detail(&found[0]);
        (head["state"] == "done").then_some(head)
    });
    assert_eq!(head["edited"], value);
    assert!(
        head["value"]
            .as_str()
            .is_some_and(|old| old.contains("\\\"?\\\"")),
        "{head}"
    );
}

pub fn a_replay_that_fails_again_is_counted_and_buried_again<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let key = Uuid::new_v4();
    poison::<D>(&service, key);
    let found = service.until_parked(1);
    let of_key = json!({ "key": key });
    let dry = service.admin.post("/admin/parked/replay?dryRun=true", &of_key);
    let dry = dry.expect(200).json();
    assert_eq!(dry["records"].as_array().map(Vec::len), Some(1));
    service.admin.post("/admin/parked/replay", &of_key).expect(202);
    service.until("it has failed twice", || {
        let record = service.parked_detail(&found[0]);
        if (&record["state"], &record["attempts"]) == (&json!("parked"), &json!(2)) {
            Ok(())
        } else {
            Err(record)
        }
    });
    let mut letters = service.dead_letters();
    service.until("there are two copies", || letters.records().len() == 2);
}

pub fn a_replay_of_all_that_failed_for_a_reason_is_a_job_that_tells_how_far_it_is<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let key = Uuid::new_v4();
    for _ in 0..3 {
        poison::<D>(&service, key);
    }
    // It fails for another reason.
    let no_envelope = event(D::HANDLED_EVENT, &json!({}), Some(key));
    service.publish(Record {
        value: Some(b"hello".to_vec()),
        ..no_envelope
    });
    service.until_parked(4);
    let all = json!({ "reason": "malformed-event" });
    let dry = "/admin/parked/replay?dryRun=true";
    let answer = service.admin.post(dry, &all).expect(200).json();
    assert_eq!(answer["records"].as_array().map(Vec::len), Some(3));
    let made = service.admin.post("/admin/parked/replay", &all).expect(202);
    let job = service.until_finished(&made.json());
    let counts = ["total", "done", "failed", "pending"].map(|count| job[count].clone());
    assert_eq!(
        counts,
        [json!(3), json!(0), json!(3), json!(0)],
        "they fail again: {job}"
    );
    assert!(
        service
            .parked("?reason=malformed-event")
            .iter()
            .all(|record| record["attempts"] == 2)
    );
    let none = json!({ "reason": "unheard-of" });
    let made = service.admin.post("/admin/parked/replay", &none).expect(202);
    assert_eq!(service.until_finished(&made.json())["total"], 0);
    let nobody = format!("/admin/parked/jobs/{}", Uuid::new_v4());
    service.admin.get(&nobody).expect(404);
}

pub fn a_job_goes_on_after_a_restart_where_it_was<D: ServiceDescription>() {
    let service = start_with::<D>(|setup| setup.settings.partitions = 1);
    let key = Uuid::new_v4();
    for _ in 0..20 {
        poison::<D>(&service, key);
    }
    service.until_parked(20);
    let all = json!({ "reason": "malformed-event" });
    let made = service.admin.post("/admin/parked/replay", &all);
    let made = made.expect(202).json();
    let (_, setup) = service.stop();
    let service = start_on_ready::<D>(setup);
    let job = service.until_finished(&made);
    assert_eq!((&job["total"], &job["failed"]), (&json!(20), &json!(20)));
}

pub fn records_without_a_key_are_parked_alone<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let good = D::exchange(&service, Uuid::new_v4());
    for _ in 0..3 {
        service.publish_bare(D::HANDLED_EVENT, &json!({ "id": "?" }));
    }
    service.publish_bare(D::HANDLED_EVENT, &good.data);
    until_answered::<D>(&service, &good);
    let found = service.until_parked(3);
    let why = json!({ "why": "a test" });
    service.act_on_parked(&found[1], "discard", &why).expect(202);
    service.until_parked(2);
    assert!(found.iter().all(|record| record["state"] == "parked"));
}

pub fn what_operators_cannot_ask_for_is_refused_with_the_reason<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    poison::<D>(&service, Uuid::new_v4());
    let found = service.until_parked(1);
    let missing = service.act_on_parked(&found[0], "discard", &json!({}));
    assert_eq!(missing.expect(400).wrong_fields(), ["why"]);
    let wrong = service.admin.get("/admin/parked?state=lost&olderThan=old");
    assert_eq!(wrong.expect(400).wrong_fields(), ["state", "olderThan"]);
    let both = json!({ "key": "a", "reason": "b" });
    service.admin.post("/admin/parked/replay", &both).expect(400);
    let nobody = format!("/admin/parked/{}", Uuid::new_v4());
    service.admin.get(&nobody).expect(404);
    service
        .admin
        .post(&format!("{nobody}/replay"), &json!({}))
        .expect(404);
    service.admin.get("/admin").expect(404);
    service.http.get("/admin/parked").expect(404);

    let why = json!({ "why": "a test" });
    service.act_on_parked(&found[0], "discard", &why).expect(202);
    service.until_parked(0);
    let late = service.act_on_parked(&found[0], "replay", &json!({}));
    assert_eq!(late.expect(409).text("code"), "record-is-closed");
    assert_eq!(service.parked("?olderThan=3600s"), [Value::Null; 0]);
    assert_eq!(service.parked("?state=discarded&limit=1").len(), 1);
}
