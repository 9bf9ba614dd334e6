//! What tests share: waiting without sleeping, one conformance suite for each port, a service in this
//! process as a black box, and one suite for all services.
//!
//! Panics are how a test says no: everything here panics with what was expected and what was found.

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep};

pub mod binary;
pub mod document_store;
pub mod event_log;
pub mod faults;
pub mod http;
pub mod parked;
pub mod service;
pub mod service_suite;

/// Long enough for a broker to elect, a group to rebalance and a slow machine to do either.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks.
const PAUSE: Duration = Duration::from_millis(3);

/// An answer that may not be there yet: `true`, `Some`, `Ok`.
pub trait Found {
    /// What is found.
    type Value;
    /// It, or why it is not there.
    fn found(self) -> Result<Self::Value, String>;
}

impl Found for bool {
    type Value = ();
    fn found(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Found for Option<T> {
    type Value = T;
    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Debug> Found for Result<T, E> {
    type Value = T;
    fn found(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Looks every few milliseconds until it finds; panics at the deadline with the description and
/// what the last look answered.
pub async fn eventually<F: Found>(
    deadline: Duration,
    description: &str,
    mut look: impl AsyncFnMut() -> F,
) -> F::Value {
    let end = Instant::now() + deadline;
    loop {
        match look().await.found() {
            Ok(value) => return value,
            Err(last) if Instant::now() >= end => {
                panic!("not within {deadline:?}: {description} (last: {last})")
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
