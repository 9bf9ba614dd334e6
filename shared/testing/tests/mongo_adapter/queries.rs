//! Pages by index and sweeps of outboxes: what they find, and what that costs the server.

use bson::{Document, doc};
use shared::{
    document_store::{
        Direction, DocumentKey, DocumentStore, IndexValue, Mark, OutboxQuery, Query, StoreError,
    },
    events::EventId,
};
use uuid::Uuid;

use super::support::*;

/// Twelve orders of two customers in three states, oldest first.
async fn twelve(test: &Fixture) -> (Vec<Uuid>, Vec<Uuid>) {
    let customers = vec![Uuid::now_v7(), Uuid::now_v7()];
    let keys: Vec<DocumentKey> = (0..12).map(|_| key(ORDERS)).collect();
    let writes = keys
        .iter()
        .enumerate()
        .map(|(n, key)| {
            let fields = doc! { "customerId": uuid(customers[n % 2]), "status": (n % 3) as i32 };
            (*key, None, fields)
        })
        .collect();
    test.store.commit(commit(false, writes)).await.unwrap();
    (keys.iter().map(|key| key.id).collect(), customers)
}

#[tokio::test]
async fn pages_come_in_order_of_the_id_whatever_is_merged() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let (ids, customers) = twelve(&test).await;
    let statuses = |statuses: &[i32]| statuses.iter().copied().map(IndexValue::Int).collect::<Vec<_>>();
    let customer = |n: usize| vec![IndexValue::Uuid(customers[n])];
    let expected = |matches: &dyn Fn(usize) -> bool| -> Vec<Uuid> {
        ids.iter()
            .enumerate()
            .filter(|(n, _)| matches(*n))
            .map(|(_, id)| *id)
            .collect()
    };
    let everything: Vec<(Vec<_>, Vec<Uuid>)> = vec![
        (vec![], ids.clone()),
        (vec![("status", statuses(&[1]))], expected(&|n| n % 3 == 1)),
        (vec![("status", statuses(&[2, 0]))], expected(&|n| n % 3 != 1)),
        (
            vec![("customerId", customer(1)), ("status", statuses(&[0, 1, 2]))],
            expected(&|n| n % 2 == 1),
        ),
        (
            vec![("customerId", customer(0)), ("status", statuses(&[2]))],
            expected(&|n| n % 2 == 0 && n % 3 == 2),
        ),
        (vec![("status", vec![])], vec![]),
    ];
    for (matching, ascending) in everything {
        for order in [Direction::Ascending, Direction::Descending] {
            let mut expected = ascending.clone();
            if order == Direction::Descending {
                expected.reverse();
            }
            for limit in [1, 2, 3, 12, 100] {
                let mut pages = Vec::new();
                let mut after = None;
                loop {
                    let query = Query {
                        collection: "orders",
                        matching: matching.clone(),
                        after,
                        order,
                        limit,
                    };
                    let page: Vec<Uuid> = test
                        .store
                        .list(query)
                        .await
                        .unwrap()
                        .iter()
                        .map(|document| id_of(document))
                        .collect();
                    assert!(page.len() <= limit);
                    after = page.last().copied();
                    if page.is_empty() {
                        break;
                    }
                    pages.extend(page);
                }
                assert_eq!(pages, expected, "{matching:?} {order:?} {limit}");
            }
        }
    }
    let nothing = Query {
        collection: "orders",
        matching: vec![],
        after: None,
        order: Direction::Ascending,
        limit: 0,
    };
    assert_eq!(test.store.list(nothing).await, Ok(vec![]));
    let unknown = Query {
        collection: "orders",
        matching: vec![("color", statuses(&[1]))],
        after: None,
        order: Direction::Ascending,
        limit: 1,
    };
    assert!(
        matches!(test.store.list(unknown).await, Err(StoreError::Unfit(_))),
        "no index, no answer"
    );
    test.end().await;
}

