//! Documents that people have changed with mongosh and mongo-express.

use bson::{self, Bson, Document as Fields, doc};
use serde::{Deserialize, Serialize};
use shared::{
    document_store::{
        CollectionSettings, Commit, Direction, Document, DocumentStore, IndexValue, Outcome, Query, Stored,
        Write, decode, encode, encode_beside, key,
    },
    money::Money,
};
use uuid::Uuid;

use super::support::{ACCOUNTS, Fixture, ORDERS, commit, key as key_in, uri, uuid};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    #[serde(rename = "_id")]
    id: bson::Uuid,
    credit_limit: Money,
}

impl Document for Account {
    const COLLECTION: CollectionSettings = ACCOUNTS;
    fn id(&self) -> Uuid {
        Uuid::from_bytes(self.id.bytes())
    }
}

impl Fixture {
    async fn write(&self, account: &Account, before: Option<&Stored<Account>>) -> Vec<Outcome> {
        let id = Uuid::new_v4();
        let document = match before {
            None => encode(account, 1, id, &[]),
            Some(before) => encode_beside(&before.unknown, account, before.version + 1, id, &[]),
        };
        let write = Write {
            key: key::<Account>(account.id()),
            expected_version: before.map(|before| before.version),
            document: document.unwrap(),
            carried: Vec::new(),
        };
        let commit = Commit {
            id,
            atomic: false,
            writes: vec![write],
        };
        self.store.commit(commit).await.unwrap()
    }

    async fn read(&self, id: Uuid) -> Stored<Account> {
        let found = self.store.find(ACCOUNTS.name, vec![id]).await.unwrap();
        decode(&found[0]).unwrap()
    }

    async fn set(&self, id: Uuid, fields: Fields) {
        let accounts = self.database().collection::<Fields>(ACCOUNTS.name);
        let set = accounts.update_one(doc! { "_id": uuid(id) }, doc! { "$set": fields });
        assert_eq!(set.await.unwrap().matched_count, 1);
    }
}

#[tokio::test]
async fn a_document_that_a_tool_has_saved_is_read_and_replaced_and_keeps_what_was_added() {
    let Some(uri) = uri() else { return };
    let fixture = Fixture::new(&uri).await;
    for (version, limit) in [
        (Bson::Int32(2), Bson::Double(99.99)),
        (Bson::Double(2.0), Bson::Int32(99)),
        (Bson::Decimal128("2".parse().unwrap()), Bson::Int64(99)),
        (Bson::String("2".into()), Bson::String("99.5".into())),
    ] {
        let account = Account {
            id: bson::Uuid::new(),
            credit_limit: Money::units(1000),
        };
        let id = account.id();
        assert_eq!(fixture.write(&account, None).await, [Outcome::Applied]);
        let fields = doc! { "version": version.clone(), "creditLimit": limit, "segment": "gold" };
        fixture.set(id, fields).await;

        let stored = fixture.read(id).await;
        assert_eq!(stored.version, 2, "{version:?}");
        assert!(stored.document.credit_limit < Money::units(100));
        assert_eq!(
            fixture.write(&account, Some(&stored)).await,
            [Outcome::Applied],
            "{version:?}"
        );
        // The guard still guards.
        assert_eq!(fixture.write(&account, Some(&stored)).await, [Outcome::Conflict]);

        let stored = fixture.read(id).await;
        assert_eq!((stored.version, stored.document), (3, account));
        assert_eq!(stored.unknown.get_str("segment").unwrap(), "gold");
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_index_finds_a_number_of_another_type() {
    let Some(uri) = uri() else { return };
    let fixture = Fixture::new(&uri).await;
    for status in [
        Bson::Int32(1),
        Bson::Int64(1),
        Bson::Double(1.0),
        Bson::Double(2.0),
    ] {
        let order = key_in(ORDERS);
        let fields = doc! { "customerId": uuid(Uuid::nil()), "status": status };
        fixture
            .store
            .commit(commit(false, vec![(order, None, fields)]))
            .await
            .unwrap();
    }
    let query = Query {
        collection: ORDERS.name,
        matching: vec![("status", vec![IndexValue::Int(1)])],
        after: None,
        order: Direction::Ascending,
        limit: 10,
    };
    assert_eq!(fixture.store.list(query.clone()).await.unwrap().len(), 3);
    assert_eq!(fixture.store.count(query).await.unwrap(), 3);
    fixture.end().await;
}
