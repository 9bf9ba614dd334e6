//! What the port promises, when nothing goes wrong.

use std::sync::Arc;

use bson::{Document, doc};
use shared::{
    document_store::{
        DocumentKey, DocumentStore, Mark, Outcome, StoreError,
        mongo::{MongoSettings, MongoStore},
    },
    events::EventId,
};
use uuid::Uuid;

use super::support::*;

#[tokio::test]
async fn a_document_that_was_inserted_is_found_as_it_was_written() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let (one, two) = (key(ORDERS), key(ORDERS));
    let write = commit(
        false,
        vec![(one, None, doc! { "n": 1 }), (two, None, doc! { "n": 2 })],
    );
    assert_eq!(
        test.store.commit(write.clone()).await,
        Ok(all(Outcome::Applied, 2))
    );
    let mut found = test
        .store
        .find("orders", vec![two.id, Uuid::new_v4(), one.id])
        .await
        .unwrap();
    found.sort_by_key(|document| id_of(document));
    assert_eq!(
        found,
        [write.writes[0].document.clone(), write.writes[1].document.clone()]
    );
    assert_eq!(
        test.store.find("orders", vec![two.id]).await.unwrap(),
        [write.writes[1].document.clone()]
    );
    assert_eq!(test.store.find("orders", vec![]).await, Ok(vec![]));
    assert_eq!(test.store.find("accounts", vec![one.id]).await, Ok(vec![]));
    assert_eq!(test.store.commit(commit(false, vec![])).await, Ok(vec![]));
    assert_eq!(test.store.commit(commit(true, vec![])).await, Ok(vec![]));
    test.end().await;
}

#[tokio::test]
async fn the_same_commit_twice_writes_once_and_another_insert_of_the_same_id_conflicts() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    for atomic in [false, true] {
        let (one, two) = (key(ORDERS), key(ACCOUNTS));
        let first = commit(atomic, vec![(one, None, doc! { "n": 1 }), (two, None, doc! {})]);
        assert_eq!(
            test.store.commit(first.clone()).await,
            Ok(all(Outcome::Applied, 2))
        );
        assert_eq!(
            test.store.commit(first.clone()).await,
            Ok(all(Outcome::Applied, 2))
        );
        let again = commit(atomic, vec![(one, None, doc! { "n": 1 }), (two, None, doc! {})]);
        assert_eq!(test.store.commit(again).await, Ok(all(Outcome::Conflict, 2)));

        let next = commit(
            atomic,
            vec![(one, Some(1), doc! { "n": 2 }), (two, Some(1), doc! {})],
        );
        assert_eq!(
            test.store.commit(next.clone()).await,
            Ok(all(Outcome::Applied, 2))
        );
        assert_eq!(
            test.store.commit(next.clone()).await,
            Ok(all(Outcome::Applied, 2))
        );
        let found = test.store.find("orders", vec![one.id]).await.unwrap();
        assert_eq!(found, [next.writes[0].document.clone()]);
    }
    test.end().await;
}

#[tokio::test]
async fn a_replacement_happens_only_to_the_version_it_was_decided_on() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let one = key(ORDERS);
    let replace = |version| commit(false, vec![(one, Some(version), doc! {})]);
    assert_eq!(
        test.store.commit(replace(1)).await,
        Ok(vec![Outcome::Conflict]),
        "nothing is there"
    );
    test.store.commit(insert(one)).await.unwrap();
    assert_eq!(
        test.store.commit(replace(2)).await,
        Ok(vec![Outcome::Conflict]),
        "not that far yet"
    );
    assert_eq!(test.store.commit(replace(1)).await, Ok(vec![Outcome::Applied]));
    assert_eq!(
        test.store.commit(replace(1)).await,
        Ok(vec![Outcome::Conflict]),
        "too late"
    );
    assert_eq!(test.version(one).await, Some(2));
    test.end().await;
}

