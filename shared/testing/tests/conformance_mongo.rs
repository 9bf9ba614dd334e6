//! The MongoDB adapter keeps the promises of its port, on a real server.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use shared::document_store::{
    DocumentStore,
    mongo::{MongoSettings, MongoStore},
};
use testing::document_store::StoreUnderTest;

/// A database of the test's own. Opening again is another client of it.
struct Database {
    uri: Option<String>,
    name: String,
}

impl Database {
    fn new() -> Database {
        let uri = engines::for_tests().map(|engines| engines.mongodb_uri.clone());
        Database {
            uri,
            name: format!("conformance-{}", uuid::Uuid::new_v4().simple()),
        }
    }
}

impl StoreUnderTest for Database {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn DocumentStore>> {
        let uri = self.uri.as_deref().expect("a test without a server is skipped");
        let settings = MongoSettings::new(uri, &self.name);
        Box::pin(async {
            let store = MongoStore::new(settings).await.expect("the settings are right");
            Arc::new(store) as Arc<dyn DocumentStore>
        })
    }
}

/// Where there is no server, the test is skipped; that was said when it was asked for.
fn run(test: impl Future<Output = ()>) {
    if engines::for_tests().is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

testing::document_store_conformance!(crate::run, crate::Database::new());
