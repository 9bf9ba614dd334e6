//! The [`DocumentStore`] on MongoDB 6 or later.
//!
//! Promises kept here: a write that was answered [`Outcome::Applied`] is on the majority and in the
//! journal; a call ends within its deadline whatever the server does; nothing depends on the server
//! being there when the store is made. Effects are never retried blindly: each write is guarded by
//! its `_id` (insert) or by the version it was decided on (replacement), and carries the id of its
//! commit, so asking again is harmless and reading back tells ours from another's.
//!
//! | file | |
//! | --- | --- |
//! | `prepare.rs` | collections, indexes, schema version; is the server fit |
//! | `queries.rs` | find, list, unpublished, marks |
//! | `commands.rs` | writes as commands, and what their answers say of each write |
//! | `commit.rs` | each write for itself, asked again until its outcome is known |
//! | `transaction.rs` | all writes or none |
//! | `resolve.rs` | reading back whose write it was |
//! | `errors.rs` | what an error means |
//! | `uri.rs` | URIs as others hand them out |
//! | `watch.rs` | why the servers are away; log lines |
//!
//! Hazard: the driver's connections belong to the runtime in which the store was made. All its work
//! therefore runs there, wherever the caller awaits; make the store in the runtime that lives
//! longest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{BoxFuture, FutureExt};
use mongodb::{
    Client, Database,
    bson::doc,
    event::EventHandler,
    options::{ClientOptions, ReadPreference, SelectionCriteria},
};
use tokio::{runtime::Handle, sync::Mutex, time::timeout};
use uuid::Uuid;

use self::{
    errors::{Fate, Fault},
    watch::Watch,
};
use super::{
    CollectionSettings, Commit, DocumentStore, Mark, OutboxQuery, Outcome, Query, StoreError, StoredDocument,
};

mod commands;
mod commit;
mod errors;
mod prepare;
mod queries;
mod resolve;
mod transaction;
mod uri;
mod watch;

pub use uri::fitting_uri;

/// A readiness check that takes longer is a no.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);
/// The answer of a readiness check is good for so long: probes of several callers cost one call.
const CHECK_KEPT: Duration = Duration::from_secs(1);
/// How often the driver looks after each server; with the connect timeout it bounds how long a
/// frozen server keeps connections busy. It is also how long the driver may wait, after an error of
/// a server that steps down, before it tries that server again: the default of 10 s is too long.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// To open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the database is and how long to wait for it. Options that the URI itself names win.
#[derive(Clone)]
pub struct MongoSettings {
    /// `mongodb://…`, with credentials and options where needed.
    pub uri: String,
    /// The database in it.
    pub database: String,
    /// The name under which the server logs our connections.
    pub app_name: String,
    /// How long a call waits for a primary to be there. Default 2 s.
    pub server_selection_timeout: Duration,
    /// The deadline of one call. Default 5 s.
    pub call_timeout: Duration,
    /// How long a commit whose outcome is unknown is asked for again. Default 10 s.
    pub commit_deadline: Duration,
    /// Connections to each server at most. Default 16.
    pub max_pool_size: u32,
}

impl MongoSettings {
    /// The defaults for this database.
    pub fn new(uri: impl Into<String>, database: impl Into<String>) -> MongoSettings {
        MongoSettings {
            uri: uri.into(),
            database: database.into(),
            app_name: env!("CARGO_PKG_NAME").to_owned(),
            server_selection_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            commit_deadline: Duration::from_secs(10),
            max_pool_size: 16,
        }
    }
}

impl std::fmt::Debug for MongoSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoSettings")
            .field("uri", &errors::clean(&self.uri))
            .field("database", &self.database)
            .field("app_name", &self.app_name)
            .field("server_selection_timeout", &self.server_selection_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("commit_deadline", &self.commit_deadline)
            .field("max_pool_size", &self.max_pool_size)
            .finish()
    }
}

