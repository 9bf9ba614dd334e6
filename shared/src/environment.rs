//! What differs from run to run — the clock, new ids, chance — comes through here, so that a test
//! can hold it fixed.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};
use uuid::Uuid;

use crate::document_store::numbers;

/// A moment of the wall clock, in milliseconds since 1970 UTC. For people and records: order
/// between writers is decided by versions, never by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// How long after `earlier`; zero where it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This long after.
    pub fn after(self, pause: Duration) -> Timestamp {
        let millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// Whether this moment is so long ago. One that lies as far ahead is of another clock, or of before
    /// this clock was set back: to wait until it has passed could take for ever, so it counts as past.
    pub fn is_past(self, pause: Duration, now: Timestamp) -> bool {
        now.since(self) >= pause || self > now.after(pause)
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Timestamp)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-11-22T18:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|moment| moment.format(&layout).ok());
        f.write_str(text.as_deref().unwrap_or("out of range"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            bson::DateTime::from_millis(self.0).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// From a document only: a date or, as tools write it, RFC 3339 or milliseconds since 1970.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let value = bson::Bson::deserialize(deserializer)?;
        let date = match &value {
            bson::Bson::DateTime(moment) => Some(Timestamp(moment.timestamp_millis())),
            bson::Bson::String(text) => Timestamp::parse(text),
            _ => None,
        };
        date.map_or_else(|| numbers::whole_in(&value).map(Timestamp), Ok)
            .map_err(|error| D::Error::custom(format!("a date is expected: {error}")))
    }
}

/// The clock, new ids and chance.
#[derive(Clone)]
pub struct Environment(Arc<dyn Source>);

/// Where an [`Environment`] has it from.
pub trait Source: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// A UUID of version 7.
    fn new_id(&self) -> Uuid;
    /// From zero to below one.
    fn chance(&self) -> f64;
}

impl Environment {
    /// The machine's own.
    pub fn real() -> Environment {
        Environment(Arc::new(Machine))
    }

    /// The same sequence for the same seed. The clock follows tokio's, which a test can pause.
    pub fn seeded(seed: u64) -> Environment {
        Environment(Arc::new(Seeded {
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            begin: tokio::time::Instant::now(),
        }))
    }

    /// Another source: a simulation's, whose clocks differ and jump.
    pub fn of(source: impl Source) -> Environment {
        Environment(Arc::new(source))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// A UUID of version 7: later ones are larger, which keeps indexes small.
    pub fn new_id(&self) -> Uuid {
        self.0.new_id()
    }

    /// Between half of `base` and one and a half of it.
    pub fn jitter(&self, base: Duration) -> Duration {
        base.mul_f64(0.5 + self.0.chance())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

struct Machine;

impl Source for Machine {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
    fn chance(&self) -> f64 {
        fastrand::f64()
    }
}

struct Seeded {
    chance: Mutex<fastrand::Rng>,
    begin: tokio::time::Instant,
}

impl Seeded {
    fn random(&self) -> fastrand::Rng {
        self.chance
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .fork()
    }
}

impl Source for Seeded {
    fn now(&self) -> Timestamp {
        /// 2026-01-01T00:00:00Z
        const BEGIN: i64 = 1_767_225_600_000;
        Timestamp(BEGIN + i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(0))
    }
    fn new_id(&self) -> Uuid {
        let millis = u64::try_from(self.now().0).unwrap_or(0);
        let mut random = [0; 10];
        self.random().fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
    fn chance(&self) -> f64 {
        self.random().f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_and_read_as_rfc_3339() {
        let moment = Timestamp(1_767_225_600_123);
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!(Timestamp::parse("2026-01-01T01:00:00.123+01:00"), Some(moment));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn a_document_may_hold_a_moment_in_every_type_that_tools_write() {
        let moment = Timestamp(1_767_225_600_123);
        let read = |value: bson::Bson| bson::deserialize_from_bson::<Timestamp>(value);
        for value in [
            bson::Bson::DateTime(bson::DateTime::from_millis(moment.0)),
            bson::Bson::String(moment.to_string()),
            bson::Bson::Int64(moment.0),
            bson::Bson::Double(moment.0 as f64),
        ] {
            assert_eq!(read(value.clone()).unwrap(), moment, "{value:?}");
        }
        assert!(read(bson::Bson::String("yesterday".into())).is_err());
        assert!(read(bson::Bson::Null).is_err());
    }

    #[tokio::test]
    async fn a_seed_gives_the_same_sequence() {
        let (one, other) = (Environment::seeded(7), Environment::seeded(7));
        tokio::time::pause();
        let draw = |environment: &Environment| environment.jitter(Duration::from_secs(1));
        assert_eq!([draw(&one), draw(&one)], [draw(&other), draw(&other)]);
        assert_ne!(one.new_id(), one.new_id());
    }
}
