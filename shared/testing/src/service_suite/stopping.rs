//! What a service finishes when it stops, what its next run takes up, and what callers are told.

#![allow(missing_docs, reason = "the name of a promise says it")]

use std::{thread, time::Duration};

use uuid::Uuid;

use super::{
    ServiceDescription, UnderTest, WithPosts,
    support::{body_of, good_body, is_about, path_of, reasons, start_on_ready, start_with, until_announced},
};
use crate::{faults::Mode, service::ServiceUnderTest};

pub fn stopping_finishes_what_is_under_way<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    service.setup.log.switch(Mode::Silent);
    let id = D::store(&service);
    let log = service.setup.log.clone();
    let opener = thread::spawn(move || {
        // The stop may or may not have begun: it waits for the confirmation either way.
        log.switch(Mode::Works);
    });
    let (in_time, setup) = service.stop();
    opener.join().expect("no panic");
    assert!(in_time);
    let next = start_on_ready::<D>(setup);
    until_announced::<D>(&next, &[id]);
    let again = next.counted(&format!("events_published_total{{event=\"{}\"", D::CREATED_EVENT));
    assert_eq!(again, 0, "it is there from before the stop");
}

pub fn what_a_stop_could_not_finish_goes_on_at_the_next_start<D: ServiceDescription>() {
    let service = start_with::<D>(|setup| setup.settings.shutdown_timeout = Duration::from_millis(300));
    service.setup.log.switch(Mode::Silent);
    let id = D::store(&service);
    let (in_time, setup) = service.stop();
    assert!(!in_time, "the log did not confirm");
    setup.log.switch(Mode::Works);
    let next = start_on_ready::<D>(setup);
    let mut tape = until_announced::<D>(&next, &[id]);
    let announced = tape.find(D::CREATED_EVENT, is_about::<D>(id));
    let subject = announced.map(|seen| seen.headers["ce_subject"].clone());
    assert_eq!(subject, Some(id.to_string()), "as it would have been before");
}

pub fn a_restart_begins_where_the_last_run_ended<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    // Of one key, so of one partition.
    let key = Uuid::new_v4();
    let exchanges = [0; 2].map(|_| D::exchange(&service, key));
    service.publish(exchanges[0].record::<D>());
    service.until_handled(D::HANDLED_EVENT, 1);
    let (in_time, setup) = service.stop();
    assert!(in_time);
    setup.publish(exchanges[1].record::<D>());
    let next = start_on_ready::<D>(setup);
    next.until("what came meanwhile is handled, and nothing twice", || {
        D::were_handled(&next, &exchanges)
    });
    next.until_handled(D::HANDLED_EVENT, 1);
    let counter = format!("events_consumed_total{{event=\"{}\"", D::HANDLED_EVENT);
    assert_eq!(next.counted(&counter), 1, "the first is not read again");
}

pub fn while_load_balancers_notice_a_service_that_stops_serves_on_and_is_not_ready<D: WithPosts>() {
    let service = start_with::<D>(|setup| setup.settings.drain_delay = Duration::from_secs(2));
    let http = service.http.clone();
    let stopped = thread::spawn(move || service.stop().0);
    let refused = loop {
        let answer = http.get("/health/ready");
        if answer.status == 503 {
            break answer;
        }
    };
    assert_eq!(reasons(&refused), [("service".into(), "it is stopping".into())]);
    let answer = http.post(D::RESOURCE, &good_body::<D>()).expect(201);
    assert_eq!(answer.header("connection"), Some("close"));
    http.get("/health/live").expect(200);
    assert!(stopped.join().expect("no panic"));
}

pub fn what_arrives_while_a_request_is_finished_is_told_that_the_service_stops<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let (http, setup) = (service.http.clone(), service.setup.clone());
    setup.store.switch(Mode::Silent);
    let id = Uuid::new_v4();
    let asked = {
        let (http, body) = (http.clone(), body_of::<D>(id, 1));
        thread::spawn(move || http.post(D::RESOURCE, &body))
    };
    // A commit that waits for the database is seen nowhere but here.
    service.until("it is under way", || setup.store.silenced() == 1);
    let stopped = thread::spawn(move || service.stop().0);
    let unknown = path_of::<D>(Uuid::new_v4());
    let refused = loop {
        let answer = http.get(&unknown);
        if answer.status != 404 {
            break answer.expect(503);
        }
    };
    assert_eq!(
        (
            refused.text("code"),
            refused.header("retry-after"),
            refused.header("connection")
        ),
        ("stopping".into(), Some("1"), Some("close"))
    );
    setup.store.switch(Mode::Works);
    assert_eq!(
        asked.join().expect("an answer").expect(201).text("id"),
        id.to_string()
    );
    assert!(stopped.join().expect("no panic"));
}