#[tokio::test]
async fn each_write_has_its_own_outcome_unless_the_commit_is_atomic() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let keys: Vec<DocumentKey> = (0..3)
        .map(|_| key(ORDERS))
        .chain((0..2).map(|_| key(ACCOUNTS)))
        .collect();
    let there = vec![
        (keys[1], None, doc! {}),
        (keys[2], None, doc! {}),
        (keys[3], None, doc! {}),
    ];
    test.store.commit(commit(false, there)).await.unwrap();
    let writes = || {
        vec![
            (keys[0], None, doc! {}),
            (keys[1], None, doc! {}),
            (keys[2], Some(1), doc! {}),
            (keys[3], Some(7), doc! {}),
            (keys[4], None, doc! {}),
        ]
    };
    use Outcome::{Applied, Conflict};
    assert_eq!(
        test.store.commit(commit(true, writes())).await,
        Ok(all(Conflict, 5))
    );
    assert_eq!(test.version(keys[0]).await, None);
    assert_eq!(test.version(keys[2]).await, Some(1));
    assert_eq!(
        test.store.commit(commit(false, writes())).await,
        Ok(vec![Applied, Conflict, Applied, Conflict, Applied])
    );
    let versions = [Some(1), Some(1), Some(2), Some(1), Some(1)];
    for (key, version) in keys.iter().zip(versions) {
        assert_eq!(test.version(*key).await, version);
    }
    test.end().await;
}

#[tokio::test]
async fn an_atomic_commit_that_was_partly_overwritten_since_is_still_known_as_applied() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let (one, two) = (key(ORDERS), key(ACCOUNTS));
    let first = commit(true, vec![(one, None, doc! {}), (two, None, doc! {})]);
    test.store.commit(first.clone()).await.unwrap();
    test.store
        .commit(commit(false, vec![(two, Some(1), doc! {})]))
        .await
        .unwrap();
    assert_eq!(test.store.commit(first).await, Ok(all(Outcome::Applied, 2)));
    assert_eq!(test.version(two).await, Some(2));
    test.end().await;
}

#[tokio::test]
async fn writers_on_the_same_document_lose_nothing() {
    let Some(uri) = uri() else { return };
    let test = Arc::new(Fixture::new(&uri).await);
    for atomic in [false, true] {
        let (one, two) = (key(ORDERS), key(ACCOUNTS));
        let start = vec![(one, None, doc! { "n": 0 }), (two, None, doc! { "n": 0 })];
        test.store.commit(commit(true, start)).await.unwrap();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let test = test.clone();
                tokio::spawn(async move {
                    for _ in 0..50 {
                        increment(&test.store, one, atomic.then_some(two)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for key in [Some(one), atomic.then_some(two)].into_iter().flatten() {
            let found = test.store.find(key.collection, vec![key.id]).await.unwrap();
            assert_eq!(found[0].get_i32("n").unwrap(), 200);
            assert_eq!(found[0].get_i64("version").unwrap(), 201);
        }
    }
    Arc::into_inner(test).unwrap().end().await;
}

async fn increment(store: &MongoStore, one: DocumentKey, two: Option<DocumentKey>) {
    loop {
        let found = store.find(one.collection, vec![one.id]).await.unwrap();
        let (version, n) = (
            found[0].get_i64("version").unwrap(),
            found[0].get_i32("n").unwrap(),
        );
        let keys = [Some(one), two].into_iter().flatten();
        let writes = keys
            .map(|key| (key, Some(version), doc! { "n": n + 1 }))
            .collect();
        if store.commit(commit(two.is_some(), writes)).await.unwrap()[0] == Outcome::Applied {
            return;
        }
    }
}

#[tokio::test]
async fn a_whole_round_of_large_documents_fits() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let keys: Vec<DocumentKey> = (0..256).map(|_| key(ORDERS)).collect();
    let fields = doc! { "padding": "x".repeat(64 * 1024) };
    for atomic in [false, true] {
        let expected = atomic.then_some(1);
        let writes = keys.iter().map(|key| (*key, expected, fields.clone())).collect();
        assert_eq!(
            test.store.commit(commit(atomic, writes)).await,
            Ok(all(Outcome::Applied, 256))
        );
    }
    // More than one answer of 16 MB.
    let found = test
        .store
        .find("orders", keys.iter().map(|key| key.id).collect())
        .await
        .unwrap();
    assert_eq!(found.len(), 256);
    test.end().await;
}

#[tokio::test]
async fn a_mark_in_the_middle_of_a_transaction_costs_it_nothing() {
    let Some(uri) = uri() else { return };
    let test = Arc::new(Fixture::new(&uri).await);
    let (one, two) = (key(ORDERS), key(ACCOUNTS));
    test.store
        .commit(commit(true, vec![(one, None, doc! {}), (two, None, doc! {})]))
        .await
        .unwrap();
    let event = move |version: i64| EventId::of(one.id, "Changed", version);
    let marker = tokio::spawn({
        let test = test.clone();
        async move {
            for version in 1..300 {
                test.store
                    .mark_published(vec![Mark {
                        key: one,
                        events: vec![event(version / 4)],
                    }])
                    .await
                    .unwrap();
            }
        }
    });
    for version in 1..60 {
        let fields = doc! { "outbox": [{ "_id": uuid(event(version).0) }] };
        let writes = vec![(one, Some(version), fields), (two, Some(version), doc! {})];
        assert_eq!(
            test.store.commit(commit(true, writes)).await,
            Ok(all(Outcome::Applied, 2))
        );
    }
    marker.await.unwrap();
    Arc::into_inner(test).unwrap().end().await;
}

#[tokio::test]
async fn preparing_again_changes_nothing_and_wrong_indexes_are_named() {
    let Some(uri) = uri() else { return };
    let test = Fixture::new(&uri).await;
    let prepare = || test.store.prepare(vec![ORDERS, ACCOUNTS]);
    let (first, second) = tokio::join!(prepare(), prepare());
    assert_eq!((first, second), (Ok(()), Ok(())));
    let orders = test.database().collection::<Document>("orders");
    let mut names = orders.list_index_names().await.unwrap();
    names.sort();
    assert_eq!(
        names,
        [
            "_id_",
            "customerId_1_status_1__id_1",
            "outbox._id_1",
            "status_1__id_1"
        ]
    );

    orders.drop_index("status_1__id_1").await.unwrap();
    assert_eq!(prepare().await, Ok(()));
    assert_eq!(orders.list_index_names().await.unwrap().len(), 4);

    orders.drop_index("outbox._id_1").await.unwrap();
    orders
        .create_index(
            mongodb::IndexModel::builder()
                .keys(doc! { "outbox._id": 1 })
                .build(),
        )
        .await
        .unwrap();
    orders.drop_index("status_1__id_1").await.unwrap();
    let Err(StoreError::Unfit(why)) = prepare().await else {
        panic!("an index that is not sparse was taken")
    };
    let expected = "collection orders has no plain sparse index over { \"outbox._id\": 1 }; drop the one that stands in its place";
    assert_eq!(why, expected);
    assert_eq!(
        orders.list_index_names().await.unwrap().len(),
        4,
        "the others are made all the same"
    );
    orders.drop_index("outbox._id_1").await.unwrap();

    let meta = test.database().collection::<Document>("meta");
    meta.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 2 } })
        .await
        .unwrap();
    let unfit = prepare().await;
    assert!(
        matches!(&unfit, Err(StoreError::Unfit(why)) if why.contains("schema 2")),
        "{unfit:?}"
    );
    test.end().await;
}

