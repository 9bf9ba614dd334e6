//! The kit.

pub mod contracts;
pub mod document_store;
pub mod envelope;
pub mod environment;
pub mod event_log;
pub mod json;
pub mod money;
