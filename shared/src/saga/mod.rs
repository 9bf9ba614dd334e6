//! Documents that stay open until other services have answered: how many may be open, who waits for
//! the end of one, and announcing again those that stay open.
//!
//! A service whose documents are such sagas implements [`Saga`] for them, starts [`Sagas`] among its
//! actors, and asks that from its endpoints. A service without needs none of this.

use std::time::Duration;

use actix::{Actor, Recipient};
use prometheus::{Gauge, IntCounter, IntGauge};
use uuid::Uuid;

use crate::{
    actors::repository::{CopiesOf, Workspace},
    document_store::Document,
    envelope::OutboxEvent,
    environment::Timestamp,
    events::About,
    metrics::Metrics,
    service::Kit,
};

mod again;
mod backlog;
mod places;
mod reannouncement;
mod watch;

pub use again::{AnnouncedAgain, Pauses};
use backlog::{BacklogActor, BacklogSettings};
use places::Backlog;
pub use places::{Full, Limits, Place};
pub use reannouncement::AnnounceAgain;
use reannouncement::{ReannouncementActor, SeenOpen};
use watch::{AwaitFinal, IsFinal, WatchActor};

/// A document that is open until its saga has ended.
pub trait Saga: Document + Send + Unpin {
    /// The documents of its service.
    type Workspace: Workspace;
    /// The field by whose value an index finds open ones, and that value.
    const OPEN: (&'static str, i32);
    /// The field that holds the key of its events. Together with the one of [`OPEN`](Self::OPEN), in
    /// this order, it is an index.
    const KEY: &'static str;

    /// Its copies in a round.
    fn copies(workspace: &mut Self::Workspace) -> &mut CopiesOf<Self>;
    /// What its events are about.
    fn about(&self) -> About;
    /// Whether its saga has ended.
    fn is_final(&self) -> bool;
    /// When its saga began.
    fn since(&self) -> Timestamp;
    /// How it was announced again.
    fn announced_again(&self) -> Option<AnnouncedAgain>;
    /// The same document, once it is announced again.
    fn with_announced_again(self, again: AnnouncedAgain) -> Self;
    /// The event that announced its beginning, the same to the byte whenever it is made.
    fn announcement(&self) -> OutboxEvent;

    /// The document as it is once it is announced again; `None` where that is not due.
    fn announce_again(&self, pauses: Pauses, now: Timestamp) -> Option<Self> {
        if self.is_final() {
            return None;
        }
        let again = pauses.announce_again(self.since(), self.announced_again(), now)?;
        Some(self.clone().with_announced_again(again))
    }
}

/// The sagas of a service, as its endpoints ask for them.
#[derive(Clone)]
pub struct Sagas<D: Saga> {
    backlog: Backlog,
    watch: Recipient<AwaitFinal<D>>,
    finished: Recipient<IsFinal<D>>,
}

/// What is counted of sagas. The names of the metrics begin with that of the collection.
#[derive(Clone)]
struct Counters {
    open: IntGauge,
    oldest: Gauge,
    announced_again: IntCounter,
}

impl Counters {
    fn of(metrics: &Metrics, what: &str) -> Counters {
        Counters {
            open: metrics.int_gauge(
                &format!("{what}_open"),
                "Open documents of all instances, as counted last",
            ),
            oldest: metrics.gauge(
                &format!("{what}_oldest_open_seconds"),
                "Age of the oldest open document of all instances; 0 where none is open",
            ),
            announced_again: metrics.counter(
                &format!("{what}_reannounced_total"),
                "Open documents announced again",
            ),
        }
    }
}

impl<D: Saga> Sagas<D> {
    /// Starts the actors on the current thread. Documents that stay open are announced again `after`
    /// that time, and then with longer and longer pauses.
    pub fn start(kit: &Kit<D::Workspace>, limits: Limits, after: Duration) -> Sagas<D> {
        let repository = &kit.repository;
        let counters = Counters::of(&kit.metrics, D::COLLECTION.name);
        let seen_open = SeenOpen::default();
        let watch = WatchActor::<D>::new(repository.clone().recipient(), kit.essential("WatchActor"));
        let watch = watch.start();
        ReannouncementActor::<D>::new(
            repository.clone().recipient(),
            repository.clone().recipient(),
            kit.environment.clone(),
            after,
            (counters.announced_again.clone(), seen_open.clone()),
            kit.essential("ReannouncementActor"),
        )
        .start();
        let backlog = Backlog::new(limits);
        BacklogActor::<D>::new(BacklogSettings {
            backlog: backlog.clone(),
            seen_open,
            list: repository.clone().recipient(),
            count: repository.clone().recipient(),
            environment: kit.environment.clone(),
            after,
            counters,
            essential: kit.essential("BacklogActor"),
        })
        .start();
        Sagas {
            backlog,
            watch: watch.clone().recipient(),
            finished: watch.recipient(),
        }
    }

    /// A place for another open document with events of this key, if there may be one.
    pub fn enter(&self, key: impl Into<Uuid>) -> Result<Place, Full> {
        self.backlog.enter(key.into())
    }

    /// Tells those who wait that this document is final.
    pub fn is_final(&self, document: &D) {
        self.finished.do_send(IsFinal(document.clone()));
    }

    /// The document once it is final; `None` when that takes longer than `patience`, or too many wait
    /// already.
    pub async fn until_final(&self, id: impl Into<Uuid>, patience: Duration) -> Option<D> {
        let told = self.watch.send(AwaitFinal::new(id.into(), patience));
        told.await.ok().flatten()
    }
}

#[cfg(test)]
mod parcel;
