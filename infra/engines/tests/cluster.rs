//! Three brokers and three members: what is confirmed survives the loss of whoever leads.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use engines::{Engine, EngineSettings, Engines, Node, StartError};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::WriteConcern;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

use common::{eventually, exists, started};

const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "parcels";

fn settings(name: &str) -> EngineSettings {
    EngineSettings {
        name: format!("{name}-{}", std::process::id()),
        brokers: 3,
        members: 3,
        fresh: true,
        throw_away: true,
        ..EngineSettings::default()
    }
}

fn client(engines: &Engines) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", engines.kafka_brokers());
    config
}

async fn create_topic(engines: &Engines) -> AdminClient<DefaultClientContext> {
    let admin: AdminClient<_> = client(engines).create().unwrap();
    // As many copies as the brokers say.
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(-1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    admin
}

async fn write(engines: &Engines, what: &str) -> Duration {
    let begin = Instant::now();
    let producer: FutureProducer = client(engines)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    let record = FutureRecord::<(), str>::to(TOPIC).payload(what);
    producer.send(record, PATIENCE).await.unwrap();
    let mongo = Client::with_uri_str(engines.mongodb_uri()).await.unwrap();
    let parcels = mongo.database("test").collection::<Document>("parcels");
    parcels
        .insert_one(doc! { "name": what })
        .write_concern(WriteConcern::majority())
        .await
        .unwrap();
    begin.elapsed()
}

async fn found(engines: &Engines) -> (i64, u64) {
    let consumer: BaseConsumer = client(engines).create().unwrap();
    let (_, end) = consumer.fetch_watermarks(TOPIC, 0, PATIENCE).unwrap();
    let mongo = Client::with_uri_str(engines.mongodb_uri()).await.unwrap();
    let parcels = mongo.database("test").collection::<Document>("parcels");
    (end, parcels.count_documents(doc! {}).await.unwrap())
}

fn until(what: &str, look: impl Fn() -> Option<Node>) -> Node {
    let mut node = None;
    eventually(what, || {
        node = look();
        node.is_some()
    });
    node.unwrap()
}

#[tokio::test]
async fn what_is_confirmed_survives_the_loss_of_leader_controller_and_primary() {
    let begin = Instant::now();
    let Some(mut engines) = started(settings("three")) else {
        return;
    };
    eprintln!(
        "three brokers and three members are ready after {:?}",
        begin.elapsed()
    );
    let admin = create_topic(&engines).await;
    let asked = [ResourceSpecifier::Topic(TOPIC)];
    // Whichever broker is asked may not have heard of the topic yet.
    let created = Instant::now();
    let entry = loop {
        let told = admin.describe_configs(&asked, &AdminOptions::new()).await;
        let told = told.unwrap().remove(0).ok();
        let entry = told.as_ref().and_then(|told| told.get("min.insync.replicas"));
        match entry {
            Some(entry) => break entry.value.clone(),
            None => assert!(created.elapsed() < PATIENCE, "no settings of the topic"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(entry.as_deref(), Some("2"));
    let metadata = admin.inner().fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions()[0].replicas().len(), 3);
    write(&engines, "first").await;

    type Holder = fn(&Engines) -> Option<Node>;
    let roles: [(&str, Holder); 3] = [
        ("leader", |engines| engines.leader(TOPIC, 0)),
        ("controller", Engines::controller),
        ("primary", Engines::primary),
    ];
    for (number, (role, who)) in (2..).zip(roles) {
        let node = until(role, || who(&engines));
        let pid = engines.pid_of(node).unwrap();
        engines.kill_node(node);
        assert!(!exists(pid), "{node} outlived its kill");
        assert_eq!(engines.lost_node(), None, "a kill that was asked for is no loss");
        let took = write(&engines, role).await;
        let other = until("another one leads", || {
            who(&engines).filter(|other| *other != node)
        });
        engines.restart_node(node).unwrap();
        eprintln!("{role} {node} killed: written after {took:?}, {other} leads");
        assert_eq!(found(&engines).await, (number, number as u64));
    }

    let all: Vec<_> = Engine::ALL
        .into_iter()
        .flat_map(|engine| engines.nodes(engine))
        .collect();
    let pids: Vec<_> = all.iter().filter_map(|node| engines.pid_of(*node)).collect();
    assert_eq!((all.len(), pids.len()), (6, 6));
    drop(engines);
    assert!(!pids.into_iter().any(exists), "a node outlived the drop");
}

#[tokio::test]
async fn kept_data_of_a_cluster_is_found_again_on_other_ports() {
    let kept = EngineSettings {
        throw_away: false,
        ..settings("kept-three")
    };
    let Some(engines) = started(kept.clone()) else {
        return;
    };
    create_topic(&engines).await;
    write(&engines, "kept").await;
    let before = engines.kafka_brokers().to_owned();
    engines.stop();
    let again = engines::start(EngineSettings {
        fresh: false,
        throw_away: true,
        ..kept
    })
    .unwrap();
    assert_ne!(again.kafka_brokers(), before);
    write(&again, "more").await;
    assert_eq!(found(&again).await, (2, 2));
}

#[tokio::test]
async fn a_frozen_member_alone_stops_nobody() {
    let Some(mut engines) = started(EngineSettings {
        only: Some(Engine::Mongo),
        ..settings("frozen-three")
    }) else {
        return;
    };
    let primary = until("a primary", || engines.primary());
    engines.pause_node(primary);
    let other = until("another primary", || {
        engines.primary().filter(|other| *other != primary)
    });
    engines.resume_node(primary);
    assert_eq!(other.engine, Engine::Mongo);
    assert_eq!(engines.nodes(Engine::Kafka), []);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let wrong = [
        EngineSettings {
            brokers: 0,
            ..settings("wrong")
        },
        EngineSettings {
            kafka_proxy: Some(1),
            ..settings("wrong")
        },
    ];
    for settings in wrong {
        let error = engines::start(settings).err().unwrap();
        assert!(
            matches!(error, StartError::Settings(_) | StartError::MissingTools(_)),
            "{error}"
        );
    }
}
