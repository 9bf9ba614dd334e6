//! Runs that belong together: the table of figures to reach, how things grow, and a long one.
//!
//! All runs of a series share one Kafka and one mongod, so that what is compared ran on the same
//! engines, warm alike; each run has processes of the services, databases and a topic of its own.
//!
//! - [`table()`]: the figures P1 to P9, by runs interleaved A B A B
//! - [`growth()`]: throughput, cost and latency while one thing grows
//! - [`soak()`]: half the ceiling for long: does anything creep?
//!
//! Beneath: `bench` runs one load on the shared engines, `stack` starts the embedded default from
//! nothing, `figures`, `judge` and `drift` judge, purely.

mod bench;
mod drift;
mod figures;
mod growth;
mod judge;
mod soak;
mod stack;
mod table;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

pub use growth::{GrowthSettings, growth};
pub use soak::{SoakSettings, soak};
pub use table::{TableSettings, table};

use crate::workload::{Extent, Pace, Spread, Workload};

/// Where a series runs.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where the binaries of the services are.
    pub binaries: PathBuf,
    /// Both services in one process, on the embedded engines.
    pub stack: PathBuf,
    /// For logs and the report; exists.
    pub folder: PathBuf,
    /// Ends it early.
    pub stop: Arc<AtomicBool>,
}

/// Callers of a closed loop.
const CALLERS: usize = 64;
/// Customers, unless they are what grows.
const CUSTOMERS: usize = 1000;
/// New engines are slower: the broker's virtual machine compiles for half a minute, and takes a
/// processor for that.
const COMPILED_AFTER: Duration = Duration::from_secs(30);
/// Before each run is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// A closed loop for so long.
fn ceiling(length: Duration) -> Workload {
    Workload {
        pace: Pace::Closed { callers: CALLERS },
        extent: Extent::Time(length),
        warm_up: WARM_UP,
        customers: CUSTOMERS,
        spread: Spread::Uniform,
        rejects: 0.0,
        cancels: 0.0,
        repeats: 0.0,
        duplicates: 0.0,
        stored: 0,
        seed: 1,
    }
}
