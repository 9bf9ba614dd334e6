//! All chance of a seed comes from here, so that the same seed plays the same run.

use std::{sync::Mutex, time::Duration};

use crate::lock;

/// A seeded source of chance.
#[derive(Debug)]
pub struct Chance(Mutex<fastrand::Rng>);

impl Chance {
    /// The same sequence for the same seed.
    pub fn new(seed: u64) -> Chance {
        Chance(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A source of its own, so that what one part draws does not shift what another part draws.
    pub fn fork(&self) -> Chance {
        Chance(Mutex::new(lock(&self.0).fork()))
    }

    /// True with this probability.
    pub fn strikes(&self, probability: f64) -> bool {
        lock(&self.0).f64() < probability
    }

    /// From zero to below `end`.
    pub fn below(&self, end: usize) -> usize {
        lock(&self.0).usize(..end.max(1))
    }

    /// From `least` to `most`, in whole milliseconds.
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(lock(&self.0).u64(least..=most))
    }

    /// One of them. Not for empty slices.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A random UUID.
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(lock(&self.0).u128(..).to_be_bytes()).into_uuid()
    }
}
