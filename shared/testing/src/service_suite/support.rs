//! What the promises are checked with.

use serde_json::{Value, json};
use shared::{actors::repository::Workspace, document_store::CollectionSettings, service::Service};
use uuid::Uuid;

use super::{Exchange, ServiceDescription, UnderTest, WithPosts};
use crate::{
    http::Answer,
    service::{Seen, ServiceUnderTest, Setup, Tape},
};

/// The header of a JSON body.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// Starts it with settings of this test, and waits until it is ready.
pub(super) fn start_with<D: ServiceDescription>(change: impl FnOnce(&mut Setup<D::Service>)) -> UnderTest<D> {
    let mut setup = Setup::<D::Service>::new();
    change(&mut setup);
    start_on_ready::<D>(setup)
}

/// Starts it on this, and waits until it is ready.
pub(super) fn start_on_ready<D: ServiceDescription>(setup: Setup<D::Service>) -> UnderTest<D> {
    let service: UnderTest<D> = ServiceUnderTest::start_on(setup);
    service.until_ready();
    service
}

/// How the service's documents are stored.
pub(super) fn collections<D: ServiceDescription>() -> &'static [CollectionSettings] {
    <<D::Service as Service>::Workspace as Workspace>::COLLECTIONS
}

/// The path of one resource.
pub(super) fn path_of<D: ServiceDescription>(id: impl std::fmt::Display) -> String {
    format!("{}/{id}", D::RESOURCE)
}

/// The path of the list of all resources, if the service has that list.
pub(super) fn list_path<D: ServiceDescription>() -> Option<&'static str> {
    let mut routes = D::ROUTES.iter();
    let is_listed =
        routes.any(|(path, allow)| *path == D::RESOURCE && methods(allow).any(|one| one == "GET"));
    is_listed.then_some(D::RESOURCE)
}

/// The methods that an `Allow` names.
pub(super) fn methods(allow: &str) -> impl Iterator<Item = &str> {
    allow.split(", ")
}

/// The answer is a problem of this kind, which names this field (if any).
#[track_caller]
pub fn is_problem(what: &str, answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}: {answer:?}"
    );
    assert_eq!(answer.text("code"), code, "{what}: {answer:?}");
    assert_eq!(
        Some(answer.text("correlationId").as_str()),
        answer.header("x-request-id"),
        "{what}"
    );
    let wrong = answer.wrong_fields();
    let expected: Vec<_> = field.into_iter().map(str::to_owned).collect();
    assert_eq!(wrong, expected, "{what}: {answer:?}");
}

/// Nothing was stored, and what is good is stored, shown and handled.
#[track_caller]
pub(super) fn is_well<D: ServiceDescription>(service: &UnderTest<D>) {
    for collection in collections::<D>() {
        let name = collection.name;
        assert_eq!(service.setup.count(name), 0, "documents in {name}");
    }
    if let Some(list) = list_path::<D>() {
        let listed = service.http.get(list).expect(200).json();
        assert_eq!(listed, json!({ "items": [] }));
    }
    handle::<D>(service, &[D::exchange(service, Uuid::new_v4())]);
    if let Some(list) = list_path::<D>() {
        assert_eq!(items(&service.http.get(list)), 1);
    }
    service.until_ready();
}

/// A body with every field right, and no id.
pub(super) fn good_body<D: WithPosts>() -> Value {
    let body = with::<D>("", b"");
    serde_json::from_slice(&body).expect("the fields of the description are JSON")
}

/// The same under this id, with this money.
pub(super) fn body_of<D: WithPosts>(id: Uuid, money: impl Into<Value>) -> Value {
    let mut body = good_body::<D>();
    body["id"] = json!(id);
    body[D::MONEY_FIELD] = money.into();
    body
}

/// The bytes of a good body with one field of another value, given as JSON or as what is none.
pub(super) fn with<D: WithPosts>(field: &str, value: &[u8]) -> Vec<u8> {
    let fields = D::FIELDS.iter().map(|(name, right)| {
        let value = if *name == field { value } else { right.as_bytes() };
        [format!("\"{name}\":").as_bytes(), value].concat()
    });
    let fields: Vec<_> = fields.collect();
    [b"{", fields.join(&b","[..]).as_slice(), b"}"].concat()
}

