//! Finds events that nobody is publishing: a crash left them, here or in another instance.

use std::{collections::BTreeMap, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::sync::oneshot;

use super::{
    RepositoryActor, Workspace,
    round::{Aftermath, HandOver},
};
use crate::{
    actors::publisher::Publish,
    contracts::EventId,
    document_store::{DocumentKey, StoreError, id, outbox},
    envelope::OutboxEvent,
};

/// How often outboxes are looked for.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Younger events are left to the process that announced them, which is most likely publishing them.
const SWEEP_AGE: Duration = Duration::from_secs(2);
/// Documents that a sweep takes on at a time.
const SWEEP_LIMIT: usize = 500;

impl<W: Workspace> RepositoryActor<W> {
    /// Looks for events that nobody is publishing: a crash left them, here or in another instance.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let store = self.tools.store.clone();
        let collections = self.collections;
        let look = async move {
            let mut found = Vec::new();
            for collection in collections {
                for raw in store.unpublished(collection.name, SWEEP_LIMIT).await? {
                    let key = DocumentKey {
                        collection: collection.name,
                        id: id(&raw)?,
                    };
                    let (version, events) = outbox(&raw)?;
                    found.push((key, version, events));
                }
            }
            Ok::<_, StoreError>(found)
        };
        let swept = look.into_actor(self).map(|found, actor, ctx| {
            actor.sweeping = false;
            match found {
                Ok(found) => actor.hand_over_left_behind(found, ctx),
                Err(error) => log::warn!(target: "RepositoryActor", "the sweep failed: {error}"),
            }
        });
        ctx.spawn(swept);
    }

    fn hand_over_left_behind(
        &mut self,
        found: Vec<(DocumentKey, i64, Vec<OutboxEvent>)>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.tools.environment.now();
        let young = |event: &OutboxEvent| now.since(event.time) < SWEEP_AGE;
        let mut ids: BTreeMap<DocumentKey, Vec<EventId>> = BTreeMap::new();
        let mut events = Vec::new();
        for (key, version, outbox) in found {
            if self.busy.contains(&key) || outbox.iter().any(young) {
                continue;
            }
            let found = self.tools.ledger.borrow_mut().found(key, version, outbox);
            self.marks.extend(found.mark);
            if !found.hand_over.is_empty() {
                ids.insert(key, found.hand_over.iter().map(|event| event.id).collect());
                events.extend(found.hand_over);
            }
        }
        if !events.is_empty() {
            log::info!(target: "RepositoryActor", events = events.len(); "publishing what was left behind");
            let (told, confirmed) = oneshot::channel();
            self.tools.publisher.do_send(Publish {
                events,
                confirmed: told,
            });
            let handed_over = vec![HandOver {
                events: ids,
                confirmed,
                permits: Vec::new(),
            }];
            self.follow_up(
                Aftermath {
                    handed_over,
                    marks: Vec::new(),
                },
                ctx,
            );
        }
    }
}
