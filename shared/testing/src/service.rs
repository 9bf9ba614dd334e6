//! One service in this process as a black box: HTTP on a free port, a log and a database in memory.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tokio::{runtime::Runtime, sync::oneshot};
use uuid::Uuid;

use super::{DEADLINE, Found, eventually, faults::Switched, http::Client};
use shared::{
    document_store::{
        Commit, Direction, DocumentKey, DocumentStore, Outcome, Query, StoreError, Write,
        embedded::EmbeddedStore,
    },
    environment::Environment,
    event_log::{ConsumedRecord, EventLog, Header, Position, Record, Tail, TailFrom, embedded::EmbeddedLog},
    events::dead_letter_topic,
    logging::LogFormat,
    service::{Ports, Service, start},
    settings::{OwnSettings, ServiceSettings},
};

/// What documents are made of, for tests that look at them as a tool does.
pub use bson;

/// What a service is started with; survives it, so another can be started on the same.
pub struct Setup<S: Service> {
    /// Settings that suit a test; change what it is about.
    pub settings: ServiceSettings,
    /// The service's own settings, as where nothing is set.
    pub own: S::Settings,
    /// The log.
    pub log: Arc<Switched<dyn EventLog>>,
    /// The database.
    pub store: Arc<Switched<dyn DocumentStore>>,
}

impl<S: Service> Clone for Setup<S> {
    fn clone(&self) -> Setup<S> {
        Setup {
            settings: self.settings.clone(),
            own: self.own.clone(),
            log: self.log.clone(),
            store: self.store.clone(),
        }
    }
}

impl<S: Service> Default for Setup<S> {
    fn default() -> Setup<S> {
        Setup::new()
    }
}

impl<S: Service> Setup<S> {
    /// Everything in memory and new.
    pub fn new() -> Setup<S> {
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::in_memory().expect("memory takes a log"));
        let store: Arc<dyn DocumentStore> =
            Arc::new(EmbeddedStore::in_memory().expect("memory takes a database"));
        let settings = ServiceSettings {
            http_addr: ([127, 0, 0, 1], 0).into(),
            admin_addr: ([127, 0, 0, 1], 0).into(),
            http_workers: 1,
            topic: S::DEFAULTS.topic.to_owned(),
            partitions: 3,
            replication: 1,
            group: S::DEFAULTS.group.to_owned(),
            database: S::DEFAULTS.database.to_owned(),
            log_format: LogFormat::Text,
            max_in_flight: 1000,
            request_timeout: Duration::from_secs(10),
            park_after: Duration::from_secs(1),
            drain_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(10),
        };
        Setup {
            settings,
            own: S::Settings::unset(),
            log: Arc::new(Switched::new(log)),
            store: Arc::new(Switched::new(store)),
        }
    }

    /// Puts a record into the log as another process would: whether or not a service runs, and
    /// whatever the switch says.
    pub fn publish(&self, record: Record) -> Position {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let delivery = self.log.behind().publish(record);
        runtime
            .expect("a runtime can be made")
            .block_on(delivery)
            .expect("the log in memory takes a record")
    }

    /// A stored document, as a tool shows it.
    pub fn stored(&self, collection: &'static str, id: Uuid) -> bson::Document {
        let store = self.store.clone();
        let found = apart(async move { store.behind().find(collection, vec![id]).await });
        let found = found.expect("the database in memory answers");
        let document = found.first().expect("the document is there");
        document.fields().expect("a document is BSON")
    }

    /// The number of documents in a collection.
    pub fn count(&self, collection: &'static str) -> usize {
        let all = Query {
            collection,
            matching: Vec::new(),
            after: None,
            order: Direction::Ascending,
            limit: usize::MAX,
        };
        let store = self.store.clone();
        apart(async move { store.behind().count(all).await }).expect("the database in memory answers")
    }

    /// Puts a document there that another version of the service has written.
    pub fn insert(&self, collection: &'static str, id: Uuid, document: &bson::Document) {
        let written = self.write(DocumentKey { collection, id }, None, document);
        assert_eq!(written, Ok(vec![Outcome::Applied]));
    }

    /// Sets fields of a stored document as mongosh does: `$set`, and the next version as the 32-bit
    /// integer that it makes of a small number.
    pub fn set(&self, collection: &'static str, id: Uuid, fields: &bson::Document) {
        for _ in 0..1000 {
            let mut document = self.stored(collection, id);
            let version = document.get("version").and_then(|version| match version {
                bson::Bson::Int32(version) => Some(i64::from(*version)),
                bson::Bson::Int64(version) => Some(*version),
                _ => None,
            });
            let version = version.expect("a version that nobody has spoilt");
            document.insert("version", i32::try_from(version + 1).expect("a small version"));
            document.extend(fields.clone());
            let written = self.write(DocumentKey { collection, id }, Some(version), &document);
            if written == Ok(vec![Outcome::Applied]) {
                return;
            }
        }
        panic!("the document {id} changes all the time");
    }

    /// Writes one document behind the switch, in place of this version of it.
    fn write(
        &self,
        key: DocumentKey,
        expected_version: Option<i64>,
        document: &bson::Document,
    ) -> Result<Vec<Outcome>, StoreError> {
        let document = bson::RawDocumentBuf::try_from(document).expect("a document is BSON");
        let write = Write {
            key,
            expected_version,
            document: document.into(),
            carried: Vec::new(),
        };
        let commit = Commit {
            id: Uuid::new_v4(),
            atomic: false,
            writes: vec![write],
        };
        let store = self.store.clone();
        apart(async move { store.behind().commit(commit).await })
    }
}

