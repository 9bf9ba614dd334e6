//! Log lines about overload: one a second with a count, not one a request. A service that refuses
//! thousands a second must not spend itself on telling so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::logging::Step;

/// What is told in one line.
const PERIOD: Duration = Duration::from_secs(1);

/// Requests that were refused and are not told yet, by code.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<&'static str, Untold>>>);

struct Untold {
    requests: u64,
    since: Instant,
}

impl Refusals {
    /// Whether requests refused with this code are told together.
    pub fn takes(code: &str) -> bool {
        matches!(code, "overloaded" | "stopping")
    }

    /// One more; told within the period. Needs an actix system.
    pub fn count(&self, code: &'static str) {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = untold.get_mut(code) {
            untold.requests += 1;
            // A worker that ended before it told leaves it to the next.
            if untold.since.elapsed() < 2 * PERIOD {
                return;
            }
            untold.since = Instant::now();
        } else {
            let (requests, since) = (1, Instant::now());
            untold.insert(code, Untold { requests, since });
        }
        let this = self.clone();
        actix_web::rt::spawn(async move {
            sleep(PERIOD).await;
            let told = this.0.lock().unwrap_or_else(PoisonError::into_inner).remove(code);
            if let Some(Untold { requests, .. }) = told {
                Step::about("code", &code).with("requests", &requests).log(
                    log::Level::Warn,
                    "HttpServer",
                    format_args!("requests refused"),
                );
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// Keeps the lines of this module.
    struct Lines(Mutex<Vec<String>>);

    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let field = |name: &str| {
                let value = record.key_values().get(name.into());
                value.map(|value| value.to_string()).unwrap_or_default()
            };
            if record.args().to_string() == "requests refused" {
                let line = format!("{} {}", field("code"), field("requests"));
                self.0.lock().unwrap().push(line);
            }
        }

        fn flush(&self) {}
    }

    #[actix::test]
    async fn overload_is_told_in_one_line_a_second_with_a_count() {
        static LINES: OnceLock<Lines> = OnceLock::new();
        let lines = LINES.get_or_init(|| Lines(Mutex::default()));
        log::set_logger(lines).expect("no other test of this crate sets a logger");
        log::set_max_level(log::LevelFilter::Warn);
        let refusals = Refusals::default();
        tokio::time::pause();
        for _ in 0..3 {
            for _ in 0..1000 {
                refusals.count("overloaded");
            }
            refusals.count("stopping");
            sleep(PERIOD + Duration::from_millis(10)).await;
        }
        sleep(10 * PERIOD).await;
        let mut told = lines.0.lock().unwrap().clone();
        told.sort();
        let each = |line: &str| [line.to_owned(), line.to_owned(), line.to_owned()];
        assert_eq!(told, [each("overloaded 1000"), each("stopping 1")].concat());
    }
}