#[tokio::test]
async fn a_bad_uri_is_refused_without_telling_the_password() {
    for uri in [
        "mongodb://ann:s3cr/et@host/",
        "ann:s3cret@host",
        "mongodb://ann:s3cret@:port",
        "",
    ] {
        let settings = MongoSettings::new(uri, "db");
        assert!(
            !format!("{settings:?}").contains("s3cr") || !uri.contains("://"),
            "{settings:?}"
        );
        let Err(StoreError::Unfit(why)) = MongoStore::new(settings).await else {
            panic!("{uri} was taken")
        };
        assert!(!why.contains("s3cr") && why.contains("URI"), "{why}");
    }
}

#[actix::test]
async fn a_store_made_on_one_arbiter_serves_another_and_outlives_it() {
    let Some(uri) = uri() else { return };
    let test = Arc::new(Fixture::new(&uri).await);
    let (done, finished) = tokio::sync::oneshot::channel();
    let arbiter = actix::Arbiter::new();
    let shared = test.clone();
    arbiter.spawn(async move {
        let written = shared.store.commit(insert(key(ORDERS))).await;
        drop(shared);
        done.send(written).unwrap();
    });
    assert_eq!(finished.await.unwrap(), Ok(vec![Outcome::Applied]));
    arbiter.stop();
    arbiter.join().unwrap();
    assert_eq!(
        test.store.commit(insert(key(ORDERS))).await,
        Ok(vec![Outcome::Applied])
    );
    assert_eq!(test.store.check().await, Ok(()));
    Arc::into_inner(test).unwrap().end().await;
}
