//! Log lines for people: one for each step, with the actor's name and the same fields everywhere.
//!
//! ```text
//! 2026-11-22T18:00:00.000Z INFO  parcels PublisherActor published ParcelSent parcel_id=… partition=1 offset=0
//! ```
//!
//! so that `grep <parcel id>` over the logs of all services tells the saga. What a request or a record
//! says can forge neither a line nor a field: control characters are escaped, and a value with spaces,
//! `=` or quotes, or a message with `=`, stands in quotes. `LOG_FORMAT=json` writes an object a line.

use std::{fmt, io::Write, time::Duration};

use env_logger::fmt::Formatter;
use log::{
    Level, Record,
    kv::{Key, Value, VisitSource},
};
use tokio::time::Instant;

use crate::{
    envelope::{OutboxEvent, Received},
    environment::Environment,
    event_log::Position,
    events::About,
};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` filters as usual; without it, `ours` of ourselves
/// and `warn` of libraries.
pub fn start(format: LogFormat, ours: log::LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(ours);
    for library in LIBRARIES {
        builder.filter_module(library, ours.min(log::LevelFilter::Warn));
    }
    // What a client gets wrong in its HTTP is no error of ours.
    builder.filter_module("actix_http::h1::dispatcher", log::LevelFilter::Off);
    builder.parse_env("RUST_LOG");
    let environment = Environment::real();
    builder.format(move |out, record| {
        let now = environment.now().to_string();
        match format {
            LogFormat::Text => text(out, &now, record),
            LogFormat::Json => json(out, &now, record),
        }
    });
    // A test process starts several services; the first one's logger serves them all.
    let _ = builder.try_init();
}

/// Those that have something to say at `info` that helps nobody here.
const LIBRARIES: &[&str] = &[
    "actix",
    "actix_web",
    "actix_http",
    "actix_server",
    "mongodb",
    "rdkafka",
    "librdkafka",
    "rustls",
];

/// The longest message or field of a line, in bytes: a record may call its event anything, in a megabyte.
const LONGEST: usize = 4000;

fn text(out: &mut Formatter, now: &str, record: &Record<'_>) -> std::io::Result<()> {
    let level = record.level();
    write!(out, "{now} {level:<5} ")?;
    if let Some(service) = service() {
        write!(out, "{service} ")?;
    }
    write!(out, "{} {}", record.target(), Message(Cut(record.args())))?;
    struct Fields<'a>(&'a mut Formatter);
    impl<'kvs> VisitSource<'kvs> for Fields<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            Ok(write!(self.0, " {key}={}", FieldText(Cut(value)))?)
        }
    }
    record
        .key_values()
        .visit(&mut Fields(out))
        .map_err(std::io::Error::other)?;
    writeln!(out)
}

fn json(out: &mut Formatter, now: &str, record: &Record<'_>) -> std::io::Result<()> {
    struct Fields(serde_json::Map<String, serde_json::Value>);
    impl<'kvs> VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            let number = value.to_i64().map(serde_json::Value::from);
            self.0.insert(
                key.to_string(),
                number.unwrap_or_else(|| Cut(value).to_string().into()),
            );
            Ok(())
        }
    }
    let mut fields = Fields(serde_json::Map::new());
    fields.0.insert("time".into(), now.into());
    fields.0.insert("level".into(), record.level().as_str().into());
    if let Some(service) = service() {
        fields.0.insert("service".into(), service.into());
    }
    fields.0.insert("actor".into(), record.target().into());
    fields
        .0
        .insert("message".into(), Cut(record.args()).to_string().into());
    record
        .key_values()
        .visit(&mut fields)
        .map_err(std::io::Error::other)?;
    writeln!(out, "{}", serde_json::Value::Object(fields.0))
}

/// No more than [`LONGEST`] bytes, in whole characters, and a sign where there was more.
struct Cut<T>(T);

impl<T: fmt::Display> fmt::Display for Cut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Limit<'a, 'b> {
            to: &'a mut fmt::Formatter<'b>,
            /// Nothing once it is cut.
            left: Option<usize>,
        }
        impl fmt::Write for Limit<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let Some(left) = self.left else {
                    return Ok(());
                };
                self.left = left.checked_sub(text.len());
                if self.left.is_some() {
                    return self.to.write_str(text);
                }
                let mut end = left;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                self.to.write_str(&text[..end])?;
                self.to.write_str("…")
            }
        }
        use fmt::Write;
        write!(
            Limit {
                to: f,
                left: Some(LONGEST)
            },
            "{}",
            self.0
        )
    }
}

/// Shows control characters instead of printing them.
pub(crate) struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, &self.0.to_string(), char::is_control)
    }
}

/// The text of a line. In quotes where it has a `=`: it could pass for a field.
struct Message<T>(T);

impl<T: fmt::Display> fmt::Display for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        if text.contains('=') {
            quote(f, &text)
        } else {
            escape(f, &text, char::is_control)
        }
    }
}

/// The value of a field. In quotes where a reader could not tell its end.
struct FieldText<T>(T);

impl<T: fmt::Display> fmt::Display for FieldText<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let doubtful = |c: char| c == '=' || c == '"' || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.contains(doubtful) {
            quote(f, &text)
        } else {
            f.write_str(&text)
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    escape(f, text, |c| c == '"' || c == '\\' || c.is_control())?;
    f.write_str("\"")
}

/// Writes a text with some of its characters escaped as Rust does it.
fn escape(f: &mut fmt::Formatter<'_>, text: &str, which: impl Fn(char) -> bool) -> fmt::Result {
    for part in text.split_inclusive(&which) {
        match part.chars().next_back() {
            Some(last) if which(last) => {
                f.write_str(&part[..part.len() - last.len_utf8()])?;
                write!(f, "{}", last.escape_default())?;
            }
            _ => f.write_str(part)?,
        }
    }
    Ok(())
}

thread_local! {
    static SERVICE: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Log lines of this thread belong to this service: one process may run several.
pub fn this_thread_serves(service: &'static str) {
    SERVICE.set(Some(service));
}

fn service() -> Option<&'static str> {
    SERVICE.get()
}

/// Lets a line through now and then, where the same would be said over and over.
#[derive(Debug, Default)]
pub struct NowAndThen(Option<Instant>);

impl NowAndThen {
    /// How often.
    const EVERY: Duration = Duration::from_secs(10);

    /// Whether it is to be said now.
    pub fn speaks(&mut self) -> bool {
        let silent = self.0.is_some_and(|last| last.elapsed() < Self::EVERY);
        if !silent {
            self.0 = Some(Instant::now());
        }
        !silent
    }

    /// It is over; whether it had been said. The next time it is said at once.
    pub fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// A log line in the making: the fields that say which event, what it is about, where.
pub struct Step<'a> {
    fields: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Step<'a> {
    /// A step about these.
    pub fn of(about: &'a About) -> Step<'a> {
        let fields = Vec::with_capacity(8);
        Step { fields }.ids(about)
    }

    /// A step about an event in an outbox, which is in the log by now.
    pub fn published(event: &'a OutboxEvent, position: &'a Position) -> Step<'a> {
        let step = Step::of(&event.about).with("event_id", &event.id).at(position);
        match event.letter {
            Some(_) => step,
            None => step.with("correlation_id", &event.context.correlation_id),
        }
    }

    /// A step about an event that was read.
    pub fn received(received: &'a Received) -> Step<'a> {
        Step {
            fields: Vec::with_capacity(8),
        }
        .with("event_id", &received.event_id)
        .at(&received.position)
        .with("correlation_id", &received.correlation_id)
    }

    /// A step about something else.
    pub fn about(name: &'a str, value: &'a dyn fmt::Display) -> Step<'a> {
        Step {
            fields: Vec::with_capacity(8),
        }
        .with(name, value)
    }

    /// A field for each id.
    pub fn ids(self, about: &'a About) -> Step<'a> {
        let ids = about.fields();
        ids.fold(self, |step, (name, id)| step.with(name, id))
    }

    /// One more field.
    pub fn with(mut self, name: &'a str, value: &'a dyn fmt::Display) -> Step<'a> {
        self.fields.push((name, Value::from_dyn_display(value)));
        self
    }

    /// One more field, where there is a value.
    pub fn with_some<T: fmt::Display>(self, name: &'a str, value: &'a Option<T>) -> Step<'a> {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn at(self, position: &'a Position) -> Step<'a> {
        let mut step = self.with("topic", &position.topic);
        step.fields.push(("partition", position.partition.into()));
        step.fields.push(("offset", position.offset.into()));
        step
    }

    /// Writes the line.
    pub fn log(&self, level: Level, actor: &'static str, message: fmt::Arguments<'_>) {
        if log::log_enabled!(target: actor, level) {
            let record = Record::builder()
                .level(level)
                .target(actor)
                .key_values(&self.fields)
                .args(message)
                .build();
            log::logger().log(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_printed() {
        assert_eq!(
            Escaped("a\nb\u{1b}[31m\u{7f}é").to_string(),
            "a\\nb\\u{1b}[31m\\u{7f}é"
        );
    }

    #[test]
    fn a_value_cannot_forge_another_field() {
        let field = |value: &str| FieldText(value).to_string();
        assert_eq!(field("ParcelSent"), "ParcelSent");
        assert_eq!(field("t/2/7"), "t/2/7");
        assert_eq!(field("x parcel_id=7"), r#""x parcel_id=7""#);
        assert_eq!(field(r#"x" parcel_id="7"#), r#""x\" parcel_id=\"7""#);
        assert_eq!(field("x\\\" y"), r#""x\\\" y""#);
        assert_eq!(field(""), r#""""#);
        assert_eq!(field("a\u{2028}b\nc"), "\"a\u{2028}b\\nc\"");
        let message = |text: &str| Message(text).to_string();
        assert_eq!(message("POST /api/parcels"), "POST /api/parcels");
        assert_eq!(message("skipped X parcel_id=7"), r#""skipped X parcel_id=7""#);
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let long = format!("{}é", "x".repeat(LONGEST - 1));
        let cut = format!("{}…", "x".repeat(LONGEST - 1));
        assert_eq!(Cut(&long).to_string(), cut);
        assert_eq!(Cut("short").to_string(), "short");
    }
}
