//! What a service counts, for Prometheus.

use std::sync::{Arc, Weak};

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};
pub use prometheus::{Gauge, IntCounter, IntGauge};

use crate::event_log::Consumer;

/// The counters of one service. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Counters>);

struct Counters {
    registry: Registry,
    commands: IntCounter,
    round_size: Histogram,
    conflicts: IntCounter,
    documents: IntCounter,
    published: IntCounterVec,
    refused: IntGauge,
    consumed: IntCounterVec,
    skipped: IntCounterVec,
    dead_letters: IntCounterVec,
    parked: IntCounterVec,
    parked_open: IntGaugeVec,
    replayed: IntCounterVec,
    unreadable: IntCounterVec,
    in_flight: IntGauge,
    requests: HistogramVec,
}

impl Metrics {
    /// Counters of this service, all at zero.
    pub fn new(service: &str) -> Metrics {
        let registry = Registry::new_custom(None, Some([("service".to_owned(), service.to_owned())].into()))
            .expect("a label name that is fixed is valid");
        let counters = Counters {
            commands: register(&registry, IntCounter::new("commands_total", "Commands decided")),
            round_size: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("round_commands", "Commands in a round of the group commit")
                        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
                ),
            ),
            conflicts: register(
                &registry,
                IntCounter::new("write_conflicts_total", "Writes that met another version"),
            ),
            documents: register(
                &registry,
                IntCounter::new("documents_written_total", "Documents written"),
            ),
            published: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("events_published_total", "Events confirmed by the log"),
                    &["event"],
                ),
            ),
            refused: register(
                &registry,
                IntGauge::new(
                    "events_refused",
                    "Events that the log refuses; they stay in their outboxes and are tried again",
                ),
            ),
            consumed: register(
                &registry,
                IntCounterVec::new(Opts::new("events_consumed_total", "Events handled"), &["event"]),
            ),
            skipped: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "records_skipped_total",
                        "Records that no handler is meant for: not-handled, unknown-name or tombstone",
                    ),
                    &["why"],
                ),
            ),
            dead_letters: register(
                &registry,
                IntCounterVec::new(
                    Opts::new("dead_letters_total", "Records put on the dead-letter topic"),
                    &["reason"],
                ),
            ),
            parked: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "records_parked_total",
                        "Records parked, by why; `behind`: behind another",
                    ),
                    &["reason"],
                ),
            ),
            parked_open: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "parked_records",
                        "Parked records of this instance's partitions that are not handled yet",
                    ),
                    &["state"],
                ),
            ),
            replayed: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "records_replayed_total",
                        "Parked records tried again, by what they then were",
                    ),
                    &["state"],
                ),
            ),
            unreadable: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "documents_unreadable_total",
                        "Documents left out of an answer because they cannot be read",
                    ),
                    &["collection"],
                ),
            ),
            in_flight: register(
                &registry,
                IntGauge::new(
                    "consumer_in_flight",
                    "Records taken from the log and not yet done",
                ),
            ),
            requests: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new("http_request_seconds", "Requests by route and answer").buckets(vec![
                        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                    ]),
                    &["method", "route", "status"],
                ),
            ),
            registry,
        };
        Metrics(Arc::new(counters))
    }

    /// A round of the group commit is written.
    pub fn round(&self, commands: usize, documents: usize, conflicts: usize) {
        self.0.commands.inc_by(commands as u64);
        self.0.round_size.observe(commands as f64);
        self.0.documents.inc_by((documents - conflicts) as u64);
        self.0.conflicts.inc_by(conflicts as u64);
    }

    /// An event is in the log.
    pub fn published(&self, event: &str) {
        self.0.published.with_label_values(&[event]).inc();
    }

    /// So many events are refused by the log.
    pub fn refused(&self, events: usize) {
        self.0.refused.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// An event is handled.
    pub fn consumed(&self, event: &'static str) {
        self.0.consumed.with_label_values(&[event]).inc();
    }

    /// A record is for no handler, for this reason.
    pub fn skipped(&self, why: &'static str) {
        self.0.skipped.with_label_values(&[why]).inc();
    }

    /// A record went to the dead letters.
    pub fn dead_letter(&self, reason: &str) {
        self.0.dead_letters.with_label_values(&[reason]).inc();
    }

    /// A record is being parked.
    pub fn parked(&self, reason: &str) {
        self.0.parked.with_label_values(&[reason]).inc();
    }

    /// So many parked records are open, by state.
    pub fn parked_open(&self, open: impl IntoIterator<Item = (&'static str, usize)>) {
        for (state, records) in open {
            let records = i64::try_from(records).unwrap_or(i64::MAX);
            self.0.parked_open.with_label_values(&[state]).set(records);
        }
    }

    /// A parked record was tried again, and is in this state now.
    pub fn replayed(&self, state: &str) {
        self.0.replayed.with_label_values(&[state]).inc();
    }

    /// A further counter, of this service alone.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        register(&self.0.registry, IntCounter::new(name, help))
    }

    /// A further gauge of whole numbers, of this service alone.
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        register(&self.0.registry, IntGauge::new(name, help))
    }

    /// A further gauge, of this service alone.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        register(&self.0.registry, Gauge::new(name, help))
    }

    /// So many documents of a collection could not be read.
    pub fn unreadable(&self, collection: &'static str, documents: usize) {
        self.0
            .unreadable
            .with_label_values(&[collection])
            .inc_by(documents as u64);
    }

    /// So many records are being handled.
    pub fn in_flight(&self, records: usize) {
        self.0.in_flight.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Shows how far behind this consumer's group is in its partitions, as it stands whenever the
    /// metrics are read.
    pub fn show_lag(&self, consumer: &Arc<dyn Consumer>) {
        if let Err(error) = self.0.registry.register(Box::new(Lags::of(consumer))) {
            log::error!(target: "Service", "the lag cannot be shown: {error}");
        }
    }

    /// A request is answered.
    pub fn request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.0
            .requests
            .with_label_values(&[method, route, &status.to_string()])
            .observe(seconds);
    }

    /// All of them, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            log::error!(target: "Service", "metrics cannot be written: {error}");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("a metric whose name is fixed is valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("each metric is registered once");
    collector
}