/// Waits for a future on a thread of its own, wherever the test itself waits.
fn apart<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime can be made").block_on(future)
    });
    thread.join().expect("the database in memory does not panic")
}

/// A service that runs on a thread of its own; stopped and joined when dropped.
pub struct ServiceUnderTest<S: Service> {
    /// Asks it.
    pub http: Client,
    /// Asks it as an operator.
    pub admin: Client,
    /// What it was started with.
    pub setup: Setup<S>,
    runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
    _service: PhantomData<fn() -> S>,
}

impl<S: Service> ServiceUnderTest<S> {
    /// Starts it on everything new, and waits until it is ready.
    pub fn start() -> Self {
        let service = Self::start_on(Setup::<S>::new());
        service.until_ready();
        service
    }

    /// Starts it; it answers HTTP, but need not be ready.
    pub fn start_on(setup: Setup<S>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let (tell, told) = mpsc::channel();
        let (stop, asked) = oneshot::channel();
        let (settings, own, ports) = (
            setup.settings.clone(),
            setup.own.clone(),
            Ports {
                log: setup.log.clone(),
                store: setup.store.clone(),
            },
        );
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let started = start::<S>(&settings, &own, ports, Environment::real()).await;
                let running = started.expect("a free port can be had");
                let _ = tell.send((running.http_addr, running.admin_addr));
                let _ = asked.await;
                running.stop().await
            })
        });
        let (http_addr, admin_addr) = told.recv().expect("the service starts");
        ServiceUnderTest {
            http: Client::new(http_addr),
            admin: Client::new(admin_addr),
            setup,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
            _service: PhantomData,
        }
    }

    /// Waits until every check of `ready` is up.
    pub fn until_ready(&self) {
        self.until("the service is ready", || {
            let answer = self.http.get("/health/ready");
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.body)
            }
        });
    }

    /// Stops it as a signal would: whether everything was finished in time, and what it left.
    pub fn stop(mut self) -> (bool, Setup<S>) {
        (self.join(), self.setup.clone())
    }

    fn join(&mut self) -> bool {
        self.stop.take();
        let thread = self.thread.take();
        thread.is_some_and(|thread| thread.join().unwrap_or(false))
    }

    /// Looks until it finds.
    pub fn until<F: Found>(&self, description: &str, mut look: impl FnMut() -> F) -> F::Value {
        self.runtime
            .block_on(eventually(DEADLINE, description, async || look()))
    }

    /// Puts a record into the log.
    pub fn publish(&self, record: Record) -> Position {
        self.setup.publish(record)
    }

    /// Puts an event into the log as the C# services do: without key and headers.
    pub fn publish_bare(&self, name: &str, data: &Value) -> Position {
        self.publish(event(name, data, None))
    }

    /// Puts an event into the log under the key of a customer.
    pub fn publish_event(&self, name: &str, data: &Value, customer: Uuid) -> Position {
        self.publish(event(name, data, Some(customer)))
    }

    /// All events, from the oldest.
    pub fn tape(&self) -> Tape {
        self.tape_of(&self.setup.settings.topic)
    }

    /// All dead letters, from the oldest.
    pub fn dead_letters(&self) -> Tape {
        self.tape_of(&dead_letter_topic(&self.setup.settings.topic))
    }

    fn tape_of(&self, topic: &str) -> Tape {
        // Within the runtime: the tail is a task of it.
        let tail = self
            .runtime
            .block_on(async { self.setup.log.tail(topic, TailFrom::Beginning).await });
        Tape {
            tail: tail.expect("a service that is ready has made its topics"),
            records: Vec::new(),
        }
    }

    /// The value of a counter; zero before it has counted.
    pub fn counted(&self, counter: &str) -> u64 {
        let metrics = self.http.get("/metrics").body;
        let line = metrics.lines().find(|line| {
            let named = counter.trim_end_matches('}');
            line.starts_with(named) && !line.starts_with('#')
        });
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The value of a gauge; `None` before it has been set.
    pub fn gauge(&self, gauge: &str) -> Option<f64> {
        let metrics = self.http.get("/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with(gauge));
        line.and_then(|line| line.rsplit(' ').next())?.parse().ok()
    }

    /// Waits until so many events of this name were handled.
    pub fn until_handled(&self, name: &str, events: u64) {
        let counter = format!("events_consumed_total{{event=\"{name}\"");
        self.until(&format!("{events} {name} are handled"), || {
            let handled = self.counted(&counter);
            if handled >= events { Ok(()) } else { Err(handled) }
        });
    }
}

impl<S: Service> Drop for ServiceUnderTest<S> {
    fn drop(&mut self) {
        self.join();
    }
}

/// The record of an event.
pub fn event(name: &str, data: &Value, customer: Option<Uuid>) -> Record {
    let value = serde_json::json!({ "name": name, "eventData": data.to_string() });
    Record {
        topic: contracts::TOPIC.to_owned(),
        key: customer.map(|customer| customer.to_string().into_bytes()),
        value: Some(value.to_string().into_bytes()),
        headers: Vec::new(),
    }
}

/// The records of a topic, as they come.
pub struct Tape {
    tail: Tail,
    records: Vec<ConsumedRecord>,
}

/// A record that carries an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The record.
    pub record: ConsumedRecord,
    /// The event's name.
    pub name: String,
    /// What it says.
    pub data: Value,
    /// The headers with their values as text.
    pub headers: BTreeMap<String, String>,
}

