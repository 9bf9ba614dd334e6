//! Finds events that nobody is publishing: a crash left them, here or in another instance.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mongodb::bson::RawDocumentBuf;

use super::{
    RepositoryActor, Workspace,
    round::{Aftermath, HandOver},
};
use crate::{
    document_store::{DocumentKey, StoreError, id, outbox},
    envelope::OutboxEvent,
    mutants::{self, Mutant},
};

/// Documents that a sweep takes on at a time.
const SWEEP_LIMIT: usize = 500;

impl<W: Workspace> RepositoryActor<W> {
    /// Looks for events that nobody is publishing: a crash left them, here or in another instance.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        if mutants::is_active(Mutant::NeverSweep) || std::mem::replace(&mut self.sweeping, true) {
            return;
        }
        let store = self.tools.store.clone();
        let collections = self.collections;
        let look = async move {
            let mut found = Vec::new();
            for collection in collections {
                for raw in store.unpublished(collection.name, SWEEP_LIMIT).await? {
                    // One that cannot be read must not keep the others from being published.
                    match left_behind(collection.name, &raw) {
                        Ok(document) => found.push(document),
                        Err(error) => {
                            log::error!(target: "RepositoryActor", collection = collection.name; "{error}")
                        }
                    }
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

    fn hand_over_left_behind(&mut self, found: Vec<LeftBehind>, ctx: &mut Context<Self>) {
        let now = self.tools.environment.now();
        let age = self.tools.profile.sweep_age();
        // An event of the future is of a clock that runs ahead, and would stay young for too long.
        let young = |event: &OutboxEvent| event.time <= now && now.since(event.time) < age;
        let mut documents = Vec::new();
        for (key, version, outbox) in found {
            if self.planner.is_held(&key) || outbox.iter().any(young) {
                continue;
            }
            let found = self.tools.ledger.borrow_mut().found(key, version, outbox);
            self.marks.extend(found.mark);
            documents.push((key, found.hand_over));
        }
        if let Some(handed_over) = HandOver::to(&self.tools.publisher, documents) {
            log::info!(target: "RepositoryActor", documents = handed_over.events.len(); "publishing what was left behind");
            self.follow_up(
                Aftermath {
                    handed_over: vec![handed_over],
                    marks: Vec::new(),
                },
                ctx,
            );
        }
    }
}

/// A document with events in its outbox: its version and these.
type LeftBehind = (DocumentKey, i64, Vec<OutboxEvent>);

fn left_behind(collection: &'static str, raw: &RawDocumentBuf) -> Result<LeftBehind, StoreError> {
    let key = DocumentKey {
        collection,
        id: id(raw)?,
    };
    let (version, events) = outbox(raw)?;
    Ok((key, version, events))
}
