//! What is known about the connection to the brokers, gathered from every client of this log.
//!
//! Promise: the log is told about an outage about once every ten seconds and once when it is over,
//! however many clients suffer from it; the reason is librdkafka's own.
//!
//! librdkafka reports each failed attempt to connect, and once "all brokers are down", but never that
//! one is up again. So an outage ends when anything arrives from a broker: a confirmation, a record,
//! a commit, an answer to the [`Probe`](super::admin::Probe).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::brokers::KnownBrokers;
use crate::event_log::LogError;

/// At most one warning of each kind in this time.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// State of the connection, shared by all clients of one log.
pub(super) struct Link {
    brokers: String,
    /// Beside the state, so that [`Link::heard`] costs one load while all is well.
    away: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What librdkafka last said about connecting.
    reason: Option<String>,
    away_since: Option<Instant>,
    warned_away: Option<Instant>,
    warned_other: Option<Instant>,
    kept_quiet: u64,
}

impl Link {
    pub(super) fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            away: AtomicBool::new(false),
            state: Mutex::new(State::default()),
        }
    }

    /// A client reports an error that concerns no single request.
    pub(super) fn complained(&self, code: RDKafkaErrorCode, text: &str) {
        let reason = brief(text);
        match code {
            RDKafkaErrorCode::AllBrokersDown => self.lost(None),
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::OperationTimedOut => {
                log::debug!(target: "kafka", brokers:% = self.brokers; "{reason}");
                lock(&self.state).reason = Some(reason);
            }
            _ => self.warn(&reason),
        }
    }

    /// No broker can be reached; `reason` replaces what librdkafka said, if given.
    pub(super) fn lost(&self, reason: Option<String>) {
        let mut state = lock(&self.state);
        if reason.is_some() && state.reason.is_none() {
            state.reason = reason;
        }
        let now = Instant::now();
        state.away_since.get_or_insert(now);
        self.away.store(true, Ordering::Release);
        if due(&mut state.warned_away, now) {
            log::warn!(target: "kafka", brokers:% = self.brokers; "{}", self.describe(&state));
        }
    }

    /// Something came from a broker.
    pub(super) fn heard(&self) {
        if self.away.load(Ordering::Acquire) {
            self.back();
        }
    }

    #[cold]
    fn back(&self) {
        let mut state = lock(&self.state);
        self.away.store(false, Ordering::Release);
        state.reason = None;
        if let Some(since) = state.away_since.take() {
            let seconds = since.elapsed().as_secs_f32();
            log::info!(target: "kafka", brokers:% = self.brokers; "Kafka answers again after {seconds:.1} s");
        }
    }

    /// As they were configured.
    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether no broker could be reached when last tried.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// As an error, with the reason.
    pub(super) fn unavailable(&self) -> LogError {
        LogError::Unavailable(self.describe(&lock(&self.state)))
    }

    fn describe(&self, state: &State) -> String {
        let reason = state.reason.as_deref().unwrap_or("no connection");
        format!("waiting for Kafka at {}: {reason}", self.brokers)
    }

    /// Warns, but not more often than is good to read.
    pub(super) fn warn(&self, text: &str) {
        let mut state = lock(&self.state);
        if due(&mut state.warned_other, Instant::now()) {
            let kept_quiet = std::mem::take(&mut state.kept_quiet);
            log::warn!(target: "kafka", brokers:% = self.brokers, kept_quiet; "{text}");
        } else {
            state.kept_quiet += 1;
            log::debug!(target: "kafka", brokers:% = self.brokers; "{text}");
        }
    }
}

fn due(last: &mut Option<Instant>, now: Instant) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= BETWEEN_WARNINGS);
    if due {
        *last = Some(now);
    }
    due
}

/// A panic elsewhere leaves these maps and flags as good as they were.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `h:1/bootstrap: Connect to ipv4#h:1 failed: Connection refused (after 0ms in state CONNECT)`
/// without its two ends; the first names the client's own view of the broker.
fn brief(text: &str) -> String {
    let text = text.split(" (after ").next().unwrap_or(text);
    if let Some(begin) = text.find("Connect to ") {
        return text[begin..].to_owned();
    }
    match text.split_once(": ") {
        Some((origin, rest)) if origin.contains('/') && !origin.contains(' ') => rest.to_owned(),
        _ => text.to_owned(),
    }
}

/// The code that a librdkafka error stands for.
pub(super) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

/// librdkafka's own lines. Those about connections come as errors too, which [`Link`] counts and
/// thins out.
pub(super) fn route(level: RDKafkaLogLevel, facility: &str, text: &str) {
    let level = match (facility, level) {
        ("FAIL" | "ERROR" | "CONFWARN", _) => log::Level::Debug,
        (
            _,
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning,
        ) => log::Level::Warn,
        (_, RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info) => log::Level::Info,
        (_, RDKafkaLogLevel::Debug) => log::Level::Debug,
    };
    log::log!(target: "kafka", level, "librdkafka {facility}: {text}");
}

/// The context of clients that need nothing but the link.
pub(super) struct Linked {
    link: Arc<Link>,
    known: KnownBrokers,
}

impl Linked {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self {
            link: Arc::clone(link),
            known: KnownBrokers::default(),
        }
    }

    /// To be called now and then by the thread that polls the client.
    pub(super) fn remind(&self, client: &Client<Self>) {
        self.known.remind(client, &self.link.brokers);
    }
}

impl ClientContext for Linked {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        route(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.complained(code(&error), reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.known.told(statistics);
    }
}

impl ConsumerContext for Linked {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_with_its_reason_and_ends_when_something_arrives() {
        let link = Link::new("h:1");
        assert!(!link.is_away());
        link.complained(
            RDKafkaErrorCode::BrokerTransportFailure,
            "h:1/bootstrap: Connect to ipv4#h:1 failed: Connection refused (after 0ms in state CONNECT)",
        );
        link.complained(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert!(link.is_away());
        assert_eq!(
            link.unavailable(),
            LogError::Unavailable(
                "waiting for Kafka at h:1: Connect to ipv4#h:1 failed: Connection refused".into()
            )
        );
        link.heard();
        assert!(!link.is_away());
    }
}
