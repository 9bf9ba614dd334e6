use bson::{Binary, Uuid as BsonUuid, doc};

use super::*;
use crate::{
    document_store::{DocumentKey, Write},
    embedded::failing_disk::{Directory, FailingDisk},
};

const ITEMS: CollectionSettings = CollectionSettings {
    name: "items",
    indexes: &[],
};

fn insert(id: u128) -> Commit {
    let id = Uuid::from_u128(id);
    let binary = || Binary::from(BsonUuid::from_bytes(id.into_bytes()));
    let document = doc! { "_id": binary(), "version": 1_i64, "commitId": binary() };
    let document = bson::RawDocumentBuf::try_from(&document).unwrap().into();
    let key = DocumentKey {
        collection: ITEMS.name,
        id,
    };
    Commit {
        id,
        atomic: false,
        writes: vec![Write {
            key,
            expected_version: None,
            document,
            carried: Vec::new(),
        }],
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_asked_for_again() {
    let (directory, disk) = (Directory::new(), FailingDisk::default());
    let store = EmbeddedStore::on(disk.engine(&directory.file()));
    store.prepare(vec![ITEMS]).await.unwrap();
    for id in 1..=5 {
        disk.fail(1);
        assert_eq!(store.commit(insert(id)).await, Ok(vec![Outcome::Applied]));
    }
    assert_eq!(
        store
            .find(ITEMS.name, (1..=5).map(Uuid::from_u128).collect())
            .await
            .unwrap()
            .len(),
        5
    );
}

#[tokio::test]
async fn a_failing_disk_is_answered_truly_and_is_survived() {
    let (directory, disk) = (Directory::new(), FailingDisk::default());
    let store = EmbeddedStore::on(disk.engine(&directory.file()));
    store.prepare(vec![ITEMS]).await.unwrap();
    disk.fail(usize::MAX);
    assert!(matches!(
        store.commit(insert(1)).await,
        Err(StoreError::OutcomeUnknown(_))
    ));
    assert!(
        matches!(store.commit(insert(2)).await, Err(StoreError::Unavailable(_))),
        "nothing was begun"
    );
    assert!(store.check().await.is_err());
    disk.fail(0);
    assert_eq!(store.check().await, Ok(()));
    assert_eq!(store.commit(insert(1)).await, Ok(vec![Outcome::Applied]));
    assert_eq!(store.commit(insert(2)).await, Ok(vec![Outcome::Applied]));
}

#[tokio::test]
async fn what_is_not_as_agreed_is_unfit_and_writes_nothing() {
    let store = EmbeddedStore::in_memory().unwrap();
    let early = store.commit(insert(1)).await;
    assert!(
        matches!(early, Err(StoreError::Unavailable(_))),
        "nothing is prepared yet: {early:?}"
    );
    store.prepare(vec![ITEMS]).await.unwrap();
    let other = store.find("others", vec![Uuid::from_u128(1)]).await;
    assert!(
        matches!(other, Err(StoreError::Unfit(_))),
        "not prepared: {other:?}"
    );
    let mut other_id = insert(1);
    other_id.writes[0].key.id = Uuid::from_u128(2);
    assert!(matches!(store.commit(other_id).await, Err(StoreError::Unfit(_))));
    let mut other_version = insert(1);
    other_version.writes[0].expected_version = Some(1);
    assert!(matches!(
        store.commit(other_version).await,
        Err(StoreError::Unfit(_))
    ));
    assert_eq!(
        store.find(ITEMS.name, vec![Uuid::from_u128(1)]).await,
        Ok(Vec::new())
    );
}
