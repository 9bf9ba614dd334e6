//! Lists, page by page.

#![allow(missing_docs, reason = "the name of a promise says it")]

use serde_json::{Value, json};

use super::{UnderTest, WithLists, is_problem, pages, support::items};
use crate::service::ServiceUnderTest;

pub fn pages_visit_each_once_newest_first<D: WithLists>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let ids: Vec<_> = (0..23).map(|_| D::store(&service).to_string()).collect();
    let visited = pages(&service, &format!("{}?", D::RESOURCE), || {
        // What is created meanwhile is newer than every cursor.
        D::store(&service);
    });
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(visited, newest_first);
    let all = service.http.get(D::RESOURCE).expect(200);
    assert_eq!(items(&all), 28);
    assert_eq!(all.json()["nextCursor"], Value::Null);
    let last = service.http.get(&format!("{}?cursor={}", D::RESOURCE, ids[0]));
    assert_eq!(last.expect(200).json(), json!({ "items": [] }));
}

pub fn parameters_of_a_list_that_are_wrong_are_400_and_named<D: WithLists>() {
    let service: UnderTest<D> = ServiceUnderTest::start();
    let id = D::store(&service);
    let of_all = D::lists(id).into_iter().flat_map(|list| {
        let wrong = [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=501", "limit"),
            ("limit=", "limit"),
            ("limit=ten", "limit"),
            ("limit=99999999999999999999999", "limit"),
            ("limit=1&LIMIT=2", "limit"),
            ("cursor=", "cursor"),
            ("cursor=next", "cursor"),
            ("cursor=00000000-0000-0000-0000-000000000000", "cursor"),
            ("wait=1s", "query"),
            ("page=2", "query"),
            ("%ff=1", "query"),
            ("limit=1&%00=x", "query"),
        ];
        wrong.map(|(query, field)| (format!("{list}?{query}"), field))
    });
    let filters = D::WRONG_FILTERS.iter();
    let filters = filters.map(|(query, field)| (format!("{}?{query}", D::RESOURCE), *field));
    for (path, field) in of_all.chain(filters) {
        let answer = service.http.get(&path);
        is_problem(&path, &answer, 400, "invalid-field", Some(field));
    }
}
