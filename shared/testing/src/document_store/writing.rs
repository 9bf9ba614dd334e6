//! Promises about commits.

use std::sync::Arc;

use uuid::Uuid;

use super::{ITEMS, Item, NOTES, StoreUnderTest, find, insert, prepared, write};
use shared::document_store::{
    Commit, DocumentStore,
    Outcome::{Applied, Conflict},
};

/// Promise: documents are found by their ids, byte for byte; those that do not exist are left out.
pub async fn what_was_inserted_is_found(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let items: Vec<Item> = (1..=5)
        .map(|id| Item::new(id).owned_by(7, -3).with_events(&["Created"]))
        .collect();
    let id = Uuid::new_v4();
    let writes: Vec<_> = items.iter().map(|item| item.write(id)).collect();
    let outcomes = store
        .commit(Commit {
            id,
            atomic: false,
            writes: writes.clone(),
        })
        .await;
    assert_eq!(outcomes, Ok(vec![Applied; 5]));
    let asked = (0..100).map(Uuid::from_u128).collect();
    let mut found = store
        .find(ITEMS.name, asked)
        .await
        .expect("the database is there");
    found.sort_by_key(|document| Item::read(document).id);
    let expected: Vec<_> = writes.into_iter().map(|write| write.document).collect();
    assert_eq!(found, expected);
    assert_eq!(store.find(ITEMS.name, Vec::new()).await, Ok(Vec::new()));
    assert_eq!(store.find(NOTES.name, vec![items[0].id]).await, Ok(Vec::new()));
    assert_eq!(store.check().await, Ok(()));
}

/// Promise: an insert never overwrites.
pub async fn an_insert_of_an_existing_document_conflicts(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let first = Item::new(1).owned_by(1, 1);
    insert(&*store, std::slice::from_ref(&first)).await;
    assert_eq!(write(&*store, &[Item::new(1).owned_by(2, 2)]).await, [Conflict]);
    assert_eq!(find(&*store, first.id).await, Some(first));
}

/// Promise: a commit that is repeated after an unknown outcome is applied, once.
pub async fn a_repeated_commit_is_applied_once(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = Item::new(1);
    let id = Uuid::new_v4();
    for version in [item.clone(), item.next()] {
        let commit = Commit {
            id,
            atomic: false,
            writes: vec![version.write(id)],
        };
        assert_eq!(store.commit(commit.clone()).await, Ok(vec![Applied]));
        assert_eq!(store.commit(commit).await, Ok(vec![Applied]));
        assert_eq!(find(&*store, item.id).await, Some(version));
    }
}

/// Promise: a replacement happens only to the version it was decided on.
pub async fn a_replacement_needs_the_right_version(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let first = Item::new(1);
    let second = Item {
        count: 2,
        ..first.next()
    };
    let third = Item {
        count: 3,
        ..second.next()
    };
    assert_eq!(
        write(&*store, std::slice::from_ref(&second)).await,
        [Conflict],
        "it does not exist"
    );
    insert(&*store, std::slice::from_ref(&first)).await;
    assert_eq!(
        write(&*store, std::slice::from_ref(&third)).await,
        [Conflict],
        "it has not that version yet"
    );
    assert_eq!(write(&*store, std::slice::from_ref(&second)).await, [Applied]);
    let stale = Item {
        count: 99,
        ..first.next()
    };
    assert_eq!(
        write(&*store, &[stale]).await,
        [Conflict],
        "it has another version by now"
    );
    assert_eq!(write(&*store, std::slice::from_ref(&third)).await, [Applied]);
    assert_eq!(find(&*store, first.id).await, Some(third));
}

/// Promise: in a commit that is not atomic each document has its own outcome, in the order given.
pub async fn each_write_of_a_commit_stands_for_itself(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    insert(&*store, &[Item::new(1), Item::new(2), Item::new(3)]).await;
    let writes = [
        Item::new(9),
        Item::new(2),
        Item {
            count: 5,
            ..Item::new(1).next()
        },
        Item {
            version: 7,
            ..Item::new(3)
        },
        Item {
            version: 2,
            ..Item::new(8)
        },
        Item {
            count: 6,
            ..Item::new(3).next()
        },
    ];
    // The fourth and the last are of the same document, so they go in two commits.
    assert_eq!(
        write(&*store, &writes[..5]).await,
        [Applied, Conflict, Applied, Conflict, Conflict]
    );
    assert_eq!(write(&*store, &writes[5..]).await, [Applied]);
    for (id, count) in [(9, Some(0)), (2, Some(0)), (1, Some(5)), (3, Some(6)), (8, None)] {
        assert_eq!(
            find(&*store, Uuid::from_u128(id)).await.map(|item| item.count),
            count,
            "document {id}"
        );
    }
}

