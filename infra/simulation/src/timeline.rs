//! What happened, for people: virtual time, who, what. The services' own log lines are part of it.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use tokio::time::Instant;

use crate::lock;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the begin of the seed.
    pub at: Duration,
    /// A process, or a part of the simulation.
    pub who: String,
    /// What it did.
    pub what: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, millis) = (self.at.as_secs(), self.at.subsec_millis());
        write!(
            f,
            "{seconds:>3}.{millis:03}  {:<14} {}",
            self.who,
            shortened(&self.what)
        )
    }
}

/// Records the steps of a seed, or nothing: most seeds are played for their end only.
#[derive(Debug)]
pub struct Timeline {
    begin: Instant,
    lines: Option<Mutex<Vec<Line>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Timeline>>> = const { RefCell::new(None) };
    static SPEAKER: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

impl Timeline {
    /// Begins now. The services' log lines of this thread go into it where it records.
    pub fn begin(records: bool) -> Arc<Timeline> {
        let timeline = Arc::new(Timeline {
            begin: Instant::now(),
            lines: records.then(Mutex::default),
        });
        if records {
            hear_log_lines();
            CURRENT.set(Some(timeline.clone()));
        }
        timeline
    }

    /// A step; described only where it is recorded.
    pub fn add(&self, who: &str, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let line = Line {
                at: self.now(),
                who: who.to_owned(),
                what: what(),
            };
            lock(lines).push(line);
        }
    }

    /// Since the begin.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Ends the recording; what was recorded.
    pub fn take(&self) -> Vec<Line> {
        CURRENT.set(None);
        self.lines
            .as_ref()
            .map(|lines| std::mem::take(&mut *lock(lines)))
            .unwrap_or_default()
    }
}

/// Log lines are this process's until it is called again; answers who spoke before.
pub fn speaker(name: Option<Arc<str>>) -> Option<Arc<str>> {
    SPEAKER.replace(name)
}

struct Hearing;

impl log::Log for Hearing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        CURRENT.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(timeline) = CURRENT.with_borrow(Clone::clone) else {
            return;
        };
        struct Fields(String);
        impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
            fn visit_pair(
                &mut self,
                key: log::kv::Key<'kvs>,
                value: log::kv::Value<'kvs>,
            ) -> Result<(), log::kv::Error> {
                use std::fmt::Write;
                if key.as_str() != "correlation_id" {
                    let _ = write!(self.0, " {key}={value}");
                }
                Ok(())
            }
        }
        let mut fields = Fields(String::new());
        let _ = record.key_values().visit(&mut fields);
        let who = SPEAKER.with_borrow(Clone::clone);
        timeline.add(who.as_deref().unwrap_or("-"), || {
            format!("  {}: {}{}", record.target(), record.args(), fields.0)
        });
    }

    fn flush(&self) {}
}

fn hear_log_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&Hearing).is_ok() {
            log::set_max_level(log::LevelFilter::Info);
        }
    });
}

/// Each UUID as its first eight digits.
fn shortened(text: &str) -> String {
    const LENGTH: usize = 36;
    let bytes = text.as_bytes();
    let is_uuid = |from: usize| {
        let end = from + LENGTH;
        bytes.get(from..end).is_some_and(|part| {
            part.iter().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
        })
    };
    let mut short = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if is_uuid(at) {
            short.extend_from_slice(&bytes[at..at + 8]);
            at += LENGTH;
        } else {
            short.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&short).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_and_the_rest_is_not() {
        assert_eq!(
            shortened("order b4d27f9b-d21d-327c-164e-7fb6776f87b0, größer"),
            "order b4d27f9b, größer"
        );
    }
}
