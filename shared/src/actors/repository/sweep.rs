//! Finds events that nobody is publishing: a crash left them, here or in another instance, or the
//! log has refused them.
//!
//! Takes the oldest first, and only those that are old: younger ones are most likely on their way
//! from the process that announced them. Old events of others are looked at twice: where the first of
//! a document is gone by then, their owner lives. Where there is more than one sweep takes on, the next one
//! goes on from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use uuid::Uuid;

use super::{
    RepositoryActor, Workspace, pace,
    round::{Aftermath, HandOver},
};
use crate::{
    document_store::{
        DocumentKey, DocumentStore, OutboxPlace, OutboxQuery, StoreError, StoredDocument, id, outbox,
        outbox_place,
    },
    envelope::OutboxEvent,
    environment::Timestamp,
};

/// Documents in a page.
const PAGE: usize = 500;
/// A sweep goes on to the next page until it has read so many documents of a collection.
const MOST_DOCUMENTS: usize = 2_000;
/// A sweep goes on to the next page until it has read so many bytes of a collection.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// No more are handed over while so many events are with the publisher.
const MOST_ON_THEIR_WAY: usize = 10_000;

/// Where the next sweep goes on, for collections that were not swept to their end.
pub(super) type SweptTo = BTreeMap<&'static str, OutboxPlace>;

/// What a sweep has found.
#[derive(Default)]
struct Swept {
    found: Vec<(DocumentKey, Vec<OutboxEvent>)>,
    unreadable: Vec<StoreError>,
    to: SweptTo,
}

impl<W: Workspace> RepositoryActor<W> {
    /// Looks for events that nobody is publishing: a crash left them, here or in another instance.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if self.tools.ledger.borrow().on_their_way() >= MOST_ON_THEIR_WAY
            || std::mem::replace(&mut self.sweeping, true)
        {
            return;
        }
        let from = std::mem::take(&mut self.swept_to);
        self.tools.ledger.borrow_mut().sweep_begins(from.is_empty());
        let store = self.tools.store.clone();
        let collections = self.collections.clone();
        let (now, age) = (self.tools.environment.now(), pace::SWEEP_AGE);
        let (ledger, pause) = (self.tools.ledger.clone(), pace::SWEEP_AGAIN_AFTER);
        let look = async move {
            let mut swept = Swept::default();
            for collection in collections {
                let from = from.get(collection.name).copied();
                swept.look(&store, collection.name, from, (now, age)).await?;
            }
            let knows = |event: &OutboxEvent| ledger.borrow().knows(event.id);
            swept.leave_what_moves(&store, pause, knows).await?;
            Ok::<_, StoreError>(swept)
        };
        let swept = look.into_actor(self).map(move |swept, actor, ctx| {
            actor.sweeping = false;
            let at_the_end = match swept {
                Ok(swept) => actor.hand_over_left_behind(swept, ctx),
                Err(error) => {
                    log::warn!(target: "RepositoryActor", "the sweep failed: {error}");
                    false
                }
            };
            let mut ledger = actor.tools.ledger.borrow_mut();
            ledger.sweep_ends(at_the_end);
            actor.tools.metrics.refused(ledger.refused());
        });
        ctx.spawn(swept);
    }

    /// Whether there was no more than this.
    fn hand_over_left_behind(&mut self, swept: Swept, ctx: &mut Context<Self>) -> bool {
        if let Some(error) = swept.unreadable.first()
            && self.unreadable.speaks()
        {
            log::error!(target: "RepositoryActor", documents = swept.unreadable.len();
                "documents with events cannot be read, their events are not published: {error}");
        }
        let now = self.tools.environment.now();
        let age = pace::SWEEP_AGE;
        let mut documents = Vec::new();
        for (key, mut outbox) in swept.found {
            // What a round is writing it hands over itself.
            if self.planner.is_held(&key) {
                continue;
            }
            let mut ledger = self.tools.ledger.borrow_mut();
            outbox.retain(|event| ledger.is_left_behind(event.id, event.time.is_past(age, now)));
            documents.push((key, outbox));
        }
        let handed_over = HandOver::to(&self.tools, documents);
        if let Some(handed_over) = &handed_over {
            log::info!(target: "RepositoryActor", events = handed_over.events.len(); "publishing what was left behind");
        }
        self.follow_up(
            Aftermath {
                handed_over: handed_over.into_iter().collect(),
            },
            ctx,
        );
        self.swept_to = swept.to;
        self.swept_to.is_empty()
    }
}

impl Swept {
    async fn look(
        &mut self,
        store: &Arc<dyn DocumentStore>,
        collection: &'static str,
        from: Option<OutboxPlace>,
        (now, age): (Timestamp, Duration),
    ) -> Result<(), StoreError> {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let old = Timestamp(now.0.saturating_sub(age));
        let ahead = OutboxPlace {
            time: Timestamp(now.0.saturating_add(age)),
            id: Uuid::max(),
        };
        let (mut after, mut documents, mut bytes) = (from, 0, 0);
        while documents < MOST_DOCUMENTS && bytes < MOST_BYTES {
            let in_future = after.is_some_and(|after| after.time > old);
            let page = store.unpublished(OutboxQuery {
                collection,
                after,
                until: if in_future { Timestamp(i64::MAX) } else { old },
                limit: PAGE,
            });
            let page = page.await?;
            match page.last().and_then(|last| outbox_place(last)) {
                Some(last) => after = Some(last),
                None if in_future => return Ok(()),
                None => after = Some(ahead),
            }
            documents += page.len();
            for raw in page {
                bytes += raw.as_bytes().len();
                // One that cannot be read must not keep the others from being published.
                match left_behind(collection, &raw) {
                    Ok(document) => self.found.push(document),
                    Err(error) => self.unreadable.push(error),
                }
            }
        }
        self.to.extend(after.map(|after| (collection, after)));
        Ok(())
    }

    /// Leaves out documents with events of others of which the first goes meanwhile.
    async fn leave_what_moves(
        &mut self,
        store: &Arc<dyn DocumentStore>,
        pause: Duration,
        knows: impl Fn(&OutboxEvent) -> bool,
    ) -> Result<(), StoreError> {
        let mut of_others: BTreeMap<&'static str, BTreeSet<Uuid>> = BTreeMap::new();
        for (key, outbox) in &self.found {
            if !outbox.iter().all(&knows) {
                of_others.entry(key.collection).or_default().insert(key.id);
            }
        }
        if of_others.is_empty() || pause.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        let mut again = BTreeMap::new();
        for (collection, ids) in &of_others {
            let ids: Vec<_> = ids.iter().copied().collect();
            for ids in ids.chunks(PAGE) {
                for raw in store.find(collection, ids.to_vec()).await? {
                    again.extend(left_behind(collection, &raw));
                }
            }
        }
        self.found.retain_mut(|(key, outbox)| {
            if !of_others
                .get(key.collection)
                .is_some_and(|ids| ids.contains(&key.id))
            {
                return true;
            }
            let first = outbox.first().map(|event| event.id);
            *outbox = again.remove(key).unwrap_or_default();
            outbox.first().map(|event| event.id) == first
        });
        Ok(())
    }
}

fn left_behind(
    collection: &'static str,
    raw: &StoredDocument,
) -> Result<(DocumentKey, Vec<OutboxEvent>), StoreError> {
    let key = DocumentKey {
        collection,
        id: id(raw)?,
    };
    Ok((key, outbox(raw)?.1))
}