#[tokio::test]
async fn a_page_examines_about_as_many_keys_as_it_shows() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let customer = Uuid::now_v7();
    for _ in 0..8 {
        let fields = |n: i32| doc! { "customerId": uuid(customer), "status": n % 3 };
        let writes = (0..250).map(|n| (key(ORDERS), None, fields(n))).collect();
        test.store.commit(commit(false, writes)).await.unwrap();
    }
    // The profiler tells what the adapter's own query did.
    test.database().run_command(doc! { "profile": 2 }).await.unwrap();
    let statuses = vec![IndexValue::Int(0), IndexValue::Int(1), IndexValue::Int(2)];
    let after = test
        .store
        .list(by_customer(customer, &statuses, None))
        .await
        .unwrap()
        .last()
        .map(|last| id_of(last));
    test.store
        .list(by_customer(customer, &statuses, after))
        .await
        .unwrap();
    test.store
        .list(by_customer(customer, &statuses[..1], None))
        .await
        .unwrap();
    test.store
        .unpublished(OutboxQuery::oldest("orders", 20))
        .await
        .unwrap();
    test.database().run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = test.database().collection::<Document>("system.profile");
    let mut cursor = profile.find(doc! { "command.find": "orders" }).await.unwrap();
    let mut seen = 0;
    while cursor.advance().await.unwrap() {
        let entry = cursor.deserialize_current().unwrap();
        let plan = entry.get_str("planSummary").unwrap();
        assert!(plan.starts_with("IXSCAN"), "{plan}");
        // Outboxes are few, and sorted by time in memory; they are found by their own index.
        let outboxes = plan.contains("outbox._id");
        assert_eq!(entry.contains_key("hasSortStage"), outboxes, "{entry}");
        assert!(entry.get_i32("keysExamined").unwrap() <= 24, "{entry}");
        assert!(entry.get_i32("docsExamined").unwrap() <= 20, "{entry}");
        assert!(
            entry.get_bool("cursorExhausted").unwrap(),
            "one round trip: {entry}"
        );
        seen += 1;
    }
    assert_eq!(seen, 4);
    test.end().await;
}

fn by_customer(customer: Uuid, statuses: &[IndexValue], after: Option<Uuid>) -> Query {
    let matching = vec![
        ("customerId", vec![IndexValue::Uuid(customer)]),
        ("status", statuses.to_vec()),
    ];
    Query {
        collection: "orders",
        matching,
        after,
        order: Direction::Descending,
        limit: 20,
    }
}

#[tokio::test]
async fn outboxes_are_found_and_marked_event_by_event() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let event = |key: DocumentKey, number| EventId::of(key.id, "Changed", number);
    let outbox =
        |key| doc! { "outbox": [{ "_id": uuid(event(key, 1).0) }, { "_id": uuid(event(key, 2).0) }] };
    let (one, two, three, quiet) = (key(ORDERS), key(ORDERS), key(ACCOUNTS), key(ORDERS));
    let writes = vec![
        (one, None, outbox(one)),
        (two, None, outbox(two)),
        (three, None, outbox(three)),
        (quiet, None, doc! {}),
    ];
    test.store.commit(commit(false, writes)).await.unwrap();
    let unpublished = async |collection, limit| -> Vec<Uuid> {
        let found = test
            .store
            .unpublished(OutboxQuery::oldest(collection, limit))
            .await
            .unwrap();
        let mut ids: Vec<Uuid> = found.iter().map(|document| id_of(document)).collect();
        ids.sort();
        ids
    };
    assert_eq!(unpublished("orders", 10).await, [one.id, two.id]);
    assert_eq!(unpublished("orders", 1).await.len(), 1);
    assert!(unpublished("orders", 0).await.is_empty());
    assert_eq!(unpublished("accounts", 10).await, [three.id]);

    test.store
        .commit(commit(false, vec![(two, Some(1), outbox(two))]))
        .await
        .unwrap();
    let marks = [(one, 2), (three, 2), (quiet, 2), (two, 1)];
    let marks = marks.map(|(key, events)| Mark {
        key,
        events: (1..=events).map(|number| event(key, number)).collect(),
    });
    test.store.mark_published(marks.to_vec()).await.unwrap();
    test.store.mark_published(marks.to_vec()).await.unwrap();
    test.store.mark_published(vec![]).await.unwrap();
    assert_eq!(
        unpublished("orders", 10).await,
        [two.id],
        "one of its events is not marked"
    );
    assert!(unpublished("accounts", 10).await.is_empty());
    let found = test.store.find("orders", vec![one.id]).await.unwrap();
    assert!(found[0].get_array("outbox").unwrap().is_empty());
    assert_eq!(test.version(one).await, Some(1), "a mark is no new version");
    test.end().await;
}