/// The documents of one MongoDB database.
pub struct MongoStore {
    client: Client,
    database: Database,
    settings: MongoSettings,
    /// The runtime in which the client was made: all driver calls run there.
    runtime: Handle,
    watch: Arc<Watch>,
    /// What a sweep waits for.
    marked: queries::Marked,
    /// The last readiness check and when it ended. Held while one is under way, so that callers who
    /// come meanwhile share it.
    checked: Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl MongoStore {
    /// Makes the store. Connects in the background: fails only where the URI cannot be used, never
    /// because the server is away. Must be called within a tokio runtime, the longest-lived one.
    pub async fn new(settings: MongoSettings) -> Result<MongoStore, StoreError> {
        let unfit = |error: mongodb::error::Error| {
            let reason = errors::clean_of(&error.kind.to_string(), &settings.uri);
            StoreError::Unfit(format!("the MongoDB URI cannot be used: {reason}"))
        };
        let runtime = Handle::try_current()
            .map_err(|_| StoreError::Unfit("the store has to be made within a tokio runtime".into()))?;
        let uri = fitting_uri(&settings.uri)
            .map_err(|problem| StoreError::Unfit(format!("the MongoDB URI {problem}")))?;
        let mut options = ClientOptions::parse(&uri).await.map_err(unfit)?;
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let watch = Arc::new(Watch::new(hosts.join(",")));
        let heard = watch.clone();
        options.sdam_event_handler = Some(EventHandler::callback(move |event| heard.heard(event)));
        options.app_name.get_or_insert_with(|| settings.app_name.clone());
        options
            .server_selection_timeout
            .get_or_insert(settings.server_selection_timeout);
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.heartbeat_freq.get_or_insert(HEARTBEAT);
        options.max_pool_size.get_or_insert(settings.max_pool_size);
        // Decisions and read-backs need what the primary has, whatever the URI prefers.
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = Client::with_options(options).map_err(unfit)?;
        let database = client.database(&settings.database);
        Ok(MongoStore {
            client,
            database,
            settings,
            runtime,
            watch,
            marked: queries::Marked::default(),
            checked: Mutex::new(None),
        })
    }

    /// Runs one piece of driver work and waits for it at most `within`.
    ///
    /// The work is spawned and only its join handle is timed: dropping a driver's future in the
    /// middle may leave the driver inconsistent
    /// (<https://docs.rs/mongodb/latest/mongodb/#warning-about-timeouts--cancellation>).
    async fn call<T: Send + 'static>(
        &self,
        within: Duration,
        work: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, Fault> {
        let fault = match timeout(within, self.runtime.spawn(work)).await {
            Ok(Ok(Ok(answer))) => {
                self.watch.answered();
                return Ok(answer);
            }
            Ok(Ok(Err(error))) => errors::classify(&error, self.watch.whereabouts()),
            Ok(Err(join)) => Fault::unknown(format!("the call was broken off: {join}")),
            Err(_) => self.no_answer(within),
        };
        self.note(&fault);
        Err(fault)
    }

    /// A call that was not answered in time.
    fn no_answer(&self, within: Duration) -> Fault {
        Fault::unknown(self.watch.whereabouts().unwrap_or_else(|| {
            format!(
                "no answer from MongoDB at {} within {:.1} s",
                self.watch.hosts(),
                within.as_secs_f64()
            )
        }))
    }

    /// Lets the log know where the server is the cause.
    fn note(&self, fault: &Fault) {
        match fault.fate {
            Fate::NotSent | Fate::Unknown => self.watch.unanswered(&fault.reason),
            Fate::WriteConflict => self.watch.answered(),
            Fate::Unfit => {}
        }
    }

    /// One probe, not cached.
    async fn probe(&self) -> Result<(), StoreError> {
        let admin = self.client.database("admin");
        let hello = self
            .call(CHECK_TIMEOUT, async move {
                admin.run_command(doc! { "hello": 1 }).await
            })
            .await
            .map_err(Fault::of_read)?;
        prepare::fitness(&hello)
    }
}

impl std::fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoStore")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl DocumentStore for MongoStore {
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>> {
        prepare::prepare(self, collections).boxed()
    }

    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        queries::find(self, collection, ids).boxed()
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        queries::list(self, query, &[]).boxed()
    }

    fn list_fields(
        &self,
        query: Query,
        fields: &'static [&'static str],
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        queries::list(self, query, fields).boxed()
    }

    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>> {
        queries::count(self, query).boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        if let Some(why) = commands::too_large(&commit.writes) {
            return async { Err(StoreError::Rejected(why)) }.boxed();
        }
        if commit.atomic {
            transaction::commit(self, commit).boxed()
        } else {
            commit::commit(self, commit).boxed()
        }
    }

    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        queries::unpublished(self, query).boxed()
    }

    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>> {
        queries::mark_published(self, marks).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async {
            let mut checked = self.checked.lock().await;
            if let Some((when, result)) = checked.as_ref()
                && when.elapsed() < CHECK_KEPT
            {
                return result.clone();
            }
            let result = self.probe().await;
            *checked = Some((Instant::now(), result.clone()));
            result
        }
        .boxed()
    }
}
