//! Load on a running system: sagas per second, latency and what they cost, with every order checked.
//!
//! In the order in which a newcomer should read:
//!
//! - [`run`]: what a run is told as
//! - [`setup`]: where it runs; `embedded` and `stored` belong to it
//! - [`workload`], [`arrivals`]: what is asked of it, and when
//! - [`measure()`]: the run itself
//! - `session`, `offer`, `client`: sending orders
//! - `observe`, `ledger`, `timing`: following each of them to its end in the log
//! - `account`, `machine`: what it cost
//! - `progress`: telling how it goes
//! - [`report`]: telling what came of it
//! - [`floor`]: what the engines alone carry
//! - [`series`]: runs that belong together: the table, growth, a soak
//!
//! # Deliberately absent
//! No figure without a check: a run in which an order was lost, doubled or wrong is told as such. No
//! latency from when a request was sent, where it should have been sent before: an open loop counts
//! from the intended start. No second thread that measures: all of the generator lives on one, so that
//! it takes little of the machine that it shares.

pub mod run;
pub mod setup;
pub mod workload;
pub mod arrivals;
pub mod report;
pub mod floor;
pub mod series;
mod account;
mod client;
mod embedded;
mod ledger;
mod machine;
mod measure;
mod observe;
mod offer;
mod progress;
mod session;
mod stored;
mod timing;

pub use measure::measure;
