//! The actors that every service is made of.
//!
//! ```text
//! HTTP ──ask──► command ─┐                                    ┌──► PublisherActor ──► log
//!                        ├─► RepositoryActor (group commit) ──┤
//! log ─► KafkaConsumerActor ─► On<Event>Handler actors ───────┘        replies to whoever asked
//! ```

pub mod consumer;
pub mod essential;
pub mod handler;
pub mod publisher;
mod reply;
pub mod repository;

pub use reply::Reply;
