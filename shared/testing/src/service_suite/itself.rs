//! What a service tells about itself and about what it stores.

#![allow(missing_docs, reason = "the name of a promise says it")]

use std::collections::BTreeSet;

use serde_json::json;
use shared::service::Service;
use uuid::Uuid;

use super::{
    JSON, ServiceDescription, UnderTest, is_problem,
    support::{collections, list_path, path_of},
};
use crate::service::ServiceUnderTest;

pub fn every_service_tells_about_itself<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    assert_eq!(
        service.http.get("/health/live").expect(200).json(),
        json!({ "status": "up" })
    );
    let ready = service.http.get("/Health/Ready").expect(200).json();
    let checks = ready["checks"].as_array().into_iter().flatten();
    let checks: BTreeSet<_> = checks.map(|check| check["name"].as_str()).collect();
    assert_eq!(checks, [Some("database"), Some("log"), Some("consumer")].into());
    let id = D::store(&service);
    service.http.get(&path_of::<D>(id)).expect(200);
    let mut routes = vec![path_of::<D>("{id}")];
    if let Some(list) = list_path::<D>() {
        service.http.get(list).expect(200);
        routes.push(list.to_owned());
    }
    let metrics = service.http.get("/metrics").expect(200);
    let commands = format!("commands_total{{service=\"{}\"}} 1", D::Service::NAME);
    assert!(metrics.body.contains(&commands), "{metrics:?}");
    for route in routes {
        let label = format!("route=\"{route}\"");
        assert!(metrics.body.contains(&label), "{label}: {metrics:?}");
    }
    let docs = service.http.get("/docs").expect(200);
    assert!(
        docs.header("content-type")
            .is_some_and(|value| value.starts_with("text/html"))
    );
}

pub fn head_is_answered_where_get_is_and_options_tells_what_is_allowed<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let id = D::store(&service);
    let one = path_of::<D>(id);
    let paths = [one.as_str(), "/health/live", "/openapi.json"];
    for path in paths.into_iter().chain(list_path::<D>()) {
        let got = service.http.get(path).expect(200);
        let head = service.http.send("HEAD", path, &[], None).expect(200);
        assert_eq!(head.body, "", "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
        assert_eq!(
            head.header("content-length"),
            got.header("content-length"),
            "{path}"
        );
    }
    let unknown = path_of::<D>(Uuid::new_v4());
    service.http.send("HEAD", &unknown, &[], None).expect(404);
    let health = ("/health/ready", "GET, HEAD, OPTIONS");
    for (path, allow) in D::ROUTES.iter().copied().chain([health]) {
        let path = path.replace("{id}", &id.to_string());
        let options = service.http.send("OPTIONS", &path, &[], None).expect(204);
        assert_eq!(
            (options.header("allow"), options.body.as_str()),
            (Some(allow), "")
        );
        if !allow.contains("DELETE") {
            let refused = service.http.send("DELETE", &path, &[], None).expect(405);
            assert_eq!(refused.header("allow"), Some(allow));
        }
    }
    let unknown = service.http.send("OPTIONS", "/nowhere", &[], None).expect(404);
    assert_eq!(unknown.text("code"), "unknown-path");
}

pub fn the_description_names_exactly_the_methods_that_are_there<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let description = service.http.get("/openapi.json").expect(200).json();
    let paths = description["paths"].as_object().expect("a description has paths");
    for (path, _) in D::ROUTES {
        assert!(paths.contains_key(*path), "{path} is not described");
    }
    for (path, described) in paths {
        let path = path.replace("{id}", &Uuid::new_v4().to_string());
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let is_described = described.get(method.to_lowercase()).is_some();
            let body: Option<&[u8]> = matches!(method, "POST" | "PUT").then_some(b"{");
            let answer = service.http.send(method, &path, &[JSON], body);
            let status = answer.status;
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
            let unknown = status == 404 && answer.text("code") == "unknown-path";
            assert!(!unknown, "nothing is at {path}");
        }
    }
}

pub fn a_request_without_a_usable_id_is_given_one<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    // None, or one that would forge a log line; a problem tells it too.
    for given in [vec![], vec![("x-request-id", "a b")]] {
        let answer = service.http.send("GET", &path_of::<D>("x"), &given, None);
        let answer = answer.expect(400);
        let made = answer.header("x-request-id").expect("an id is made").to_owned();
        assert_eq!(answer.text("correlationId"), made);
        assert_ne!(made, "a b");
        assert_eq!(answer.header("traceparent").map(str::len), Some(55));
    }
}

pub fn a_parameter_that_is_not_known_is_400<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let path = format!("{}?verbose=1", path_of::<D>(D::store(&service)));
    let answer = service.http.get(&path);
    is_problem("unknown", &answer, 400, "invalid-field", Some("query"));
}

pub fn what_cannot_be_read_is_not_said_to_be_missing_and_others_are_found<D: ServiceDescription>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let collection = collections::<D>()[0].name;
    let well = path_of::<D>(D::store(&service));
    let found = service.http.get(&well).expect(200).json();
    for fields in D::unreadable() {
        let sick = D::store(&service);
        service.setup.set(collection, sick, &fields);
        let answer = service.http.get(&path_of::<D>(sick)).expect(500);
        assert_eq!(answer.text("code"), "document-unreadable", "{fields}");
        assert!(answer.text("detail").contains(&sick.to_string()), "{answer:?}");
        assert_eq!(service.http.get(&well).expect(200).json(), found);
        if let Some(list) = list_path::<D>() {
            service.http.get(list).expect(200);
        }
    }
}