/// Promise: one conflict in an atomic commit and nothing is written, in any collection.
pub async fn an_atomic_commit_is_all_or_nothing(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    insert(&*store, &[Item::new(1), Item::new(2)]).await;
    let id = Uuid::new_v4();
    let conflicting = Item {
        version: 5,
        ..Item::new(2)
    };
    let writes = vec![
        Item {
            count: 1,
            ..Item::new(1).next()
        }
        .write(id),
        Item::new(3).write_to(&NOTES, id),
        conflicting.write(id),
        Item::new(4).write(id),
    ];
    let outcomes = store
        .commit(Commit {
            id,
            atomic: true,
            writes: writes.clone(),
        })
        .await;
    assert_eq!(outcomes, Ok(vec![Conflict; 4]));
    assert_eq!(find(&*store, Uuid::from_u128(1)).await, Some(Item::new(1)));
    assert_eq!(find(&*store, Uuid::from_u128(4)).await, None);
    assert_eq!(
        store.find(NOTES.name, vec![Uuid::from_u128(3)]).await,
        Ok(Vec::new())
    );

    let id = Uuid::new_v4();
    let writes = vec![
        Item {
            count: 1,
            ..Item::new(1).next()
        }
        .write(id),
        Item::new(3).write_to(&NOTES, id),
        Item::new(2).next().write(id),
        Item::new(4).write(id),
    ];
    assert_eq!(
        store
            .commit(Commit {
                id,
                atomic: true,
                writes
            })
            .await,
        Ok(vec![Applied; 4])
    );
    assert_eq!(
        find(&*store, Uuid::from_u128(1)).await.map(|item| item.count),
        Some(1)
    );
    assert_eq!(
        store
            .find(NOTES.name, vec![Uuid::from_u128(3)])
            .await
            .map(|found| found.len()),
        Ok(1)
    );
}

/// Promise: repeating an atomic commit writes nothing twice.
pub async fn a_repeated_atomic_commit_is_applied_once(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    insert(&*store, &[Item::new(1)]).await;
    let id = Uuid::new_v4();
    let replaced = Item {
        count: 1,
        ..Item::new(1).next()
    };
    let commit = Commit {
        id,
        atomic: true,
        writes: vec![replaced.write(id), Item::new(2).write(id)],
    };
    for _ in 0..2 {
        assert_eq!(store.commit(commit.clone()).await, Ok(vec![Applied; 2]));
        assert_eq!(find(&*store, replaced.id).await.as_ref(), Some(&replaced));
    }
}

/// Promise: a round of the largest size is one commit, atomic or not.
pub async fn a_commit_takes_256_writes(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    for (atomic, from) in [(false, 0), (true, 1_000)] {
        let items: Vec<Item> = (from..from + 256)
            .map(|id| Item::new(id).with_events(&["Created"]))
            .collect();
        let id = Uuid::new_v4();
        let writes = items.iter().map(|item| item.write(id)).collect();
        assert_eq!(
            store.commit(Commit { id, atomic, writes }).await,
            Ok(vec![Applied; 256])
        );
        let asked = items.iter().map(|item| item.id).collect();
        assert_eq!(
            store.find(ITEMS.name, asked).await.map(|found| found.len()),
            Ok(256)
        );
    }
}

async fn increment(store: Arc<dyn DocumentStore>, id: Uuid, times: i32) {
    for _ in 0..times {
        loop {
            let item = find(&*store, id).await.expect("it was inserted");
            let next = Item {
                count: item.count + 1,
                ..item.next()
            };
            if write(&*store, &[next]).await == [Applied] {
                break;
            }
        }
    }
}

/// Promise: two who read, decide and write, and decide again on a conflict, lose no update.
pub async fn concurrent_writers_lose_nothing(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = Item::new(1);
    insert(&*store, std::slice::from_ref(&item)).await;
    let writers = [(); 2].map(|()| tokio::spawn(increment(Arc::clone(&store), item.id, 50)));
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    let found = find(&*store, item.id).await.expect("it was inserted");
    assert_eq!((found.count, found.version), (100, 101));
}

/// Promise: what was answered is there after a restart.
pub async fn documents_survive_reopening(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = Item::new(1).owned_by(5, 6).with_events(&["Created"]);
    insert(&*store, &[item.clone(), Item::new(2)]).await;
    let replaced = Item {
        count: 1,
        ..Item::new(2).next()
    };
    assert_eq!(write(&*store, std::slice::from_ref(&replaced)).await, [Applied]);
    drop(store);
    let store = prepared(subject).await;
    assert_eq!(find(&*store, item.id).await.as_ref(), Some(&item));
    assert_eq!(find(&*store, replaced.id).await, Some(replaced));
    let unpublished = store
        .unpublished(shared::document_store::OutboxQuery::oldest(ITEMS.name, 10))
        .await
        .expect("the database is there");
    assert_eq!(super::ids(&unpublished), [1]);
}

/// Promise: preparing again is harmless.
pub async fn preparing_twice_changes_nothing(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    insert(&*store, &[Item::new(1)]).await;
    assert_eq!(store.prepare(vec![ITEMS, NOTES]).await, Ok(()));
    assert_eq!(store.prepare(vec![ITEMS]).await, Ok(()));
    assert_eq!(find(&*store, Uuid::from_u128(1)).await, Some(Item::new(1)));
    assert_eq!(
        store.find(NOTES.name, vec![Uuid::from_u128(1)]).await,
        Ok(Vec::new())
    );
}
