//! The embedded adapters keep the promises of their ports, on disk and in memory, and some of their
//! own: `kill -9`, one process at a time, determinism.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use shared::{
    document_store::{DocumentStore, embedded::EmbeddedStore},
    embedded::{Engine, EngineError},
    event_log::{EventLog, embedded::EmbeddedLog},
};
use testing::{document_store::StoreUnderTest, event_log::LogUnderTest, eventually};

#[path = "conformance_embedded/crash.rs"]
mod crash;
#[path = "conformance_embedded/own.rs"]
mod own;

/// A directory that is gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("embedded-{}", uuid::Uuid::new_v4())))
    }

    /// The earlier handle may need a moment: its tasks and its writer end after it was dropped.
    async fn open<T>(&self, open: impl Fn(&PathBuf) -> Result<T, EngineError>) -> T {
        eventually(
            Duration::from_secs(10),
            "the data directory is free",
            async || match open(&self.0) {
                Err(error @ EngineError::InUse { .. }) => Err(error),
                other => Ok(other.unwrap()),
            },
        )
        .await
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl LogUnderTest for Directory {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn EventLog>> {
        Box::pin(async {
            Arc::new(self.open(|directory| EmbeddedLog::open(directory)).await) as Arc<dyn EventLog>
        })
    }
}

impl StoreUnderTest for Directory {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn DocumentStore>> {
        Box::pin(async {
            Arc::new(
                self.open(|directory| EmbeddedStore::open(directory, "store"))
                    .await,
            ) as Arc<dyn DocumentStore>
        })
    }
}

/// Memory that outlives its log or store, as a disk outlives a process.
struct Memory(Engine);

impl Memory {
    fn new() -> Self {
        Self(Engine::in_memory().unwrap())
    }
}

impl LogUnderTest for Memory {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn EventLog>> {
        Box::pin(async { Arc::new(EmbeddedLog::on(self.0.clone()).unwrap()) as Arc<dyn EventLog> })
    }
}

impl StoreUnderTest for Memory {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn DocumentStore>> {
        Box::pin(async { Arc::new(EmbeddedStore::on(self.0.clone())) as Arc<dyn DocumentStore> })
    }
}

/// As the services run.
fn on_threads(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// As a simulation runs: one thread, and time that stands still while there is something to do.
fn on_paused_time(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

mod log_on_disk {
    testing::event_log_conformance!(super::on_threads, super::Directory::new());
}

mod log_in_memory {
    testing::event_log_conformance!(super::on_paused_time, super::Memory::new());
}

mod store_on_disk {
    testing::document_store_conformance!(super::on_threads, super::Directory::new());
}

mod store_in_memory {
    testing::document_store_conformance!(super::on_paused_time, super::Memory::new());
}
