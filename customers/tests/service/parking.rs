//! Events that cannot be handled: they stop their own order and nothing else, until somebody decides.

use contracts::TOPIC;
use customers::Customers;
use serde_json::json;
use shared::{
    envelope::text_header,
    event_log::Record,
    parking::{KeyId, ParkedId},
};
use testing::{
    parked::parked_id,
    service::{Seen, Setup, Tape, bson, event},
};
use uuid::Uuid;

use super::{Service, credit, customer, order_created};

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
    let mut setup = Setup::<Customers>::new();
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
    let found = service.until_parked(2);
    let states: Vec<_> = found
        .iter()
        .map(|record| record["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["parked", "waiting"]);
    assert_eq!(found[0]["reason"], "no-customer");
    assert_eq!(service.parked_detail(&found[0])["behind"], 1);
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
    let found = service.until_parked(3);
    assert_eq!(service.counted("records_parked_total{reason=\"behind\""), 1);

    // The head is given up: the rest follows in order, and the order's events are handled as they come.
    let why = json!({ "why": "written by a faulty tool" });
    service.act_on_parked(&found[0], "discard", &why).expect(202);
    service.until("the rest follows in order", || {
        let now = validated(&mut tape, ada);
        if now.contains(&order) { Ok(()) } else { Err(now) }
    });
    service.until_parked(0);
    assert_eq!(
        credit(&service, ada),
        [100.0, 4.0, 96.0],
        "the first of them counts"
    );
    let head = service.parked_detail(&found[0]);
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
    assert!(service.parked("").is_empty());
    assert_eq!(service.parked("?state=done").len(), 2);
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
    service.until_parked(2);
    service.until("all are taken", || service.counted("consumer_in_flight") == 0);
    service.until("two of them were there already", || {
        service.counted("records_parked_total{reason=\"repeated\"") == 2
    });
    assert_eq!(service.parked("").len(), 2);
}

#[test]
fn a_record_behind_another_is_not_replayed_before_it() {
    let service = Service::start();
    let ada = customer(&service, 100);
    let order = Uuid::new_v4();
    sick(&service, order, ada);
    service.publish_event("OrderCreated", &order_created(order, ada, 1), ada);
    let found = service.until_parked(2);
    let refused = service.act_on_parked(&found[1], "replay", &json!({})).expect(409);
    assert_eq!(refused.text("code"), "record-is-behind");
    let why = json!({ "why": "a test" });
    service.act_on_parked(&found[0], "discard", &why).expect(202);
    service.until_parked(0);
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
    let mut setup = Setup::<Customers>::new();
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
    let found = service.until_parked(2);
    let of_key = service.parked(&format!("?key={ada}"));
    assert_eq!(
        of_key.iter().map(parked_id).collect::<Vec<_>>(),
        found.iter().map(parked_id).collect::<Vec<_>>()
    );
    assert_eq!(service.parked_detail(&found[0])["behind"], 1);
    let live = orders(&service, ada, 1);
    let mut tape = service.tape();
    service.until("new orders of the customer go on", || {
        validated(&mut tape, ada) == live
    });
    service
        .act_on_parked(&found[0], "discard", &json!({ "why": "a test" }))
        .expect(202);
    service.until("what stood behind it follows", || {
        validated(&mut tape, ada) == [live[0], waiting]
    });
    service.until_parked(0);
    assert_eq!(credit(&service, ada), [100.0, 8.0, 92.0]);
}
