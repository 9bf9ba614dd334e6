//! Both services in one process: on an embedded log and embedded databases by default, on Kafka and
//! MongoDB where these are given.
//!
//! - [`settings`]: what can be set
//! - [`system`]: starting and describing the whole
//! - [`demo`]: four stories played over HTTP, with their timelines

pub mod settings;
pub mod system;
pub mod demo;
