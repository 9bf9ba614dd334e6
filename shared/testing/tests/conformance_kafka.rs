//! The Kafka adapter keeps the promises of its port, on a real broker.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use shared::event_log::{
    EventLog,
    kafka::{KafkaLog, KafkaSettings},
};
use testing::event_log::LogUnderTest;

/// A broker; topics and groups are each test's own. Opening again is another client of it.
struct Broker(Option<String>);

impl Broker {
    fn new() -> Broker {
        Broker(engines::for_tests().map(|engines| engines.kafka_brokers.clone()))
    }
}

impl LogUnderTest for Broker {
    fn open(&self) -> LocalBoxFuture<'_, Arc<dyn EventLog>> {
        let brokers = self.0.as_deref().expect("a test without a broker is skipped");
        let log = KafkaLog::new(KafkaSettings::new(brokers)).expect("the settings are right");
        Box::pin(async { Arc::new(log) as Arc<dyn EventLog> })
    }
}

/// Where there is no broker, the test is skipped; that was said when it was asked for.
fn run(test: impl Future<Output = ()>) {
    if engines::for_tests().is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

testing::event_log_conformance!(crate::run, crate::Broker::new());
