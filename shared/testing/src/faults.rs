//! The two ports with a switch: a log or a database that goes away and comes back.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use shared::{
    document_store::{
        CollectionSettings, Commit, DocumentStore, Mark, OutboxQuery, Outcome, Query, StoreError,
        StoredDocument,
    },
    event_log::{
        Delivery, EventLog, LogError, Record, Subscribed, Subscription, Tail, TailFrom, TopicSettings,
    },
};

/// How a port behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As the adapter behind it.
    Works,
    /// Every call fails at once: unavailable.
    Fails,
    /// Calls that change something are begun only once it works again, or fail once it fails.
    Silent,
    /// Commits happen, but their answer is lost: the outcome is unknown. All else works.
    Doubtful,
}

/// A port with a switch. What is delivered to consumers and tails comes through in any mode.
pub struct Switched<P: ?Sized> {
    port: Arc<P>,
    mode: watch::Sender<Mode>,
}

impl<P: ?Sized> Switched<P> {
    /// Works, for now.
    pub fn new(port: Arc<P>) -> Switched<P> {
        Switched {
            port,
            mode: watch::Sender::new(Mode::Works),
        }
    }

    /// Behaves so from now on.
    pub fn switch(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Calls that wait for the switch, as it is [`Mode::Silent`].
    pub fn silenced(&self) -> usize {
        self.mode.receiver_count()
    }

    /// What is behind the switch, which always works: what others see and do.
    pub fn behind(&self) -> &P {
        &self.port
    }

    fn works(&self) -> bool {
        *self.mode.borrow() != Mode::Fails
    }

    /// Whether it works, once it is no longer silent.
    fn spoken(&self) -> impl Future<Output = bool> + Send + use<P> {
        let mut mode = self.mode.subscribe();
        async move {
            let mode = mode.wait_for(|mode| *mode != Mode::Silent).await;
            mode.is_ok_and(|mode| *mode != Mode::Fails)
        }
    }
}

fn no_log() -> LogError {
    LogError::Unavailable("the log is switched off".into())
}

fn no_store() -> StoreError {
    StoreError::Unavailable("the database is switched off".into())
}

impl EventLog for Switched<dyn EventLog> {
    fn prepare(&self, topics: Vec<TopicSettings>) -> BoxFuture<'_, Result<(), LogError>> {
        if self.works() {
            self.port.prepare(topics)
        } else {
            Box::pin(async { Err(no_log()) })
        }
    }

    fn publish(&self, record: Record) -> Delivery {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Works | Mode::Doubtful => self.port.publish(record),
            Mode::Fails => Box::pin(async { Err(no_log()) }),
            Mode::Silent => {
                let (port, spoken) = (self.port.clone(), self.spoken());
                Box::pin(async move {
                    if spoken.await {
                        port.publish(record).await
                    } else {
                        Err(no_log())
                    }
                })
            }
        }
    }

    fn subscribe(&self, subscription: Subscription) -> Result<Subscribed, LogError> {
        self.port.subscribe(subscription)
    }

    fn tail(&self, topic: &str, from: TailFrom) -> BoxFuture<'_, Result<Tail, LogError>> {
        self.port.tail(topic, from)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        if self.works() {
            self.port.check()
        } else {
            Box::pin(async { Err(no_log()) })
        }
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        self.port.close(deadline)
    }
}

impl DocumentStore for Switched<dyn DocumentStore> {
    fn prepare(&self, collections: Vec<CollectionSettings>) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.works() {
            self.port.prepare(collections)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn find(
        &self,
        collection: &'static str,
        ids: Vec<Uuid>,
    ) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        if self.works() {
            self.port.find(collection, ids)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        if self.works() {
            self.port.list(query)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn count(&self, query: Query) -> BoxFuture<'_, Result<usize, StoreError>> {
        if self.works() {
            self.port.count(query)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            if self.spoken().await {
                let outcomes = self.port.commit(commit).await;
                if *self.mode.borrow() == Mode::Doubtful {
                    return Err(StoreError::OutcomeUnknown("the answer is lost".into()));
                }
                outcomes
            } else {
                Err(no_store())
            }
        })
    }

    fn unpublished(&self, query: OutboxQuery) -> BoxFuture<'_, Result<Vec<StoredDocument>, StoreError>> {
        if self.works() {
            self.port.unpublished(query)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn mark_published(&self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.works() {
            self.port.mark_published(marks)
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.works() {
            self.port.check()
        } else {
            Box::pin(async { Err(no_store()) })
        }
    }
}
