//! With a log and a database that come and go.

#![allow(missing_docs, reason = "the name of a promise says it")]

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::{
    ServiceDescription, UnderTest, WithPosts,
    support::{
        body_of, good_body, items, list_path, nothing_failed, path_of, post, start_on_ready, start_with,
        until_announced, until_answered, until_down,
    },
};
use crate::{
    faults::Mode,
    service::{ServiceUnderTest, Setup},
};

pub fn a_service_without_its_database_answers_and_is_ready_once_it_comes<D: ServiceDescription>() {
    let setup = Setup::<D::Service>::new();
    setup.store.switch(Mode::Fails);
    let service: UnderTest<D> = ServiceUnderTest::start_on(setup);
    assert!(until_down(&service, "database").contains("switched off"));
    assert_eq!(
        until_down(&service, "consumer"),
        "waiting for the database and the log"
    );
    service.http.get("/health/live").expect(200);
    service.http.get(&path_of::<D>(Uuid::new_v4())).expect(503);
    if let Some(list) = list_path::<D>() {
        service.http.get(list).expect(503);
    }
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    D::store(&service);
}

pub fn a_service_without_its_log_is_ready_once_it_comes<D: ServiceDescription>() {
    let setup = Setup::<D::Service>::new();
    setup.log.switch(Mode::Fails);
    let service: UnderTest<D> = ServiceUnderTest::start_on(setup);
    assert!(until_down(&service, "log").contains("switched off"));
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    let id = D::store(&service);
    until_announced::<D>(&service, &[id]);
}

pub fn while_the_database_is_away_nothing_is_lost<D: ServiceDescription>() {
    let service = start_with::<D>(|setup| setup.settings.request_timeout = Duration::from_millis(300));
    let id = D::store(&service);
    let exchange = D::exchange(&service, Uuid::new_v4());
    service.setup.store.switch(Mode::Fails);
    assert!(until_down(&service, "database").contains("switched off"));
    service.http.get(&path_of::<D>(id)).expect(503);
    service.publish(exchange.record::<D>());
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    until_answered::<D>(&service, &exchange);
    assert!(D::were_handled(&service, &[exchange]));
    nothing_failed(&service);
}

pub fn while_the_log_is_away_what_is_stored_waits_and_is_announced_when_it_is_back<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    service.setup.log.switch(Mode::Fails);
    assert!(until_down(&service, "log").contains("switched off"));
    let ids: Vec<_> = (0..5).map(|_| D::store(&service)).collect();
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    until_announced::<D>(&service, &ids);
}

pub fn a_dead_letter_that_the_log_does_not_take_holds_no_offset_back_and_follows<D: ServiceDescription>() {
    let service = start_with::<D>(|setup| setup.settings.shutdown_timeout = Duration::from_millis(300));
    service.setup.log.switch(Mode::Silent);
    service.publish_bare(D::HANDLED_EVENT, &json!({ "id": 1 }));
    service.until_parked(1);
    service.until("no offset waits for its letter", || {
        service.counted("consumer_in_flight") == 0
    });
    assert_eq!(service.counted("dead_letters_total{"), 0);
    let (in_time, setup) = service.stop();
    assert!(!in_time, "the log did not confirm");
    setup.log.switch(Mode::Works);
    let next = start_on_ready::<D>(setup);
    let mut letters = next.dead_letters();
    next.until("its letter follows", || !letters.records().is_empty());
    next.until("it is counted", || {
        next.counted("dead_letters_total{reason=\"malformed-event\"") == 1
    });
}

pub fn a_post_to_a_service_without_its_database_is_refused_until_it_comes<D: WithPosts>() {
    let setup = Setup::<D::Service>::new();
    setup.store.switch(Mode::Fails);
    let service: UnderTest<D> = ServiceUnderTest::start_on(setup);
    assert!(until_down(&service, "database").contains("switched off"));
    let refused = post::<D>(&service, &good_body::<D>()).expect(503);
    assert_eq!(
        (refused.text("code"), refused.header("retry-after")),
        ("database-unavailable".into(), Some("1"))
    );
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    post::<D>(&service, &good_body::<D>()).expect(201);
}

