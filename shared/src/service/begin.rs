//! What a service waits for before its actors begin: the database, the log, the consumer group.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix::{Actor, Addr};
use tokio::time::Instant;

use super::Ports;
use crate::{
    actors::{
        consumer::{ConsumerSettings, KafkaConsumerActor, ParkingDesk, Routes},
        essential::Essentials,
        repository::{Begin, RepositoryActor, Workspace},
    },
    document_store::{CollectionSettings, Document, StoreError},
    environment::Environment,
    event_log::{LogError, Subscription, TopicSettings},
    http::Readiness,
    metrics::Metrics,
    parking::ParkedRecord,
};

/// Pause between tries to prepare the database or the log.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);
/// How often a line says what is still waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

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
    pub repository: Addr<RepositoryActor<W>>,
    pub consumer: Arc<OnceLock<Addr<KafkaConsumerActor>>>,
    pub readiness: Readiness,
}

impl<W: Workspace> BeginWhenReady<W> {
    pub async fn run(self) {
        let store = self.ports.store.clone();
        let collections = [self.collections, &[ParkedRecord::COLLECTION]].concat();
        let collections = || store.prepare(collections.clone());
        until_ready("database", collections, StoreError::to_string).await;
        self.repository.do_send(Begin);

        let log = self.ports.log.clone();
        until_ready("log", || log.prepare(self.topics.clone()), LogError::to_string).await;
        let subscription = Subscription {
            group: self.desk.group.clone(),
            topics: vec![self.topic],
        };
        let subscribe = || std::future::ready(log.subscribe(subscription.clone()));
        let subscribed = until_ready("consumer group", subscribe, LogError::to_string).await;
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

/// Tries until it succeeds, and says now and then what is waited for.
async fn until_ready<T, E, F>(
    what: &str,
    mut prepare: impl FnMut() -> F,
    describe: impl Fn(&E) -> String,
) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let mut said: Option<Instant> = None;
    loop {
        match prepare().await {
            Ok(ready) => {
                if said.is_some() {
                    log::info!(target: "Service", "the {what} is there");
                }
                return ready;
            }
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    log::warn!(target: "Service", "waiting for the {what}: {}", describe(&error));
                    said = Some(Instant::now());
                }
                tokio::time::sleep(PREPARE_AGAIN).await;
            }
        }
    }
}