/// The lag of a consumer, asked for when the metrics are read.
struct Lags {
    /// Not an owner: a consumer that was let go of must not live on here.
    consumer: Weak<dyn Consumer>,
    records: IntGaugeVec,
    seconds: GaugeVec,
    gaps: IntCounter,
    resets: IntCounter,
}

impl Lags {
    fn of(consumer: &Arc<dyn Consumer>) -> Lags {
        let labels = &["topic", "partition"];
        let records = Opts::new(
            "consumer_lag_records",
            "Records of a partition in our hands that are not done",
        );
        let seconds = Opts::new(
            "consumer_lag_seconds",
            "Age of the oldest record that is not done; 0 where there is none",
        );
        let valid = "a metric whose name is fixed is valid";
        Lags {
            consumer: Arc::downgrade(consumer),
            records: IntGaugeVec::new(records, labels).expect(valid),
            seconds: GaugeVec::new(seconds, labels).expect(valid),
            gaps: IntCounter::new(
                "log_gaps_total",
                "Times that records were gone from the log before they were read",
            )
            .expect(valid),
            resets: IntCounter::new(
                "log_resets_total",
                "Times that offsets of a partition went back: a topic made anew, or a lost end",
            )
            .expect(valid),
        }
    }
}

impl Collector for Lags {
    fn desc(&self) -> Vec<&Desc> {
        [
            self.records.desc(),
            self.seconds.desc(),
            self.gaps.desc(),
            self.resets.desc(),
        ]
        .concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Partitions that went to others must not stay with their last value.
        self.records.reset();
        self.seconds.reset();
        if let Some(consumer) = self.consumer.upgrade() {
            let losses = consumer.losses();
            self.gaps.inc_by(losses.gaps.saturating_sub(self.gaps.get()));
            self.resets
                .inc_by(losses.resets.saturating_sub(self.resets.get()));
        }
        for lag in self.consumer.upgrade().iter().flat_map(|consumer| consumer.lag()) {
            let labels = [&*lag.topic, &lag.partition.to_string()];
            let records = i64::try_from(lag.records).unwrap_or(i64::MAX);
            self.records.with_label_values(&labels).set(records);
            let oldest = lag.oldest.unwrap_or_default();
            self.seconds.with_label_values(&labels).set(oldest.as_secs_f64());
        }
        [
            self.records.collect(),
            self.seconds.collect(),
            self.gaps.collect(),
            self.resets.collect(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::event_log::{Assignment, Lag, LogError, Losses, Offset};

    struct Behind;

    impl Consumer for Behind {
        fn store(&self, _: &Assignment, _: Offset) {}
        fn pause(&self) {}
        fn resume(&self) {}
        fn check(&self) -> Result<(), LogError> {
            Ok(())
        }
        fn lag(&self) -> Vec<Lag> {
            let lag = |partition, records, oldest| Lag {
                topic: "t".into(),
                partition,
                records,
                oldest,
            };
            vec![lag(0, 7, Some(Duration::from_millis(1500))), lag(1, 0, None)]
        }
        fn losses(&self) -> Losses {
            Losses { gaps: 2, resets: 1 }
        }
        fn close(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    #[test]
    fn the_lag_is_shown_as_long_as_its_consumer_lives() {
        let (metrics, consumer): (_, Arc<dyn Consumer>) = (Metrics::new("test"), Arc::new(Behind));
        metrics.show_lag(&consumer);
        let text = metrics.text();
        for line in [
            "consumer_lag_records{partition=\"0\",topic=\"t\",service=\"test\"} 7",
            "consumer_lag_records{partition=\"1\",topic=\"t\",service=\"test\"} 0",
            "consumer_lag_seconds{partition=\"0\",topic=\"t\",service=\"test\"} 1.5",
            "consumer_lag_seconds{partition=\"1\",topic=\"t\",service=\"test\"} 0",
            "log_gaps_total{service=\"test\"} 2",
            "log_resets_total{service=\"test\"} 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing:\n{text}"
            );
        }
        drop(consumer);
        assert!(!metrics.text().contains("consumer_lag_records{"));
    }
}