pub fn a_service_without_its_log_takes_posts_and_announces_them_once_it_comes<D: WithPosts>() {
    let setup = Setup::<D::Service>::new();
    setup.log.switch(Mode::Fails);
    let service: UnderTest<D> = ServiceUnderTest::start_on(setup);
    assert!(until_down(&service, "log").contains("switched off"));
    let id = service.until("the database is there", || {
        let answer = post::<D>(&service, &good_body::<D>());
        (answer.status == 201).then(|| answer.text("id"))
    });
    service.setup.log.switch(Mode::Works);
    service.until_ready();
    until_announced::<D>(&service, &[id.parse().expect("an id is a UUID")]);
}

pub fn a_post_while_the_database_is_away_is_refused_with_the_id_to_repeat_it_with<D: WithPosts>() {
    let service = start_with::<D>(|setup| setup.settings.request_timeout = Duration::from_millis(300));
    service.setup.store.switch(Mode::Fails);
    assert!(until_down(&service, "database").contains("switched off"));
    let refused = post::<D>(&service, &good_body::<D>()).expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let id: Uuid = refused.text("id").parse().expect("the id to repeat it with");
    service.setup.store.switch(Mode::Works);
    service.until_ready();
    let repeated = post::<D>(&service, &body_of::<D>(id, 100)).expect(201);
    assert_eq!(repeated.text("id"), id.to_string());
}

pub fn more_than_may_be_under_way_is_503_overloaded_until_the_log_confirms<D: WithPosts>() {
    let service = start_with::<D>(|setup| setup.settings.max_in_flight = 1);
    service.setup.log.switch(Mode::Silent);
    let stored = post::<D>(&service, &good_body::<D>()).expect(201);
    let refused = post::<D>(&service, &good_body::<D>()).expect(503);
    assert_eq!(
        (refused.text("code"), refused.header("retry-after")),
        ("overloaded".into(), Some("1"))
    );
    // Reading is not held up.
    service.http.get(&path_of::<D>(stored.text("id"))).expect(200);
    if let Some(list) = list_path::<D>() {
        assert_eq!(items(&service.http.get(list)), 1);
    }
    service.setup.log.switch(Mode::Works);
    service.until("there is room again", || {
        post::<D>(&service, &good_body::<D>()).status == 201
    });
}

pub fn a_repeat_of_what_is_stored_is_answered_as_stored_however_full_the_service_is<D: WithPosts>() {
    for fill in D::ways_to_be_full() {
        let service = start_with::<D>(fill);
        service.setup.log.switch(Mode::Silent);
        let id = Uuid::new_v4();
        let stored = post::<D>(&service, &body_of::<D>(id, 1)).expect(201);
        let again = post::<D>(&service, &body_of::<D>(id, 1)).expect(201);
        assert_eq!(
            (again.json(), again.header("location")),
            (stored.json(), stored.header("location"))
        );
        let taken = post::<D>(&service, &body_of::<D>(id, 2)).expect(409);
        assert_eq!(taken.text("code"), "id-taken");

        let other = Uuid::new_v4();
        let refused = post::<D>(&service, &body_of::<D>(other, 1)).expect(503);
        assert_eq!(
            (refused.text("code"), refused.text("id")),
            ("overloaded".into(), other.to_string())
        );
        assert!(refused.text("detail").contains("this request stored nothing"));
        // Where nobody can look, nothing is said of what an earlier request stored.
        service.setup.store.switch(Mode::Fails);
        let unknown = post::<D>(&service, &body_of::<D>(id, 1)).expect(503);
        assert_eq!(
            (unknown.text("code"), unknown.text("id")),
            ("overloaded".into(), id.to_string())
        );
        assert!(!unknown.text("detail").contains("nothing"), "{unknown:?}");
        service.setup.store.switch(Mode::Works);
        service.setup.log.switch(Mode::Works);
    }
}
