//! Whether the promises hold when things go wrong. Four things:
//!
//! - [`audit`]: every order, reservation, customer and event of a running system against each other
//! - [`run`]: real processes on real engines, killed, frozen and restarted under load by a schedule
//!   that follows from a seed; then the audit
//! - [`proxy`]: a faulty network between a process and its engines, for tests
//! - [`odd`]: records that nobody should write, and what has to become of each
//!
//! # Deliberately absent
//! No invariant is checked from inside a service: all that is known here comes over HTTP, from the
//! topic, the databases, `/proc` and the logs. Nothing is signalled that was not started here.

pub mod audit;
pub mod odd;
pub mod proxy;
pub mod run;
