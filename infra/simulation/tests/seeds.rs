//! Every seed holds every invariant; the same seed plays the same run.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::sync::atomic::AtomicBool;

use simulation::{many, run::run};

/// Seeds of a test run.
const SEEDS: u64 = 500;

#[test]
fn every_seed_holds_every_invariant() {
    let mut failed = Vec::new();
    many::play(0..SEEDS, many::cores(), &AtomicBool::new(false), |outcome| {
        for violation in &outcome.violations {
            eprintln!("seed {}: {violation}", outcome.seed);
        }
        if !outcome.violations.is_empty() {
            let seed = outcome.seed;
            eprintln!("  step for step: cargo run -p simulation -- --seed {seed} --timeline");
            failed.push(seed);
        }
    });
    assert!(failed.is_empty(), "seeds that fail: {failed:?}");
}

#[test]
fn the_same_seed_plays_the_same_run() {
    for seed in 0..12 {
        let (one, other) = (run(seed, true), run(seed, true));
        assert!(one.lines.len() > 20, "something happens in seed {seed}");
        for (at, (one, other)) in one.lines.iter().zip(&other.lines).enumerate() {
            assert_eq!(one, other, "line {at} of seed {seed}");
        }
        assert_eq!(one.lines.len(), other.lines.len());
    }
}

#[test]
fn what_is_recorded_changes_nothing() {
    for seed in 0..6 {
        let (recorded, not) = (run(seed, true), run(seed, false));
        assert_eq!(recorded.faults, not.faults, "seed {seed}");
        assert_eq!(recorded.orders, not.orders, "seed {seed}");
    }
}
