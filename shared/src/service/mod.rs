//! A service from start to stop.
//!
//! Starting waits for nothing: HTTP answers at once, `ready` tells what is waited for, and the rest
//! follows as Kafka and MongoDB come. Stopping ([`Running::stop`]) drains from the outside in.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, Arbiter, Recipient};
use actix_web::web;
use tokio::sync::oneshot;

use crate::{
    actors::{
        consumer::{KafkaConsumerActor, ParkingDesk, Routes},
        essential::{Drain, Essential, Essentials},
        publisher::{Publish, PublisherActor},
        repository::{RepositoryActor, RepositorySettings, Workspace},
    },
    admission::{Admission, Reader},
    document_store::{Document, DocumentStore},
    environment::Environment,
    event_log::{EventLog, TopicSettings},
    events::{EventType, dead_letter_topic},
    http::{self, CommonEndpoints, Heartbeat, Readiness, Refusals, parked::ParkedApi},
    logging,
    metrics::Metrics,
    settings::{Defaults, OwnSettings, ServiceSettings},
};

mod begin;
mod running;
mod serving;

use begin::BeginWhenReady;
pub use running::Running;
use serving::Serving;

/// Larger than any record of ours; a record of somebody else's still fits with the headers of a
/// dead letter.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// A connection without requests is closed after that.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The same, at the operators' address.
const OPERATORS_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What makes a service this one.
pub trait Service: 'static {
    /// Its name, in logs and as the source of its events.
    const NAME: &'static str;
    /// All events of its contracts, its own and those of others.
    const EVENTS: &'static [EventType];
    /// Defaults of its settings.
    const DEFAULTS: Defaults;
    /// The description of its HTTP interface.
    const OPENAPI: &'static str;
    /// Settings that only it has.
    type Settings: OwnSettings;
    /// Its documents.
    type Workspace: Workspace;
    /// The actors that its HTTP endpoints ask.
    type Endpoints: Clone + Send + Sync + 'static;

    /// Starts its own actors on this thread: its endpoints' and the handlers of its events.
    fn start_actors(kit: &Kit<Self::Workspace>, settings: &Self::Settings) -> (Self::Endpoints, Routes);
    /// Registers its HTTP resources.
    fn configure_http(endpoints: Self::Endpoints, config: &mut web::ServiceConfig);
}

/// What the kit gives a service's own actors to work with.
pub struct Kit<W: Workspace> {
    /// Who owns the database.
    pub repository: Addr<RepositoryActor<W>>,
    /// Who publishes.
    pub publisher: Recipient<Publish>,
    /// Clock, ids, chance.
    pub environment: Environment,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What requests need before they may ask.
    pub admission: Admission,
    essentials: Essentials,
}

impl<W: Workspace> Kit<W> {
    /// Reads documents for requests.
    pub fn reader<D: Document + Send>(&self) -> Reader<D> {
        Reader {
            admission: self.admission.clone(),
            find: self.repository.clone().recipient(),
            list: self.repository.clone().recipient(),
        }
    }

    /// For an actor that the service cannot do without.
    pub fn essential(&self, name: &'static str) -> Essential {
        self.essentials.guard(name)
    }
}

/// The two ports of a service.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The database.
    pub store: Arc<dyn DocumentStore>,
}

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address is not to be had.
    #[error("cannot answer HTTP at {addr}: {reason}")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// Its thread ended.
    #[error("the actors could not be started")]
    Actors,
}

impl StartError {
    fn address(addr: SocketAddr, reason: std::io::Error) -> StartError {
        StartError::Address { addr, reason }
    }
}

fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = |reason| StartError::address(addr, reason);
    let listener = TcpListener::bind(addr).map_err(address)?;
    let bound = listener.local_addr().map_err(address)?;
    Ok((listener, bound))
}

/// The actors of a service, which live on one thread.
pub struct Actors<S: Service> {
    publisher: Addr<PublisherActor>,
    repository: Addr<RepositoryActor<S::Workspace>>,
    /// Once the log is there.
    consumer: Arc<std::sync::OnceLock<Addr<KafkaConsumerActor>>>,
    endpoints: S::Endpoints,
    readiness: Readiness,
    metrics: Metrics,
    environment: Environment,
}

impl<S: Service> Actors<S> {
    /// Starts all actors on the current thread, and what prepares the ports for them.
    pub fn start(
        (settings, own): (&ServiceSettings, &S::Settings),
        admission: Admission,
        ports: Ports,
        environment: Environment,
        essentials: Essentials,
    ) -> Actors<S> {
        let metrics = Metrics::new(S::NAME);
        let publisher = PublisherActor::new(
            ports.log.clone(),
            settings.topic.clone(),
            environment.clone(),
            metrics.clone(),
            essentials.guard("PublisherActor"),
        )
        .start();
        let repository = RepositoryActor::new(RepositorySettings {
            store: ports.store.clone(),
            collections: S::Workspace::COLLECTIONS,
            publisher: publisher.clone().recipient(),
            environment: environment.clone(),
            metrics: metrics.clone(),
            essential: essentials.guard("RepositoryActor"),
        })
        .start();
        let kit = Kit {
            repository: repository.clone(),
            publisher: publisher.clone().recipient(),
            environment: environment.clone(),
            metrics: metrics.clone(),
            admission,
            essentials: essentials.clone(),
        };
        let (endpoints, routes) = S::start_actors(&kit, own);

        let readiness = Readiness::default();
        readiness.asks("database", repository.clone().recipient());
        readiness.asks("log", publisher.clone().recipient());
        readiness.waits("consumer", "waiting for the database and the log");
        let actors = Actors {
            publisher,
            repository,
            consumer: Arc::default(),
            endpoints,
            readiness,
            metrics: metrics.clone(),
            environment: environment.clone(),
        };
        let begin = BeginWhenReady {
            topics: topics(settings),
            collections: S::Workspace::COLLECTIONS,
            ports,
            desk: ParkingDesk {
                group: settings.group.clone(),
                list: actors.repository.clone().recipient(),
                open: actors.repository.clone().recipient(),
                count: actors.repository.clone().recipient(),
                change: actors.repository.clone().recipient(),
                jobs: actors.repository.clone().recipient(),
                change_job: actors.repository.clone().recipient(),
                patience: settings.park_after,
                environment: environment.clone(),
                metrics: metrics.clone(),
            },
            routes: routes.known(S::EVENTS),
            environment,
            metrics,
            essentials,
            publisher: actors.publisher.clone(),
            repository: actors.repository.clone(),
            consumer: actors.consumer.clone(),
            readiness: actors.readiness.clone(),
            topic: settings.topic.clone(),
        };
        actix::spawn(begin.run());
        actors
    }

