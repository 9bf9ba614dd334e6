//! The clock, ids and chance of one process: its clock is off by some time, and may jump.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use shared::environment::{Source, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::chance::Chance;

/// 2026-01-01T00:00:00Z
const BEGIN: i64 = 1_767_225_600_000;

/// A clock that can be set.
#[derive(Clone)]
pub struct Clock {
    begin: Instant,
    /// By how many milliseconds it is wrong.
    wrong_by: Arc<AtomicI64>,
    chance: Arc<Chance>,
}

impl Clock {
    /// A clock that is wrong by so many milliseconds, in a simulation that began then.
    pub fn new(begin: Instant, wrong_by: i64, chance: Chance) -> Clock {
        Clock {
            begin,
            wrong_by: Arc::new(AtomicI64::new(wrong_by)),
            chance: Arc::new(chance),
        }
    }

    /// Sets it forward, or back.
    pub fn jump(&self, millis: i64) {
        self.wrong_by.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Source for Clock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(0);
        Timestamp(BEGIN + elapsed + self.wrong_by.load(Ordering::Relaxed))
    }

    fn new_id(&self) -> Uuid {
        let millis = u64::try_from(self.now().0).unwrap_or(0);
        let random = self.chance.uuid();
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&random.as_bytes()[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    fn chance(&self) -> f64 {
        self.chance.below(1 << 30) as f64 / (1u64 << 30) as f64
    }
}
