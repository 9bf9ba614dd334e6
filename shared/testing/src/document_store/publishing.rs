//! Promises about outboxes.

use uuid::Uuid;

use super::{ITEMS, Item, NOTES, StoreUnderTest, find, id_set, ids, insert, prepared, write};
use shared::{
    document_store::{Commit, DocumentStore, Mark, OutboxQuery, Outcome::Applied, outbox_place},
    environment::Timestamp,
};

async fn unpublished(store: &dyn DocumentStore, limit: usize) -> Vec<u128> {
    let found = store
        .unpublished(OutboxQuery::oldest(ITEMS.name, limit))
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
    assert_eq!(
        store.unpublished(OutboxQuery::oldest(NOTES.name, 100)).await,
        Ok(Vec::new())
    );
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

/// Promise: a page is in the order in which the first events happened, later pages go on behind it, and
/// what happened after the given moment is left out.
pub async fn unpublished_takes_the_oldest_first_and_pages_on(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    // The order of ids is not that of time, and some happened at the same time.
    let since = |id: u128| i64::try_from(100 - id / 2).expect("small");
    let item = |id: u128| Item {
        since: since(id),
        ..Item::new(id).with_events(&["Created"])
    };
    insert(&*store, &(1..=9).map(item).collect::<Vec<_>>()).await;
    let mut query = OutboxQuery {
        until: Timestamp(99),
        ..OutboxQuery::oldest(ITEMS.name, 2)
    };
    let mut seen = Vec::new();
    loop {
        let page = store.unpublished(query).await.expect("the database is there");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        query.after = outbox_place(last);
        assert!(query.after.is_some());
        seen.extend(ids(&page));
    }
    assert_eq!(
        seen,
        [8, 9, 6, 7, 4, 5, 2, 3],
        "oldest first, and not the youngest"
    );
}

/// Promise: a mark takes its events and nothing else, whatever the version of the document has become;
/// the next replacement goes by the same version.
pub async fn a_mark_takes_its_events_out_whatever_the_version(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let items = [1, 2, 3].map(|id| Item::new(id).owned_by(id, 9).with_events(&["Created"]));
    insert(&*store, &items).await;
    let changed = items[1].next().with_events(&["Created", "Changed", "Closed"]);
    assert_eq!(write(&*store, std::slice::from_ref(&changed)).await, [Applied]);
    let mark = |item: &Item, events: &[&str]| Mark {
        key: item.key(),
        events: events.iter().map(|event| item.event(event)).collect(),
    };
    let marks = vec![
        mark(&items[0], &["Created"]),
        mark(&changed, &["Created", "Closed"]),
    ];
    assert_eq!(store.mark_published(marks.clone()).await, Ok(()));
    assert_eq!(
        store.mark_published(marks).await,
        Ok(()),
        "twice is as good as once"
    );
    assert_eq!(store.mark_published(Vec::new()).await, Ok(()));
    assert_eq!(unpublished(&*store, 100).await, [2, 3]);
    let published = Item {
        events: Vec::new(),
        ..items[0].clone()
    };
    assert_eq!(find(&*store, published.id).await.as_ref(), Some(&published));
    let left = changed.clone().with_events(&["Changed"]);
    assert_eq!(find(&*store, changed.id).await, Some(left));
    assert_eq!(
        write(&*store, &[published.next().with_events(&["Changed"])]).await,
        [Applied]
    );
    assert_eq!(unpublished(&*store, 100).await, [1, 2, 3]);
}

/// Promise: events that are not in the outbox, or of a document that is gone, are no error.
pub async fn a_mark_of_events_that_are_not_there_changes_nothing(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let (item, quiet) = (Item::new(1).with_events(&["Created"]), Item::new(2));
    insert(&*store, &[item.clone(), quiet.clone()]).await;
    let marks = [&item, &quiet, &Item::new(77)].map(|item| Mark {
        key: item.key(),
        events: vec![item.event("Changed")],
    });
    assert_eq!(store.mark_published(marks.to_vec()).await, Ok(()));
    assert_eq!(find(&*store, item.id).await.as_ref(), Some(&item));
    assert_eq!(find(&*store, quiet.id).await, Some(quiet));
    assert_eq!(unpublished(&*store, 100).await, [1]);
}

/// Promise: a replacement that carries events over leaves out those that were marked after it had read
/// the document.
pub async fn a_replacement_brings_back_no_event_that_was_marked_meanwhile(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    for (id, atomic) in [(1, false), (2, true)] {
        let item = Item::new(id).with_events(&["Created", "Changed"]);
        let other = Item::new(id + 10).with_events(&["Created"]);
        insert(&*store, &[item.clone(), other.clone()]).await;
        let marks = [&item, &other].map(|item| Mark {
            key: item.key(),
            events: vec![item.event("Created")],
        });
        assert_eq!(store.mark_published(marks.to_vec()).await, Ok(()));
        let commit = Uuid::new_v4();
        let replaced = item.next().with_events(&["Created", "Changed", "Closed"]);
        let mut writes = [replaced.clone(), other.next()].map(|item| item.write(commit));
        writes[0].carried = vec![item.event("Created"), item.event("Changed")];
        writes[1].carried = vec![other.event("Created")];
        let commit = Commit {
            id: commit,
            atomic,
            writes: writes.to_vec(),
        };
        assert_eq!(store.commit(commit).await, Ok(vec![Applied, Applied]));
        let left = replaced.with_events(&["Changed", "Closed"]);
        assert_eq!(find(&*store, item.id).await, Some(left));
        let left = other.next().with_events(&[]);
        assert_eq!(find(&*store, other.id).await, Some(left));
    }
    assert_eq!(unpublished(&*store, 100).await, [1, 2]);
}
