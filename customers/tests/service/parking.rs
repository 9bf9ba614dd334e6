//! Events that cannot be handled: they stop their own order and nothing else, until somebody decides.

use contracts::TOPIC;
use customers::Customers;
use serde_json::{Value, json};
use shared::{
    envelope::text_header,
    event_log::Record,
    parking::{KeyId, ParkedId},
};
use testing::service::{Seen, Setup, Tape, bson, event};
use uuid::Uuid;

use super::{Service, about, credit, customer, order_created};

/// An event that can never be handled, under the key of this customer.
fn poison(service: &Service, key: Uuid) {
    service.publish_event("OrderCreated", &json!({ "id": "?" }), key);
}

/// An event of this order that can never be handled, under the key of its customer.
fn sick(service: &Service, order: Uuid, key: Uuid) {
    service.publish_event("OrderCancelled", &json!({ "id": order }), key);
}

/// Orders under the key of this customer; their ids.
fn orders(service: &Service, customer: Uuid, number: usize) -> Vec<Uuid> {
    let ids: Vec<_> = (0..number).map(|_| Uuid::new_v4()).collect();
    for id in &ids {
        service.publish_event("OrderCreated", &order_created(*id, customer, 1), customer);
    }
    ids
}

fn parked(service: &Service, query: &str) -> Vec<Value> {
    let answer = service
        .admin
        .get(&format!("/admin/parked{query}"))
        .expect(200)
        .json();
    answer["items"].as_array().expect("a list").clone()
}

/// Waits until so many records are open; they, in the order of the log.
fn until_parked(service: &Service, number: usize) -> Vec<Value> {
    service.until(&format!("{number} records are parked"), || {
        let found = parked(service, "");
        if found.len() == number {
            Ok(found)
        } else {
            Err(found)
        }
    })
}

fn id(record: &Value) -> &str {
    record["id"].as_str().expect("an id")
}

fn post(service: &Service, record: &Value, action: &str, body: &Value) -> testing::http::Answer {
    let path = format!("/admin/parked/{}/{action}", id(record));
    service.admin.post(&path, body)
}

fn detail(service: &Service, record: &Value) -> Value {
    service
        .admin
        .get(&format!("/admin/parked/{}", id(record)))
        .expect(200)
        .json()
}

/// The orders that were validated, in the order in which they were.
fn validated(tape: &mut Tape, customer: Uuid) -> Vec<Uuid> {
    let id = |seen: &Seen| seen.data["orderId"].as_str().and_then(|id| id.parse().ok());
    let seen = tape.events("OrderValidated");
    let of_it = seen
        .iter()
        .filter(|seen| seen.data["customerId"] == customer.to_string());
    of_it.map(|seen| id(seen).expect("an id")).collect()
}

