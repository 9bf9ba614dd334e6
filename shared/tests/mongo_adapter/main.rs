//! The MongoDB adapter against a real server.
//!
//! `MONGODB_URI` names a replica set that may be written to (each test has a database of its own and
//! drops it); with `--setParameter enableTestCommands=1` it can be made to fail on demand.
//! `MONGOD_BIN` names a mongod that tests may start, kill and freeze. What is missing is skipped,
//! and said.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are outside of the functions that clippy takes for tests"
)]

mod contract;
mod faults;
mod queries;
mod servers;
mod speed;
mod support;
