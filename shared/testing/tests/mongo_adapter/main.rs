//! The MongoDB adapter against a real server.
//!
//! Each test has a database of its own and drops it. The server is made to fail on demand, which it
//! allows with `--setParameter enableTestCommands=1`; some tests start, kill and freeze servers of
//! their own.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are outside of the functions that clippy takes for tests"
)]

mod by_hand;
mod contract;
mod faults;
mod matrix;
mod queries;
mod servers;
mod speed;
mod support;
mod truth;
