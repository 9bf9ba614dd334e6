//! The actor that knows how many documents are open, and keeps the bounds on them.
//!
//! New ones are taken as long as those who answer keep up, or nearly: where more are open than the
//! [`Limits`](super::Limits), in all instances together, further ones are refused, so that one that is
//! accepted becomes final soon.
//!
//! Asks the RepositoryActor, four times a second while documents are open and every two seconds
//! otherwise: other instances accept some, too. In between it counts what this instance has accepted.
//! When it fails, the service ends.

use std::{collections::BTreeMap, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Counters, Saga,
    places::{Backlog, Before, Counted},
    reannouncement::{OpenForLong, SeenOpen},
};
use crate::{
    actors::{
        essential::Essential,
        repository::{Count, List},
    },
    document_store::{Direction, IndexValue, Query},
    environment::{Environment, Timestamp},
};

/// How often open documents are counted.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// How often, while none are open as far as is known.
const COUNT_WHEN_IDLE: Duration = Duration::from_secs(2);
/// As many open documents as are read; more are counted by the index, and their ages are known from
/// what the ReannouncementActor has seen.
const READ: usize = 100;

/// The actor.
pub struct BacklogActor<D: Saga> {
    backlog: Backlog,
    seen_open: SeenOpen,
    list: Recipient<List<D>>,
    count: Recipient<Count>,
    environment: Environment,
    /// After that time a document is open for long.
    after: Duration,
    counters: Counters,
    counting: bool,
    counted: Option<Instant>,
    _essential: Essential,
}

/// What a [`BacklogActor`] is made of.
pub struct BacklogSettings<D: Saga> {
    /// Kept up to date.
    pub backlog: Backlog,
    /// What the ReannouncementActor sees.
    pub seen_open: SeenOpen,
    /// Reads open documents.
    pub list: Recipient<List<D>>,
    /// Counts open documents.
    pub count: Recipient<Count>,
    /// The clock.
    pub environment: Environment,
    /// After that time a document is open for long.
    pub after: Duration,
    /// Where it is shown.
    pub(super) counters: Counters,
    /// Ends the process when the actor dies.
    pub essential: Essential,
}

/// What is open in the database.
struct Open {
    counted: Counted,
    oldest: Option<Timestamp>,
}

impl<D: Saga> BacklogActor<D> {
    /// An actor that keeps a backlog up to date.
    pub fn new(settings: BacklogSettings<D>) -> BacklogActor<D> {
        let BacklogSettings {
            backlog,
            seen_open,
            list,
            count,
            environment,
            after,
            counters,
            essential,
        } = settings;
        BacklogActor {
            backlog,
            seen_open,
            list,
            count,
            environment,
            after,
            counters,
            counting: false,
            counted: None,
            _essential: essential,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let rests = self
            .counted
            .is_some_and(|counted| self.backlog.is_empty() && counted.elapsed() < COUNT_WHEN_IDLE);
        if rests || std::mem::replace(&mut self.counting, true) {
            return;
        }
        // What is accepted while the count is under way may or may not be in it.
        let before = self.backlog.begin();
        let look = Look {
            list: self.list.clone(),
            count: self.count.clone(),
            now: self.environment.now(),
            after: self.after,
            seen: self.seen_open.get(),
        };
        let looked = async move {
            let open = look.open(&before).await;
            (before, open)
        };
        let looked = looked.into_actor(self).map(|(before, open), actor, _| {
            actor.counting = false;
            match open {
                Ok(open) => {
                    actor.counted = Some(Instant::now());
                    actor.backlog.counted(&before, &open.counted);
                    actor.counters.open.set(i64::try_from(open.counted.all).unwrap_or(i64::MAX));
                    let now = actor.environment.now();
                    let age = open.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
                    actor.counters.oldest.set(age.as_secs_f64());
                }
                Err(error) => {
                    log::debug!(target: "BacklogActor", "open documents of {} cannot be counted: {error}", D::COLLECTION.name);
                }
            }
        });
        ctx.spawn(looked);
    }
}

impl<D: Saga> Actor for BacklogActor<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(COUNT_EVERY, Self::look);
    }
}

/// One look at the database.
struct Look<D: Saga> {
    list: Recipient<List<D>>,
    count: Recipient<Count>,
    now: Timestamp,
    after: Duration,
    seen: OpenForLong,
}

impl<D: Saga> Look<D> {
    async fn open(&self, before: &Before) -> Result<Open, String> {
        let page = self.list.send(List::new(self.query(None, READ))).await;
        let page = page
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let oldest = page.iter().map(Saga::since).min();
        let old = page
            .iter()
            .filter(|document| document.since().is_past(self.after, self.now))
            .count();
        let (all, stuck, oldest) = match page.next {
            // One that cannot be read does not become final by itself.
            None => (
                page.len() + page.unreadable.len(),
                old + page.unreadable.len(),
                oldest,
            ),
            Some(_) => {
                let all = self.count(None, before.most).await?;
                let oldest = oldest.into_iter().chain(self.seen.oldest).min();
                (all, self.seen.documents.max(old).min(all), oldest)
            }
        };
        let mut keys = BTreeMap::new();
        for key in &before.wanted {
            let open = self.count(Some(*key), before.most_of_key).await?;
            keys.insert(*key, open);
        }
        let counted = Counted { all, stuck, keys };
        Ok(Open { counted, oldest })
    }

    async fn count(&self, key: Option<Uuid>, most: usize) -> Result<usize, String> {
        let counted = self.count.send(Count::new(self.query(key, most))).await;
        counted
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    fn query(&self, key: Option<Uuid>, limit: usize) -> Query {
        let (field, value) = D::OPEN;
        let open = (field, vec![IndexValue::Int(value)]);
        let key = key.map(|key| (D::KEY, vec![IndexValue::Uuid(key)]));
        Query {
            collection: D::COLLECTION.name,
            matching: key.into_iter().chain([open]).collect(),
            after: None,
            order: Direction::Ascending,
            limit,
        }
    }
}