    /// The actors that requests ask.
    pub fn endpoints(&self) -> &S::Endpoints {
        &self.endpoints
    }

    /// What operators ask.
    pub fn parked_api(&self, settings: &ServiceSettings) -> ParkedApi {
        ParkedApi {
            find: self.repository.clone().recipient(),
            list: self.repository.clone().recipient(),
            count: self.repository.clone().recipient(),
            change: self.repository.clone().recipient(),
            jobs: self.repository.clone().recipient(),
            change_job: self.repository.clone().recipient(),
            consumer: self.consumer.clone(),
            environment: self.environment.clone(),
            topic: settings.topic.clone(),
        }
    }

    /// Finishes what is under way, from the outside in.
    pub async fn drain(&self) {
        if let Some(consumer) = self.consumer.get() {
            let _ = consumer.send(Drain).await;
        }
        let _ = self.repository.send(Drain).await;
        let _ = self.publisher.send(Drain).await;
    }
}

fn topics(settings: &ServiceSettings) -> Vec<TopicSettings> {
    let topic = |name: String, max_record_bytes| TopicSettings {
        name,
        partitions: settings.partitions,
        replication: settings.replication,
        max_record_bytes,
    };
    vec![
        topic(settings.topic.clone(), MAX_RECORD_BYTES),
        topic(dead_letter_topic(&settings.topic), 2 * MAX_RECORD_BYTES),
    ]
}

/// Starts a service: its actors on a thread of their own, HTTP on others. Needs an actix system.
pub async fn start<S: Service>(
    settings: &ServiceSettings,
    own: &S::Settings,
    ports: Ports,
    environment: Environment,
) -> Result<Running, StartError> {
    let (listener, http_addr) = bind(settings.http_addr)?;
    let (admin_listener, admin_addr) = bind(settings.admin_addr)?;

    let (essentials, deaths) = Essentials::new();
    let admission = Admission::new(settings.max_in_flight, settings.request_timeout);
    let lifecycle = admission.lifecycle().clone();
    let log = ports.log.clone();
    let arbiter = Arbiter::new();
    let (started, when_started) = oneshot::channel();
    let (drain, asked_to_drain) = oneshot::channel::<oneshot::Sender<()>>();
    {
        let (settings, own) = (settings.clone(), own.clone());
        // The actors themselves need not be sendable: only their making is sent to the thread.
        arbiter.spawn_fn(move || {
            logging::this_thread_serves(S::NAME);
            let actors = Actors::<S>::start((&settings, &own), admission, ports, environment, essentials);
            let http = (
                actors.endpoints.clone(),
                actors.readiness.clone(),
                actors.metrics.clone(),
                actors.parked_api(&settings),
            );
            let _ = started.send(http);
            actix::spawn(async move {
                if let Ok(told) = asked_to_drain.await {
                    actors.drain().await;
                    let _ = told.send(());
                }
            });
        });
    }
    let (endpoints, readiness, metrics, parked) = when_started.await.map_err(|_| StartError::Actors)?;

    let heartbeat = Heartbeat::of(arbiter.handle());
    let refusals = Refusals::default();
    let stopping = (readiness.clone(), lifecycle.clone());
    let server = Serving {
        name: S::NAME,
        workers: settings.http_workers,
        keep_alive: KEEP_ALIVE,
        // Requests must not take the time of what has to be finished.
        stop_within: settings.shutdown_timeout / 4,
    }
    .serve(listener, move |config| {
        let common = CommonEndpoints {
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            openapi: S::OPENAPI,
            heartbeat: heartbeat.clone(),
            lifecycle: lifecycle.clone(),
            refusals: refusals.clone(),
        };
        common.configure(config);
        S::configure_http(endpoints.clone(), config);
    })
    .map_err(|reason| StartError::address(http_addr, reason))?;
    let admin = Serving {
        name: S::NAME,
        workers: 1,
        keep_alive: OPERATORS_KEEP_ALIVE,
        stop_within: Duration::from_secs(1),
    }
    .serve(admin_listener, move |config| {
        http::parked::configure(parked.clone(), config)
    })
    .map_err(|reason| StartError::address(admin_addr, reason))?;
    let (handle, admin_handle) = (server.handle(), admin.handle());
    actix::spawn(server);
    actix::spawn(admin);
    let (readiness, lifecycle) = stopping;
    Ok(Running {
        http_addr,
        admin_addr,
        name: S::NAME,
        deaths,
        readiness,
        lifecycle,
        servers: [handle, admin_handle],
        arbiter,
        log,
        drain: Some(drain),
        drain_delay: settings.drain_delay,
        shutdown_timeout: settings.shutdown_timeout,
    })
}
