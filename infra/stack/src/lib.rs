//! The services in one process: on an embedded log and embedded databases by default, on Kafka and
//! MongoDB where these are given.
//!
//! - [`hosted`]: the list of services, and what the whole asks of one
//! - [`settings`]: what can be set
//! - [`engines`]: what the services run on
//! - [`system`]: starting and describing the whole
//! - [`demo`]: four stories played over HTTP, with their timelines

pub mod hosted;
pub mod settings;
pub mod engines;
pub mod system;
pub mod demo;
