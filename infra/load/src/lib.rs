//! Load on a running system, measured and checked.
pub mod run;
pub mod report;