#[test]
fn a_failed_event_stops_its_own_order_and_no_other() {
    let mut setup = Setup::new::<Customers>();
    setup.settings.partitions = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    let ada = customer(&service, 100);
    let mut tape = service.tape();
    let order = Uuid::new_v4();
    sick(&service, order, ada);
    service.publish_event("OrderCreated", &order_created(order, ada, 1), ada);
    let others = orders(&service, ada, 3);
    service.until("other orders of the customer go on", || {
        validated(&mut tape, ada) == others
    });
    let found = until_parked(&service, 2);
    let states: Vec<_> = found
        .iter()
        .map(|record| record["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["parked", "waiting"]);
    assert_eq!(found[0]["reason"], "no-customer");
    assert_eq!(detail(&service, &found[0])["behind"], 1);
    service.until("no offset waits for it", || {
        service.counted("consumer_in_flight") == 0
    });
    let mut letters = service.dead_letters();
    service.until("the one that failed has a dead letter, and no other", || {
        letters.records().len() == 1
    });

    // As a restart: what is parked stays so, and what is done is not delivered again.
    let (in_time, setup) = service.stop();
    assert!(in_time);
    let service = Service::start_on(setup);
    service.until_ready();
    let mut tape = service.tape();
    service.publish_event("OrderCreated", &order_created(order, ada, 2), ada);
    let found = until_parked(&service, 3);
    assert_eq!(service.counted("records_parked_total{reason=\"behind\""), 1);

    // The head is given up: the rest follows in order, and the order's events are handled as they come.
    let why = json!({ "why": "written by a faulty tool" });
    post(&service, &found[0], "discard", &why).expect(202);
    service.until("the rest follows in order", || {
        let now = validated(&mut tape, ada);
        if now.contains(&order) { Ok(()) } else { Err(now) }
    });
    until_parked(&service, 0);
    assert_eq!(
        credit(&service, ada),
        [100.0, 4.0, 96.0],
        "the first of them counts"
    );
    let head = detail(&service, &found[0]);
    assert_eq!(head["state"], "discarded");
    let history = head["history"].as_array().expect("a history");
    let happened: Vec<_> = history.iter().map(|entry| entry["what"].clone()).collect();
    assert_eq!(happened, ["failed", "discardRequested", "discarded"]);
    assert_eq!(history[1]["note"], why["why"]);
    let cancelled = json!({ "id": order, "customerId": ada });
    service.publish_event("OrderCancelled", &cancelled, ada);
    service.until("its events are handled as they come", || {
        credit(&service, ada) == [100.0, 3.0, 97.0]
    });
    assert!(parked(&service, "").is_empty());
    assert_eq!(parked(&service, "?state=done").len(), 2);
}

#[test]
fn the_same_event_again_adds_nothing_to_a_lane_in_which_it_is_parked() {
    let service = Service::start();
    let ada = customer(&service, 100);
    let order = Uuid::new_v4();
    sick(&service, order, ada);
    let created = Record {
        headers: vec![text_header("ce_id", order.to_string())],
        ..event("OrderCreated", &order_created(order, ada, 1), Some(ada))
    };
    for _ in 0..3 {
        service.publish(created.clone());
    }
    until_parked(&service, 2);
    service.until("all are taken", || service.counted("consumer_in_flight") == 0);
    service.until("two of them were there already", || {
        service.counted("records_parked_total{reason=\"repeated\"") == 2
    });
    assert_eq!(parked(&service, "").len(), 2);
}

#[test]
fn a_record_without_a_value_is_counted_and_stops_nothing() {
    let service = Service::start();
    let ada = customer(&service, 100);
    let mut tape = service.tape();
    let created = event("OrderCreated", &order_created(Uuid::new_v4(), ada, 1), Some(ada));
    service.publish(Record {
        value: None,
        ..created
    });
    let others = orders(&service, ada, 1);
    service.until("an order behind it is validated", || {
        validated(&mut tape, ada) == others
    });
    assert_eq!(service.counted("records_skipped_total{why=\"tombstone\""), 1);
    assert!(parked(&service, "").is_empty());
}

#[test]
fn an_edited_event_is_handled_in_the_place_of_the_failed_one_and_both_are_kept() {
    let service = Service::start();
    let ada = customer(&service, 100);
    poison(&service, ada);
    let mut tape = service.tape();
    let found = until_parked(&service, 1);
    let edited = Uuid::new_v4();
    let value = event("OrderCreated", &order_created(edited, ada, 99.5), None).value;
    let value = String::from_utf8(value.expect("a value")).expect("text");
    let dry = format!("/admin/parked/{}/edit?dryRun=true", id(&found[0]));
    let answer = service
        .admin
        .post(&dry, &json!({ "value": value }))
        .expect(200)
        .json();
    assert_eq!((&answer["dryRun"], &answer["behind"]), (&json!(true), &json!(0)));
    assert_eq!(answer["records"][0]["state"], "requested");
    assert_eq!(
        parked(&service, "?state=parked").len(),
        1,
        "a dry run changes nothing"
    );

    for worse in [
        "{",
        r#"{"name":"OrderCreated","eventData":"{}"}"#,
        r#"{"name":"Other","eventData":"{}"}"#,
    ] {
        let worse = json!({ "value": worse });
        let refused = service.admin.post(&dry, &worse).expect(422);
        assert_eq!(refused.text("code"), "value-is-no-better");
        post(&service, &found[0], "edit", &worse).expect(422);
    }
    post(&service, &found[0], "edit", &json!({ "value": value })).expect(202);
    service.until("it is handled", || validated(&mut tape, ada) == [edited]);
    assert_eq!(credit(&service, ada), [100.0, 99.5, 0.5]);
    let head = service.until("it is done", || {
        let head = detail(&service, &found[0]);
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

#[test]
fn a_replay_that_fails_again_is_counted_and_buried_again() {
    let service = Service::start();
    let ada = customer(&service, 100);
    poison(&service, ada);
    let found = until_parked(&service, 1);
    let key = json!({ "key": ada });
    let dry = service
        .admin
        .post("/admin/parked/replay?dryRun=true", &key)
        .expect(200)
        .json();
    assert_eq!(dry["records"].as_array().map(Vec::len), Some(1));
    service.admin.post("/admin/parked/replay", &key).expect(202);
    service.until("it has failed twice", || {
        let record = detail(&service, &found[0]);
        if (&record["state"], &record["attempts"]) == (&json!("parked"), &json!(2)) {
            Ok(())
        } else {
            Err(record)
        }
    });
    let mut letters = service.dead_letters();
    service.until("there are two copies", || letters.records().len() == 2);
}

/// The job once it is finished.
fn finished(service: &Service, job: &Value) -> Value {
    let path = format!("/admin/parked/jobs/{}", job["job"].as_str().expect("an id"));
    service.until("the job is finished", || {
        let now = service.admin.get(&path).expect(200).json();
        if now["finished"] == true {
            Ok(now)
        } else {
            Err(now)
        }
    })
}

#[test]
fn a_replay_of_all_that_failed_for_a_reason_is_a_job_that_tells_how_far_it_is() {
    let service = Service::start();
    let ada = customer(&service, 100);
    for _ in 0..3 {
        poison(&service, ada);
    }
    sick(&service, Uuid::new_v4(), ada);
    until_parked(&service, 4);
    let all = json!({ "reason": "malformed-event" });
    let dry = "/admin/parked/replay?dryRun=true";
    let answer = service.admin.post(dry, &all).expect(200).json();
    assert_eq!(answer["records"].as_array().map(Vec::len), Some(3));
    let made = service.admin.post("/admin/parked/replay", &all).expect(202);
    let job = finished(&service, &made.json());
    let counts = ["total", "done", "failed", "pending"].map(|count| job[count].clone());
    assert_eq!(
        counts,
        [json!(3), json!(0), json!(3), json!(0)],
        "they fail again: {job}"
    );
    assert!(
        parked(&service, "?reason=malformed-event")
            .iter()
            .all(|record| record["attempts"] == 2)
    );
    let none = json!({ "reason": "unheard-of" });
    let made = service.admin.post("/admin/parked/replay", &none).expect(202);
    assert_eq!(finished(&service, &made.json())["total"], 0);
    let nobody = format!("/admin/parked/jobs/{}", Uuid::new_v4());
    service.admin.get(&nobody).expect(404);
}

#[test]
fn a_job_goes_on_after_a_restart_where_it_was() {
    let mut setup = Setup::new::<Customers>();
    setup.settings.partitions = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    let ada = customer(&service, 100);
    for _ in 0..20 {
        poison(&service, ada);
    }
    until_parked(&service, 20);
    let all = json!({ "reason": "malformed-event" });
    let made = service
        .admin
        .post("/admin/parked/replay", &all)
        .expect(202)
        .json();
    let (_, setup) = service.stop();
    let service = Service::start_on(setup);
    service.until_ready();
    let job = finished(&service, &made);
    assert_eq!((&job["total"], &job["failed"]), (&json!(20), &json!(20)));
}

#[test]
fn records_without_a_key_are_parked_alone() {
    let service = Service::start();
    let ada = customer(&service, 100);
    for _ in 0..3 {
        service.publish_bare("OrderCreated", &json!({ "id": "?" }));
    }
    let order = Uuid::new_v4();
    service.publish_bare("OrderCreated", &order_created(order, ada, 1));
    let mut tape = service.tape();
    service.until("a good one is handled", || {
        tape.find("OrderValidated", about(order))
    });
    let found = until_parked(&service, 3);
    post(&service, &found[1], "discard", &json!({ "why": "a test" })).expect(202);
    until_parked(&service, 2);
    assert!(found.iter().all(|record| record["state"] == "parked"));
}

#[test]
fn what_operators_cannot_ask_for_is_refused_with_the_reason() {
    let service = Service::start();
    let ada = customer(&service, 100);
    let order = Uuid::new_v4();
    sick(&service, order, ada);
    service.publish_event("OrderCreated", &order_created(order, ada, 1), ada);
    let found = until_parked(&service, 2);
    let refused = post(&service, &found[1], "replay", &json!({})).expect(409);
    assert_eq!(refused.text("code"), "record-is-behind");
    let missing = post(&service, &found[0], "discard", &json!({})).expect(400);
    assert_eq!(missing.wrong_fields(), ["why"]);
    let wrong = service
        .admin
        .get("/admin/parked?state=lost&olderThan=old")
        .expect(400);
    assert_eq!(wrong.wrong_fields(), ["state", "olderThan"]);
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

    post(&service, &found[0], "discard", &json!({ "why": "a test" })).expect(202);
    until_parked(&service, 0);
    let late = post(&service, &found[0], "replay", &json!({})).expect(409);
    assert_eq!(late.text("code"), "record-is-closed");
    assert_eq!(parked(&service, "?olderThan=3600s"), [Value::Null; 0]);
    let pages = service
        .admin
        .get("/admin/parked?state=discarded&limit=1")
        .expect(200)
        .json();
    assert_eq!(pages["items"].as_array().map(Vec::len), Some(1));
}

/// A parked record as versions wrote it that parked by key: its lane is that of the key.
fn parked_by_key(key: Uuid, offset: i64, state: i32, value: &Record) -> (Uuid, bson::Document) {
    let binary = |bytes: &[u8]| bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    };
    let uuid = |id: Uuid| bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: id.as_bytes().to_vec(),
    };
    let at = bson::DateTime::from_millis(1_790_000_000_000);
    let id = ParkedId::of(TOPIC, 0, offset).0;
    let lane = KeyId::of(TOPIC, key.to_string().as_bytes()).0;
    let mut document = bson::doc! {
        "_id": uuid(id),
        "lane": uuid(lane),
        "state": state,
        "topic": TOPIC,
        "partition": 0,
        "offset": offset,
        "key": binary(key.to_string().as_bytes()),
        "value": binary(value.value.as_deref().expect("a value")),
        "headers": [{ "name": "from", "value": binary(b"elsewhere") }],
        "attempts": i32::from(state == 2),
        "parkedAt": at,
        "updatedAt": at,
        "history": [{ "at": at, "what": "parked" }],
        "version": 1_i64,
        "commitId": uuid(Uuid::new_v4()),
    };
    if state == 2 {
        document.insert("reason", "malformed-event");
        document.insert("error", "eventData: `id` is not a UUID");
    }
    (id, document)
}

#[test]
fn records_that_the_version_before_has_parked_by_key_are_found_and_worked_off_in_their_order() {
    let mut setup = Setup::new::<Customers>();
    setup.settings.partitions = 1;
    let service = Service::start_on(setup);
    service.until_ready();
    let ada = customer(&service, 100);
    let (_, setup) = service.stop();
    let waiting = Uuid::new_v4();
    let (parked_state, waiting_state) = (2, 0);
    let poison = event("OrderCreated", &json!({ "id": "?" }), None);
    let order = event("OrderCreated", &order_created(waiting, ada, 7), None);
    // Behind all that is in the log, where nobody will read them again.
    for (offset, state, record) in [(1_000, parked_state, poison), (1_001, waiting_state, order)] {
        let (id, document) = parked_by_key(ada, offset, state, &record);
        setup.insert("parked", id, &document);
    }
    let service = Service::start_on(setup);
    service.until_ready();
    let found = until_parked(&service, 2);
    let of_key = parked(&service, &format!("?key={ada}"));
    assert_eq!(
        of_key.iter().map(id).collect::<Vec<_>>(),
        found.iter().map(id).collect::<Vec<_>>()
    );
    assert_eq!(detail(&service, &found[0])["behind"], 1);
    let live = orders(&service, ada, 1);
    let mut tape = service.tape();
    service.until("new orders of the customer go on", || {
        validated(&mut tape, ada) == live
    });
    post(&service, &found[0], "discard", &json!({ "why": "a test" })).expect(202);
    service.until("what stood behind it follows", || {
        validated(&mut tape, ada) == [live[0], waiting]
    });
    until_parked(&service, 0);
    assert_eq!(credit(&service, ada), [100.0, 8.0, 92.0]);
}
