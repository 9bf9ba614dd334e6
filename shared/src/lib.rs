//! The kit.

pub mod document_store;
pub mod embedded;
pub mod event_log;
pub mod money;
#[cfg(feature = "testing")]
pub mod testing;
