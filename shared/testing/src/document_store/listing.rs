//! Promises about pages.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{ITEMS, Item, StoreUnderTest, eventually, id_set, ids, insert, prepared, write};
use shared::document_store::{
    CollectionSettings, Direction,
    Direction::{Ascending, Descending},
    DocumentStore, IndexValue,
    Outcome::Applied,
    Query,
};

type Matching = Vec<(&'static str, Vec<IndexValue>)>;

fn query(matching: Matching, after: Option<u128>, order: Direction, limit: usize) -> Query {
    Query {
        collection: ITEMS.name,
        matching,
        after: after.map(Uuid::from_u128),
        order,
        limit,
    }
}

fn owners(ids: &[u128]) -> (&'static str, Vec<IndexValue>) {
    (
        "owner",
        ids.iter()
            .map(|id| IndexValue::Uuid(Uuid::from_u128(*id)))
            .collect(),
    )
}

fn states(states: &[i32]) -> (&'static str, Vec<IndexValue>) {
    (
        "state",
        states.iter().map(|state| IndexValue::Int(*state)).collect(),
    )
}

async fn list(store: &dyn DocumentStore, query: Query) -> Vec<u128> {
    let counted = store.count(query.clone()).await;
    let found = ids(&store.list(query).await.expect("the database is there"));
    assert_eq!(counted, Ok(found.len()));
    found
}

/// 60 documents: owner 0..3 by turns, state −1, 0, 1 by stretches of 20, ids up to the largest.
async fn sixty(subject: &impl StoreUnderTest) -> (std::sync::Arc<dyn DocumentStore>, Vec<(u128, u128, i32)>) {
    let store = prepared(subject).await;
    let rows: Vec<(u128, u128, i32)> = (0..60_u8)
        .map(|row| {
            (
                u128::from(row) << 121,
                u128::from(row) % 3,
                i32::from(row) / 20 - 1,
            )
        })
        .collect();
    let items: Vec<Item> = rows
        .iter()
        .map(|(id, owner, state)| Item::new(*id).owned_by(*owner, *state))
        .collect();
    // Not in the order in which they are listed.
    for item in items.chunks(7).rev() {
        insert(&*store, item).await;
    }
    (store, rows)
}

fn expected(
    rows: &[(u128, u128, i32)],
    order: Direction,
    limit: usize,
    fits: impl Fn(&(u128, u128, i32)) -> bool,
) -> Vec<u128> {
    let mut ids: Vec<u128> = rows.iter().filter(|row| fits(row)).map(|row| row.0).collect();
    if order == Descending {
        ids.reverse();
    }
    ids.truncate(limit);
    ids
}

/// Promise: without an index the order is that of `_id`, both ways, behind the cursor.
pub async fn a_list_is_in_order_of_id(subject: &impl StoreUnderTest) {
    let (store, rows) = sixty(subject).await;
    for order in [Ascending, Descending] {
        for limit in [0, 1, 10, 100] {
            let found = list(&*store, query(vec![], None, order, limit)).await;
            assert_eq!(found, expected(&rows, order, limit, |_| true));
        }
        let middle = rows[30].0;
        let found = list(&*store, query(vec![], Some(middle), order, 100)).await;
        let behind = |row: &(u128, u128, i32)| {
            if order == Ascending {
                row.0 > middle
            } else {
                row.0 < middle
            }
        };
        assert_eq!(found, expected(&rows, order, 100, behind));
    }
}

/// Promise: by one value of one field.
pub async fn a_list_by_one_value(subject: &impl StoreUnderTest) {
    let (store, rows) = sixty(subject).await;
    for order in [Ascending, Descending] {
        let found = list(&*store, query(vec![owners(&[2])], None, order, 15)).await;
        assert_eq!(found, expected(&rows, order, 15, |row| row.1 == 2));
        let found = list(&*store, query(vec![states(&[-1])], Some(rows[9].0), order, 100)).await;
        let behind = |row: &(u128, u128, i32)| {
            row.2 == -1
                && if order == Ascending {
                    row.0 > rows[9].0
                } else {
                    row.0 < rows[9].0
                }
        };
        assert_eq!(found, expected(&rows, order, 100, behind));
    }
    assert_eq!(
        list(&*store, query(vec![owners(&[77])], None, Ascending, 10)).await,
        []
    );
}

/// Promise: by the fields of an index together.
pub async fn a_list_by_two_fields(subject: &impl StoreUnderTest) {
    let (store, rows) = sixty(subject).await;
    for order in [Ascending, Descending] {
        let found = list(&*store, query(vec![owners(&[1]), states(&[0])], None, order, 100)).await;
        assert_eq!(found, expected(&rows, order, 100, |row| row.1 == 1 && row.2 == 0));
    }
}

/// Promise: documents of any of several values come in one order, each once.
pub async fn a_list_by_several_values_is_merged_in_order(subject: &impl StoreUnderTest) {
    let (store, rows) = sixty(subject).await;
    for order in [Ascending, Descending] {
        for limit in [5, 100] {
            // A value that is named twice is one value.
            let matching = vec![owners(&[2, 0, 2]), states(&[1, -1])];
            let found = list(&*store, query(matching, None, order, limit)).await;
            assert_eq!(
                found,
                expected(&rows, order, limit, |row| row.1 != 1 && row.2 != 0)
            );
            let found = list(&*store, query(vec![states(&[0, 1])], None, order, limit)).await;
            assert_eq!(found, expected(&rows, order, limit, |row| row.2 >= 0));
        }
    }
}

/// Promise: pages by cursor visit each document that was there once, whatever is inserted meanwhile.
pub async fn a_cursor_visits_each_document_once_while_others_insert(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let items: Vec<Item> = (1..=200_u32)
        .map(|id| Item::new(u128::from(id) * 100).owned_by(1, 0))
        .collect();
    insert(&*store, &items).await;
    for order in [Ascending, Descending] {
        let (mut seen, mut after) = (Vec::new(), None);
        let mut page = 0;
        loop {
            let found = list(&*store, query(vec![owners(&[1])], after, order, 15)).await;
            let Some(last) = found.last() else { break };
            after = Some(*last);
            seen.extend(found.iter().copied().filter(|id| id % 100 == 0));
            // Before the cursor and behind it.
            page += 1;
            let salt = page + if order == Ascending { 0 } else { 50 };
            insert(
                &*store,
                &[
                    Item::new(salt).owned_by(1, 0),
                    Item::new(19_900 + salt).owned_by(1, 0),
                ],
            )
            .await;
        }
        let mut expected: Vec<u128> = items.iter().map(|item| item.id.as_u128()).collect();
        if order == Descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

/// Promise: a document is found by the values it has now.
pub async fn an_index_follows_replaced_values(subject: &impl StoreUnderTest) {
    let store = prepared(subject).await;
    let item = Item::new(1).owned_by(1, 0);
    insert(&*store, std::slice::from_ref(&item)).await;
    assert_eq!(write(&*store, &[item.next().owned_by(1, 5)]).await, [Applied]);
    let by = |matching| list(&*store, query(matching, None, Ascending, 10));
    assert_eq!(by(vec![owners(&[1]), states(&[0])]).await, []);
    assert_eq!(by(vec![states(&[0])]).await, []);
    assert_eq!(by(vec![owners(&[1]), states(&[5])]).await, [1]);
    assert_eq!(by(vec![states(&[5])]).await, [1]);
    assert_eq!(by(vec![owners(&[1])]).await, [1]);
}

/// Promise: an index that is asked for later finds the documents of before.
pub async fn a_new_index_finds_old_documents(subject: &impl StoreUnderTest) {
    let store = subject.open().await;
    let bare = CollectionSettings {
        indexes: &[],
        ..ITEMS
    };
    eventually(super::DEADLINE, "the database is prepared", async || {
        store.prepare(vec![bare]).await
    })
    .await;
    insert(
        &*store,
        &[Item::new(1).owned_by(1, 0), Item::new(2).owned_by(2, 0)],
    )
    .await;
    assert_eq!(store.prepare(vec![ITEMS]).await, Ok(()));
    assert_eq!(
        list(&*store, query(vec![owners(&[2])], None, Ascending, 10)).await,
        [2]
    );
    insert(&*store, &[Item::new(3).owned_by(2, 0)]).await;
    assert_eq!(
        list(&*store, query(vec![owners(&[2])], None, Ascending, 10)).await,
        [2, 3]
    );
}

/// The best of some: what the machine does besides should not count.
async fn time_of(store: &dyn DocumentStore, query: Query) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        let found = store.list(query.clone()).await.expect("the database is there");
        best = best.min(start.elapsed());
        assert_eq!(id_set(&found).len(), query.limit);
    }
    best
}

/// Promise: a page costs its length, not its distance.
pub async fn a_page_deep_inside_is_as_fast_as_the_first(subject: &impl StoreUnderTest) {
    let many = u128::try_from(subject.many()).expect("a number of documents");
    if many == 0 {
        return;
    }
    let store = prepared(subject).await;
    let items: Vec<Item> = (1..=many).map(|id| Item::new(id).owned_by(id % 2, 0)).collect();
    insert(&*store, &items).await;
    for matching in [vec![], vec![owners(&[0, 1])]] {
        let first = time_of(&*store, query(matching.clone(), None, Ascending, 50)).await;
        let deep = time_of(&*store, query(matching, Some(many - 100), Ascending, 50)).await;
        let most = first * 5 + Duration::from_millis(2);
        assert!(
            deep <= most,
            "the first page took {first:?}, one deep inside {deep:?}"
        );
    }
}
