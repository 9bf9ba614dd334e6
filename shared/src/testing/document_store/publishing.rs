//! Promises about outboxes.

use super::{ITEMS, Item, NOTES, StoreUnderTest, find, id_set, insert, prepared, write};
use crate::document_store::{DocumentStore, Mark, Outcome::Applied};

async fn unpublished(store: &dyn DocumentStore, limit: usize) -> Vec<u128> {
    let found = store
        .unpublished(ITEMS.name, limit)
        .await
        .expect("the database is there");
    assert!(
        found
            .iter()
            .all(|document| !Item::read(document).events.is_empty())
    );
    id_set(&found).into_iter().collect()
}

/// Promise: exactly the documents with an outbox are found, and no more than asked for.
pub async fn unpublished_finds_what_has_an_outbox(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = |id: u128| {
        if id.is_multiple_of(3) {
            Item::new(id).with_events(&["Created", "Changed"])
        } else {
            Item::new(id)
        }
    };
    insert(&*store, &(1..=30).map(item).collect::<Vec<_>>()).await;
    assert_eq!(
        unpublished(&*store, 100).await,
        (1..=10).map(|id| id * 3).collect::<Vec<_>>()
    );
    assert_eq!(unpublished(&*store, 4).await.len(), 4);
    assert_eq!(store.unpublished(NOTES.name, 100).await, Ok(Vec::new()));
    // A replacement with events joins them, one without leaves.
    let joining = item(1).next().with_events(&["Changed"]);
    let leaving = Item {
        events: Vec::new(),
        ..item(3).next()
    };
    assert_eq!(write(&*store, &[joining, leaving]).await, [Applied, Applied]);
    let found = unpublished(&*store, 100).await;
    assert!(found.contains(&1) && !found.contains(&3));
}

/// Promise: a mark takes the outbox and nothing else; the next replacement goes by the same version.
pub async fn a_mark_of_the_right_version_forgets_the_outbox(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let items = [1, 2, 3].map(|id| Item::new(id).owned_by(id, 9).with_events(&["Created"]));
    insert(&*store, &items).await;
    let marks: Vec<Mark> = items[..2]
        .iter()
        .map(|item| Mark {
            key: item.key(),
            version: 1,
        })
        .collect();
    assert_eq!(store.mark_published(marks.clone()).await, Ok(()));
    assert_eq!(
        store.mark_published(marks).await,
        Ok(()),
        "twice is as good as once"
    );
    assert_eq!(store.mark_published(Vec::new()).await, Ok(()));
    assert_eq!(unpublished(&*store, 100).await, [3]);
    let published = Item {
        events: Vec::new(),
        ..items[0].clone()
    };
    assert_eq!(find(&*store, published.id).await.as_ref(), Some(&published));
    assert_eq!(
        write(&*store, &[published.next().with_events(&["Changed"])]).await,
        [Applied]
    );
    assert_eq!(unpublished(&*store, 100).await, [1, 3]);
}

/// Promise: events of a version that came later, or of a document that is gone, stay as they are.
pub async fn a_mark_of_another_version_forgets_nothing(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = Item::new(1).with_events(&["Created"]);
    insert(&*store, std::slice::from_ref(&item)).await;
    let changed = item.next().with_events(&["Created", "Changed"]);
    assert_eq!(write(&*store, std::slice::from_ref(&changed)).await, [Applied]);
    let marks = vec![
        Mark {
            key: item.key(),
            version: 1,
        },
        Mark {
            key: item.key(),
            version: 3,
        },
        Mark {
            key: Item::new(77).key(),
            version: 1,
        },
    ];
    assert_eq!(store.mark_published(marks).await, Ok(()));
    assert_eq!(find(&*store, item.id).await, Some(changed));
    assert_eq!(unpublished(&*store, 100).await, [1]);
}