impl Tape {
    /// All records until now.
    pub fn records(&mut self) -> &[ConsumedRecord] {
        while let Ok(record) = self.tail.try_recv() {
            self.records.push(record);
        }
        &self.records
    }

    /// All events of a name until now.
    pub fn events(&mut self, name: &str) -> Vec<Seen> {
        let seen = self.records().iter().filter_map(see);
        seen.filter(|seen| seen.name == name).collect()
    }

    /// The first event of a name that says so, once it is there.
    pub fn find(&mut self, name: &str, is_it: impl Fn(&Seen) -> bool) -> Option<Seen> {
        self.events(name).into_iter().find(|seen| is_it(seen))
    }
}

/// The headers of a record as text.
pub fn headers(record: &ConsumedRecord) -> BTreeMap<String, String> {
    let text = |header: &Header| {
        let value = header.value.as_deref().unwrap_or_default();
        (
            header.name.to_string(),
            String::from_utf8_lossy(value).into_owned(),
        )
    };
    record.headers.iter().map(text).collect()
}

fn see(record: &ConsumedRecord) -> Option<Seen> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let data = serde_json::from_str(value["eventData"].as_str()?).ok()?;
    Some(Seen {
        name: value["name"].as_str()?.to_owned(),
        data,
        headers: headers(record),
        record: record.clone(),
    })
}
