//! What one run was, and what came of it: written as JSON, drawn as plots, told as a table.

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Short name, unique within a report: `fast-1`, `soak`.
    pub name: String,
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// On what it ran.
    pub machine: Machine,
    /// What ran: name and version, in the order in which they are told.
    pub versions: Vec<(String, String)>,
    /// What it ran with: name and value, in the order in which they are told; durability among them.
    pub settings: Vec<(String, String)>,
    /// Seconds during which was measured, from the first intended start to the last final event.
    pub measured_seconds: f64,
    /// How many of what.
    pub counts: Counts,
    /// Final events in the log divided by `measured_seconds`.
    pub sagas_per_second: f64,
    /// From the intended start of the request to its answer.
    pub acknowledged: Latency,
    /// From the intended start of the request to the final event being read from the log.
    pub completed: Latency,
    /// One entry a second.
    pub timeline: Vec<Moment>,
    /// What each process cost, in the order of a stack from below: mongod, broker, orders, customers, load.
    pub costs: Vec<Cost>,
    /// What mongod did for it; `None` where there is none.
    pub storage: Option<Storage>,
    /// What was wrong: empty if every accepted order became final exactly once.
    pub faults: Vec<String>,
}

/// Hardware and operating system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Logical processors.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and kernel.
    pub system: String,
}

/// How many of what.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Orders offered, not counting repeats.
    pub offered: u64,
    /// Answered 201.
    pub accepted: u64,
    /// Answered 503 for good: not accepted.
    pub refused: u64,
    /// Requests that were answered otherwise, or not at all.
    pub failed: u64,
    /// Requests sent again under the same id.
    pub repeated: u64,
    /// Requests to cancel that were sent.
    pub cancel_requests: u64,
    /// Final: shipped.
    pub shipped: u64,
    /// Final, and not shipped: cancelled, whatever the reason.
    pub cancelled: u64,
    /// Records read beyond the first of the same event.
    pub records_twice: u64,
}

/// A distribution of latencies in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// `(percentile from 0 to 100, milliseconds)`, rising, for drawing.
    pub curve: Vec<(f64, f64)>,
}

/// What happened within one second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Its end, in seconds since the first intended start.
    pub at: f64,
    /// Orders that should have been sent in it (open loop) or were (closed loop).
    pub offered: u64,
    /// Answered 201 in it.
    pub accepted: u64,
    /// Answered 503 in it.
    pub refused: u64,
    /// Final events read in it.
    pub finished: u64,
    /// Accepted and not final at its end.
    pub backlog: u64,
    /// 99th percentile in milliseconds of those finished in it, from intended start to final event.
    pub p99: f64,
    /// Resident memory at its end in bytes, by process, named as in [`Run::costs`].
    pub resident: Vec<(String, u64)>,
    /// Open file handles at its end, by process.
    pub handles: Vec<(String, u64)>,
}

/// What one process, or one of our services in a process of several, cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cost {
    /// `mongod`, `broker`, `orders`, `customers`, `load`; instances of a service together.
    pub name: String,
    /// CPU time in user mode, in milliseconds, divided by final orders.
    pub user_ms_per_saga: f64,
    /// CPU time in the kernel likewise, not part of the former: see [`Cost::cpu_ms_per_saga`].
    pub system_ms_per_saga: f64,
    /// Peak resident memory in bytes; of several instances, the largest.
    pub peak_resident_bytes: u64,
}

impl Cost {
    /// CPU time in milliseconds divided by final orders, user and kernel together.
    pub fn cpu_ms_per_saga(&self) -> f64 {
        self.user_ms_per_saga + self.system_ms_per_saga
    }
}

/// What mongod did, from `serverStatus` before and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Storage {
    /// fsync calls divided by final orders.
    pub fsyncs_per_saga: f64,
    /// Journal bytes divided by final orders.
    pub journal_bytes_per_saga: f64,
    /// Write operations (documents inserted, updated, deleted) divided by final orders.
    pub documents_written_per_saga: f64,
}
