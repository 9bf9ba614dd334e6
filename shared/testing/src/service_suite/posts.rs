//! What is posted properly.

#![allow(missing_docs, reason = "the name of a promise says it")]

use serde_json::{Map, Value};
use shared::service::Service;
use uuid::Uuid;

use super::{
    UnderTest, WithPosts,
    support::{body_of, good_body, is_about, path_of, post, post_routes, until_announced},
};
use crate::{http::Answer, service::ServiceUnderTest};

pub fn a_post_answers_201_and_is_found_at_its_location<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let answer = post::<D>(&service, &good_body::<D>()).expect(201);
    let id = answer.text("id");
    assert_eq!(id.parse::<Uuid>().map(|id| id.get_version_num()), Ok(7));
    let location = path_of::<D>(id);
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let found = service.http.get(&location).expect(200);
    assert_eq!(found.json(), answer.json());
}

/// The same body with other names of its fields.
fn renamed(body: &Value, rename: impl Fn(&str) -> String) -> Value {
    let fields = body.as_object().expect("a body is an object");
    let renamed = fields.iter().map(|(name, value)| (rename(name), value.clone()));
    renamed.collect::<Map<_, _>>().into()
}

pub fn the_csharp_route_answers_200_in_any_case<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let route = D::CSHARP_ROUTE.expect("this group is for services with a route of the C# services");
    let id = Uuid::new_v4();
    let pascal = |name: &str| name[..1].to_uppercase() + &name[1..];
    let body = renamed(&body_of::<D>(id, 800.0), pascal);
    let created = service.http.post(route, &body).expect(200);
    assert_eq!(created.text("id"), id.to_string());
    assert_eq!(created.header("location"), None);
    let upper = id.to_string().to_uppercase();
    let mut body = body_of::<D>(id, "800.00");
    body["id"] = upper.as_str().into();
    let shouted = renamed(&body, str::to_uppercase);
    let again = service.http.post(&(route.to_uppercase() + "/"), &shouted);
    assert_eq!(again.expect(200).json(), created.json());
    let path = format!("{}/{upper}", D::RESOURCE.to_uppercase());
    assert_eq!(service.http.get(&path).expect(200).json(), created.json());
}

pub fn a_repeated_post_answers_as_the_first_and_is_announced_once<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let id = Uuid::new_v4();
    let body = body_of::<D>(id, 10.5);
    let first = post::<D>(&service, &body).expect(201);
    let again = post::<D>(&service, &body).expect(201);
    assert_eq!(
        (again.json(), again.header("location")),
        (first.json(), first.header("location"))
    );
    let other = D::store(&service);
    let mut tape = until_announced::<D>(&service, &[id, other]);
    let announced = tape.events(D::CREATED_EVENT);
    let of_it = announced.into_iter().filter(is_about::<D>(id));
    assert_eq!(of_it.count(), 1);
}

pub fn the_same_id_with_another_content_is_409<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let id = Uuid::new_v4();
    let body = body_of::<D>(id, 10);
    let first = post::<D>(&service, &body).expect(201);
    for (field, value) in D::OTHER_CONTENT {
        let mut other = body.clone();
        other[*field] = serde_json::from_str(value).expect("the description is JSON");
        for path in post_routes::<D>() {
            let answer = service.http.post(path, &other).expect(409);
            assert_eq!(
                (answer.text("code"), answer.text("id")),
                ("id-taken".into(), id.to_string())
            );
        }
    }
    let found = service.http.get(&path_of::<D>(id)).expect(200);
    assert_eq!(found.json(), first.json());
}

pub fn an_idempotency_key_stands_for_an_id<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let create = |key: &str, money: i32| -> Answer {
        let mut body = good_body::<D>();
        body[D::MONEY_FIELD] = money.into();
        let headers = [("idempotency-key", key)];
        service.http.post_with(D::RESOURCE, &headers, &body)
    };
    let first = create("checkout 7", 10).expect(201);
    assert_eq!(create("checkout 7", 10).expect(201).json(), first.json());
    assert_eq!(create("checkout 7", 11).expect(409).text("code"), "id-taken");
    assert_ne!(create("checkout 8", 10).expect(201).text("id"), first.text("id"));
    let id = Uuid::new_v4();
    assert_eq!(create(&id.to_string(), 10).expect(201).text("id"), id.to_string());
}

pub fn a_request_is_followed_by_its_ids_into_its_events<D: WithPosts>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("x-request-id", "checkout-7/a"), ("traceparent", parent.as_str())];
    let answer = service.http.post_with(D::RESOURCE, &headers, &good_body::<D>());
    let answer = answer.expect(201);
    assert_eq!(answer.header("x-request-id"), Some("checkout-7/a"));
    assert_eq!(answer.header("traceparent"), Some(parent.as_str()));
    let (id, key) = (answer.text("id"), answer.text(D::KEY_FIELD));
    let mut tape = service.tape();
    let event = service.until("it is announced", || {
        tape.find(D::CREATED_EVENT, |seen| seen.data[D::ID_IN_EVENT] == id)
    });
    assert_eq!(event.record.key.as_deref(), Some(key.as_bytes()));
    let source = format!("/{}", D::Service::NAME);
    for (header, value) in [
        ("ce_specversion", "1.0"),
        ("ce_type", D::CREATED_EVENT),
        ("ce_source", source.as_str()),
        ("ce_subject", id.as_str()),
        ("ce_correlationid", "checkout-7/a"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(
            event.headers.get(header).map(String::as_str),
            Some(value),
            "{header}"
        );
    }
    assert_eq!(event.headers.get("ce_causationid"), None, "a request is no event");
    assert!(event.headers["traceparent"].starts_with(&format!("00-{trace}-")));
    assert_ne!(
        event.headers["traceparent"], parent,
        "the event is a span of its own"
    );
}
