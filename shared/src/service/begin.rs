//! What a service waits for before its actors begin: the database, the log, the consumer group.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::Ports;
use crate::{
    actors::{
        consumer::{ConsumerSettings, KafkaConsumerActor, ParkingDesk, Routes},
        essential::Essentials,
        publisher::PublisherActor,
        repository::{Begin, Parking, RepositoryActor, Workspace},
    },
    document_store::{CollectionSettings, StoreError},
    environment::Environment,
    event_log::{LogError, Subscription, TopicSettings},
    http::Readiness,
    logging::NowAndThen,
    metrics::Metrics,
};
use actix::{Actor, Addr};

/// Pause between tries to prepare the database or the log.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);

/// Prepares the ports as they come, then lets the actors begin.
pub(super) struct BeginWhenReady<W: Workspace> {
    pub topics: Vec<TopicSettings>,
    pub collections: &'static [CollectionSettings],
    pub ports: Ports,
    pub desk: ParkingDesk,
    pub topic: String,
    pub routes: Routes,
    pub environment: Environment,
    pub metrics: Metrics,
    pub essentials: Essentials,
    pub publisher: Addr<PublisherActor>,
    pub repository: Addr<RepositoryActor<W>>,
    pub consumer: Arc<OnceLock<Addr<KafkaConsumerActor>>>,
    pub readiness: Readiness,
}

impl<W: Workspace> BeginWhenReady<W> {
    pub async fn run(self) {
        let store = self.ports.store.clone();
        let collections = [self.collections, &Parking::COLLECTIONS].concat();
        let collections = || store.prepare(collections.clone());
        until_ready("database", &self.readiness, collections, StoreError::to_string).await;
        self.repository.do_send(Begin);
        self.readiness
            .asks("database", self.repository.clone().recipient());

        let log = self.ports.log.clone();
        let topics = || log.prepare(self.topics.clone());
        until_ready("log", &self.readiness, topics, LogError::to_string).await;
        self.readiness.asks("log", self.publisher.clone().recipient());
        let subscription = Subscription {
            group: self.desk.group.clone(),
            topics: vec![self.topic],
        };
        let subscribe = || std::future::ready(log.subscribe(subscription.clone()));
        let subscribed = until_ready("consumer", &self.readiness, subscribe, LogError::to_string).await;
        self.metrics.show_lag(&subscribed.consumer);
        let consumer = KafkaConsumerActor::new(ConsumerSettings {
            subscribed,
            routes: self.routes,
            desk: self.desk,
            environment: self.environment,
            metrics: self.metrics,
            essential: self.essentials.guard("KafkaConsumerActor"),
        })
        .start();
        self.readiness.asks("consumer", consumer.clone().recipient());
        let _ = self.consumer.set(consumer);
    }
}

/// Tries until it succeeds. `ready` tells what is waited for, and now and then a line does.
async fn until_ready<T, E, F>(
    what: &'static str,
    readiness: &Readiness,
    mut prepare: impl FnMut() -> F,
    describe: impl Fn(&E) -> String,
) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = NowAndThen::default();
    loop {
        match prepare().await {
            Ok(ready) => {
                if waiting.is_over() {
                    log::info!(target: "Service", "the {what} is there");
                }
                return ready;
            }
            Err(error) => {
                readiness.waits(what, describe(&error));
                if waiting.speaks() {
                    log::warn!(target: "Service", "waiting for the {what}: {}", describe(&error));
                }
                tokio::time::sleep(PREPARE_AGAIN).await;
            }
        }
    }
}
