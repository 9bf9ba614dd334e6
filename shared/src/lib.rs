//! The kit that services are built from.
//!
//! In the order in which a newcomer should read:
//!
//! | module | |
//! | --- | --- |
//! | [`json`], [`money`], [`environment`] | reading tolerantly, exact sums, clock and chance in one place |
//! | [`events`] | what services tell each other: events, ids, words |
//! | [`envelope`] | an event between its outbox and the log |
//! | [`event_log`], [`document_store`] | the two ports, each with an adapter for a real engine and an embedded one |
//! | [`embedded`] | what the embedded adapters stand on: group commits over one file |
//! | [`parking`] | what becomes of a record that cannot be handled |
//! | [`actors`] | consumer, repository (the group commit), publisher, handlers of events |
//! | [`admission`] | how many requests are let in, and until when |
//! | [`saga`] | documents that stay open until others have answered: bounds, waiting, announcing again |
//! | [`http`] | problems, bodies, paging, waiting, health |
//! | [`logging`], [`metrics`], [`settings`] | seen and set from outside |
//! | [`service`], [`program`] | a service from start to stop, and the program around it |
//! | [`operator`] | what the program asks a running service |
//!
//! Deliberately absent: no actor but the RepositoryActor holds a [`document_store`]; no callback of
//! a rebalance waits for anything; no timer stands between a command and its commit.

pub mod json;
pub mod money;
pub mod environment;
pub mod events;
pub mod envelope;
pub mod event_log;
pub mod document_store;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod parking;
pub mod actors;
pub mod admission;
pub mod saga;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod settings;
pub mod service;
pub mod operator;
pub mod program;
