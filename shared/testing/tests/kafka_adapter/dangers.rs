//! Topics as they are made, and what is said of one that endangers a promise, on a real Kafka.

use std::sync::{Mutex, Once};

use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use shared::event_log::{EventLog as _, TopicSettings, kafka::KafkaLog};

use super::{real::real, settings, topics::admin};

/// The warnings of this process about topics, each with its topic.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listen;

impl log::Log for Listen {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let topic = record.key_values().get("topic".into());
        if let Some(topic) = topic.filter(|_| self.enabled(record.metadata())) {
            WARNINGS
                .lock()
                .unwrap()
                .push(format!("{topic} {}", record.args()));
        }
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listen).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
}

fn warnings(topic: &str) -> Vec<String> {
    let warnings = WARNINGS.lock().unwrap();
    let of = warnings
        .iter()
        .filter_map(|line| line.strip_prefix(topic)?.strip_prefix(' '));
    of.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_made_as_it_fits_and_one_that_endangers_a_promise_is_warned_of_at_start() {
    let Some(kafka) = real() else { return };
    listen();
    let admin = admin(&kafka.brokers);
    let log = KafkaLog::new(kafka).unwrap();
    let name = format!("kafka-adapter-{}", uuid::Uuid::new_v4());
    let fitting = TopicSettings {
        replication: 0,
        ..settings(&name, 2)
    };
    log.prepare(vec![fitting.clone()]).await.unwrap();
    let described = admin
        .describe_configs(&[ResourceSpecifier::Topic(&name)], &AdminOptions::new())
        .await
        .unwrap();
    let described = described.into_iter().next().unwrap().unwrap();
    let value = |name: &str| described.get(name).and_then(|entry| entry.value.clone());
    // One broker: one copy, which confirms.
    assert_eq!(value("min.insync.replicas").as_deref(), Some("1"));
    assert_eq!(value("max.message.bytes").as_deref(), Some("1048588"));
    let nothing: [String; 0] = [];
    assert_eq!(warnings(&name), nothing, "of a topic as we make it");

    let odd = format!("{name}-odd");
    let topic = NewTopic::new(&odd, 3, TopicReplication::Fixed(1))
        .set("min.insync.replicas", "2")
        .set("cleanup.policy", "compact")
        .set("retention.ms", "60000")
        .set("retention.bytes", "1000000")
        .set("max.message.bytes", "2000");
    admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let wanted = TopicSettings {
        name: odd.clone(),
        ..fitting
    };
    log.prepare(vec![wanted]).await.unwrap();
    let told = warnings(&odd);
    for begin in [
        "the topic has 3 partitions, not 2",
        "min.insync.replicas=2 with 1 copies",
        "cleanup.policy=compact:",
        "retention.ms=60000:",
        "retention.bytes=1000000:",
        "max.message.bytes=2000:",
    ] {
        let of = told.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(of, 1, "{begin}: {told:#?}");
    }
    assert_eq!(told.len(), 6, "{told:#?}");
}
