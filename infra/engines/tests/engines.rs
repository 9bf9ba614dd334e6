//! The library: what survives a `kill -9`, and that nothing survives us.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use engines::{Engine, EngineSettings, Engines, StartError};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use common::{exists, started};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(name: &str) -> EngineSettings {
    EngineSettings {
        name: format!("{name}-{}", std::process::id()),
        fresh: true,
        throw_away: true,
        ..EngineSettings::default()
    }
}

#[tokio::test]
async fn data_survives_a_kill_and_nothing_survives_a_drop() {
    let Some(mut engines) = started(settings("survival")) else {
        return;
    };
    let brokers = engines.kafka_brokers().to_owned();
    create_topic(&brokers, "parcels").await;
    produce(&brokers, "parcels", "first").await;
    insert_in_transaction(engines.mongodb_uri(), "first").await;

    for engine in Engine::ALL {
        let before = engines.pid(engine);
        engines.kill(engine);
        assert!(!before.is_some_and(exists), "{engine} outlived its kill");
        assert_eq!(engines.lost(), None, "a kill that was asked for is no loss");
        engines.restart(engine).unwrap();
        assert!(
            before.is_none() || engines.pid(engine) != before,
            "the same process"
        );
    }
    assert_eq!(engines.kafka_brokers(), brokers, "the port stays");

    produce(&brokers, "parcels", "second").await;
    insert_in_transaction(engines.mongodb_uri(), "second").await;
    assert_eq!(consume(&brokers, "parcels", 2), ["first", "second"]);
    assert_eq!(find(engines.mongodb_uri()).await, ["first", "second"]);

    let pids = Engine::ALL.map(|engine| engines.pid(engine));
    let folder = engines.folder().to_owned();
    drop(engines);
    assert!(
        !pids.into_iter().flatten().any(exists),
        "an engine outlived the drop"
    );
    assert!(!folder.exists(), "data that was to be thrown away is still there");
}

#[tokio::test]
async fn kept_data_is_found_again_on_other_ports() {
    let kept = EngineSettings {
        throw_away: false,
        ..settings("kept")
    };
    let Some(engines) = started(kept.clone()) else {
        return;
    };
    create_topic(engines.kafka_brokers(), "parcels").await;
    produce(engines.kafka_brokers(), "parcels", "kept").await;
    insert_in_transaction(engines.mongodb_uri(), "kept").await;
    let before = addresses(&engines);

    // The name is in use as long as the engines run …
    let error = engines::start(kept.clone()).err().unwrap();
    assert!(matches!(error, StartError::NameInUse { .. }), "{error}");
    engines.stop();

    // … and free when they have been stopped.
    let again = engines::start(EngineSettings {
        fresh: false,
        throw_away: true,
        ..kept
    })
    .unwrap();
    assert_ne!(addresses(&again), before);
    assert_eq!(consume(again.kafka_brokers(), "parcels", 1), ["kept"]);
    assert_eq!(find(again.mongodb_uri()).await, ["kept"]);
}

#[tokio::test]
async fn a_paused_engine_answers_again_when_resumed() {
    let Some(mut engines) = started(EngineSettings {
        only: Some(Engine::Mongo),
        ..settings("pause")
    }) else {
        return;
    };
    let client = Client::with_uri_str(engines.mongodb_uri()).await.unwrap();
    let admin = client.database("admin");
    admin.run_command(doc! { "ping": 1 }).await.unwrap();
    engines.pause(Engine::Mongo);
    let ping = async { admin.run_command(doc! { "ping": 1 }).await };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), ping)
            .await
            .is_err(),
        "paused, yet it answers"
    );
    engines.resume(Engine::Mongo);
    admin.run_command(doc! { "ping": 1 }).await.unwrap();

    // A paused engine is ended as well.
    engines.pause(Engine::Mongo);
    let pid = engines.pid(Engine::Mongo).unwrap();
    engines.stop();
    assert!(!exists(pid));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = EngineSettings {
        mongo_port: port,
        only: Some(Engine::Mongo),
        ..settings("taken")
    };
    match engines::start(settings) {
        Err(StartError::PortTaken {
            engine: Engine::Mongo,
            port: named,
        }) => assert_eq!(named, port),
        Err(StartError::MissingTools(_)) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("started on a port that is taken"),
    }
}

#[test]
fn a_name_does_not_lead_out_of_the_folder() {
    for name in ["", "..", "a/b", "cache"] {
        let error = engines::start(EngineSettings {
            name: name.into(),
            ..settings("name")
        })
        .err()
        .unwrap();
        assert!(
            matches!(error, StartError::Name(_) | StartError::MissingTools(_)),
            "{name}: {error}"
        );
    }
}

fn addresses(engines: &Engines) -> [String; 2] {
    [
        engines.kafka_brokers().to_owned(),
        engines.mongodb_uri().to_owned(),
    ]
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

async fn create_topic(brokers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create().unwrap();
    let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

async fn produce(brokers: &str, topic: &str, payload: &str) {
    let producer: FutureProducer = client(brokers).set("acks", "all").create().unwrap();
    let record = FutureRecord::<(), str>::to(topic).payload(payload);
    producer.send(record, PATIENCE).await.unwrap();
}

/// The first records of the topic's one partition.
fn consume(brokers: &str, topic: &str, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = client(brokers).set("group.id", "test").create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&partitions).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut payloads = Vec::new();
    while payloads.len() < count && Instant::now() < deadline {
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            payloads.push(String::from_utf8_lossy(record.payload().unwrap()).into_owned());
        }
    }
    payloads
}

async fn insert_in_transaction(uri: &str, name: &str) {
    let client = Client::with_uri_str(uri).await.unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let parcels = client.database("test").collection::<Document>("parcels");
    parcels
        .insert_one(doc! { "name": name })
        .session(&mut session)
        .await
        .unwrap();
    session.commit_transaction().await.unwrap();
}

async fn find(uri: &str) -> Vec<String> {
    let client = Client::with_uri_str(uri).await.unwrap();
    let parcels = client.database("test").collection::<Document>("parcels");
    let mut cursor = parcels.find(doc! {}).sort(doc! { "name": 1 }).await.unwrap();
    let mut names = Vec::new();
    while cursor.advance().await.unwrap() {
        names.push(
            cursor
                .deserialize_current()
                .unwrap()
                .get_str("name")
                .unwrap()
                .to_owned(),
        );
    }
    names
}