/// Posts to the resource.
pub(super) fn post<D: WithPosts>(service: &UnderTest<D>, body: &Value) -> Answer {
    service.http.post(D::RESOURCE, body)
}

/// The routes that take posts.
pub(super) fn post_routes<D: WithPosts>() -> Vec<&'static str> {
    [D::RESOURCE].into_iter().chain(D::CSHARP_ROUTE).collect()
}

/// The number of items that a list answers.
#[track_caller]
pub(super) fn items(answer: &Answer) -> usize {
    let listed = answer.clone().expect(200).json();
    listed["items"].as_array().expect("a list has items").len()
}

/// Publishes these events, all of one key, and waits until they are handled.
pub(super) fn handle<D: ServiceDescription>(service: &UnderTest<D>, exchanges: &[Exchange]) {
    for exchange in exchanges {
        service.publish(exchange.record::<D>());
    }
    service.until("the events are handled", || D::were_handled(service, exchanges));
}

/// Waits until an event is answered with exactly what it should be.
pub(super) fn until_answered<D: ServiceDescription>(service: &UnderTest<D>, exchange: &Exchange) -> Seen {
    let mut tape = service.tape();
    service.until("the event is answered", || {
        let answers = tape.events(D::ANSWER_EVENT);
        let right = answers.iter().find(|seen| seen.data == exchange.answer);
        right.cloned().ok_or(answers)
    })
}

/// Every record is done with, none is parked and none has become a dead letter.
#[track_caller]
pub(super) fn nothing_failed<S: Service>(service: &ServiceUnderTest<S>) {
    service.until("all records are done with", || {
        service.counted("consumer_in_flight") == 0
    });
    service.until_parked(0);
    assert_eq!(service.counted("dead_letters_total{"), 0);
}

/// Whether an event is about this new resource.
pub(super) fn is_about<D: ServiceDescription>(id: Uuid) -> impl Fn(&Seen) -> bool {
    move |seen| seen.data[D::ID_IN_EVENT] == id.to_string()
}

/// Waits until all of these new resources are announced; all events until then.
pub(super) fn until_announced<D: ServiceDescription>(service: &UnderTest<D>, ids: &[Uuid]) -> Tape {
    let mut tape = service.tape();
    service.until("what was stored is announced", || {
        let announced = tape.events(D::CREATED_EVENT);
        ids.iter().all(|id| announced.iter().any(is_about::<D>(*id)))
    });
    tape
}

/// Why `ready` says no, check by check.
pub(super) fn reasons(answer: &Answer) -> Vec<(String, String)> {
    let json = answer.json();
    let down = json["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["status"] == "down");
    down.map(|check| {
        let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
        (text("name"), text("reason"))
    })
    .collect()
}

/// Waits until `ready` names this check as down; its reason.
pub(super) fn until_down<S: Service>(service: &ServiceUnderTest<S>, check: &str) -> String {
    service.until(&format!("{check} is down"), || {
        let answer = service.http.get("/health/ready");
        let reason = reasons(&answer).into_iter().find(|(name, _)| name == check);
        if answer.status == 503 {
            reason.map(|(_, reason)| reason)
        } else {
            None
        }
    })
}

/// The ids on all pages of five of a list: `path` ends in `?` or `&`. `meanwhile` happens after each page.
pub fn pages<S: Service>(service: &ServiceUnderTest<S>, path: &str, meanwhile: impl Fn()) -> Vec<String> {
    let (mut visited, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.http.get(&format!("{path}limit=5{cursor}"));
        let page = page.expect(200).json();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let id = |item: &Value| item["id"].as_str().unwrap_or("?").to_owned();
        visited.extend(items.iter().map(id));
        meanwhile();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return visited,
        }
        assert_eq!(items.len(), 5, "only the last page is short");
    }
}
