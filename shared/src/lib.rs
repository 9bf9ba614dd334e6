//! The kit.

pub mod document_store;
pub mod environment;
pub mod event_log;
pub mod json;
pub mod money;
