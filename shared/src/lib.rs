//! The kit.

pub mod actors;
pub mod contracts;
pub mod document_store;
pub mod envelope;
pub mod environment;
pub mod event_log;
pub mod http;
pub mod json;
pub mod logging;
pub mod metrics;
pub mod money;
pub mod service;
pub mod program;
pub mod settings;
