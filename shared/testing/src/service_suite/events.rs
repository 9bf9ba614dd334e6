//! The service as seen from the log.

#![allow(missing_docs, reason = "the name of a promise says it")]

use serde_json::json;
use shared::{
    envelope::text_header,
    event_log::{Header, Record},
    service::Service,
};
use uuid::Uuid;

use super::{
    ServiceDescription, StrayEnd, UnderTest,
    support::{handle, nothing_failed, start_on_ready, until_answered},
};
use crate::service::{ServiceUnderTest, event, headers};

pub fn the_answer_to_an_event_has_its_key_and_tells_its_cause<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let exchange = D::exchange(&service, Uuid::new_v4());
    let record = exchange.record::<D>();
    service.publish(Record {
        headers: vec![
            text_header("ce_id", "cause-1"),
            text_header("ce_correlationid", "request-1"),
        ],
        ..record
    });
    let answer = until_answered::<D>(&service, &exchange);
    assert_eq!(answer.record.key, Some(exchange.key.to_string().into_bytes()));
    assert_eq!(answer.headers["ce_causationid"], "cause-1");
    assert_eq!(answer.headers["ce_correlationid"], "request-1");
    assert_eq!(answer.headers["ce_subject"], exchange.subject.to_string());
    assert!(D::were_handled(&service, &[exchange]));
}

pub fn poison_goes_to_the_dead_letters_while_good_records_behind_it_are_handled<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let topic = service.setup.settings.topic.as_str();
    let bad = |value: &[u8]| Record {
        topic: topic.into(),
        key: Some(Uuid::new_v4().to_string().into_bytes()),
        value: Some(value.into()),
        headers: vec![Header {
            name: "from".into(),
            value: Some(b"elsewhere".to_vec()),
        }],
    };
    let (envelope, event_data) = ("malformed-envelope", "malformed-event");
    let mut poison = vec![
        (bad(b"hello"), envelope, "is not JSON"),
        (bad(b"\xff\xfe"), envelope, "not UTF-8"),
        (bad(b"{\"name\":1}"), envelope, "`eventData` is missing"),
    ];
    let list = event(D::HANDLED_EVENT, &json!([]), None).value;
    let list = bad(&list.expect("an event has a value"));
    poison.push((list, event_data, "is not a JSON object"));
    for (data, error) in D::malformed() {
        let value = event(D::HANDLED_EVENT, &data, None).value;
        let value = value.expect("an event has a value");
        poison.push((bad(&value), event_data, error));
    }
    let places = poison
        .iter()
        .map(|(record, _, _)| service.publish(record.clone()));
    let places: Vec<_> = places.collect();
    let good = [D::exchange(&service, Uuid::new_v4())];
    handle::<D>(&service, &good);

    let mut tape = service.dead_letters();
    service.until("all poison is set aside", || tape.records().len() >= poison.len());
    for ((record, reason, error), place) in poison.iter().zip(places) {
        let (partition, offset) = (place.partition.to_string(), place.offset.to_string());
        let of_it = |letter: &&_| {
            let headers = headers(letter);
            (&headers["dl-partition"], &headers["dl-offset"]) == (&partition, &offset)
        };
        let letter = tape.records().iter().find(of_it).expect("each has its letter");
        assert_eq!((&letter.key, &letter.value), (&record.key, &record.value));
        assert_eq!(letter.headers[0], record.headers[0]);
        let headers = headers(letter);
        assert_eq!(headers["dl-topic"], topic);
        assert_eq!(headers["dl-group"], D::Service::DEFAULTS.group);
        assert_eq!(headers["dl-reason"], *reason);
        assert!(headers["dl-error"].contains(error), "{headers:?}");
        assert_eq!(headers["dl-attempts"], "1");
        assert_eq!(headers["dl-time"].len(), "2026-11-22T18:00:00.000Z".len());
    }
    assert!(D::were_handled(&service, &good));
}

pub fn an_event_of_an_unknown_name_is_skipped_and_counted<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let key = Uuid::new_v4();
    let good = D::exchange(&service, key);
    service.publish_event("SomethingUnheardOf", &json!({ "id": key }), key);
    service.publish_event(D::IGNORED_EVENT, &json!({}), key);
    handle::<D>(&service, &[good]);
    assert_eq!(service.counted("records_skipped_total{why=\"unknown-name\""), 1);
    // What is for others is not read.
    nothing_failed(&service);
}

pub fn a_backlog_of_many_keys_is_handled_whole<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let (_, setup) = service.stop();
    // Far more than a mailbox takes, all at once and under different keys.
    for _ in 0..300 {
        let (key, data) = D::stray();
        setup.publish(event(D::HANDLED_EVENT, &data, Some(key)));
    }
    let service = start_on_ready::<D>(setup);
    let mut tape = match D::STRAY_ENDS_AS {
        StrayEnd::DeadLetter => service.dead_letters(),
        StrayEnd::Answer => service.tape(),
    };
    service.until("every event is done with", || {
        let done = match D::STRAY_ENDS_AS {
            StrayEnd::DeadLetter => tape.records().len(),
            StrayEnd::Answer => tape.events(D::ANSWER_EVENT).len(),
        };
        if done >= 300 { Ok(()) } else { Err(done) }
    });
}
