//! The kit.

pub mod document_store;
pub mod event_log;
pub mod money;
