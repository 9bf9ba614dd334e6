//! Marks: events that are in the log leave the outboxes of their documents.
//!
//! In nobody's way, so they gather and are set together. A mark that may not have been set is set
//! again. One that a crash loses costs a repetition: the sweep publishes its event again, under the
//! same id.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{RepositoryActor, Workspace, pace};
use crate::{document_store::StoreError, events::EventId};

/// See [`RepositoryActor::gather_for`].
const SOON: Duration = Duration::from_millis(10);

impl<W: Workspace> RepositoryActor<W> {
    /// Marks what is known to be published, once enough has gathered; when draining, now.
    pub(super) fn mark_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.draining.is_empty() {
            self.set_marks(ctx);
        } else if !self.to_mark.is_empty() && !std::mem::replace(&mut self.marks_due, true) {
            ctx.run_later(self.gather_for(), |actor, ctx| {
                actor.marks_due = false;
                actor.set_marks(ctx);
            });
        }
    }

    /// For how long marks gather. Where instances take turns on a document, each waits for the marks of
    /// the other.
    fn gather_for(&self) -> Duration {
        match self.tools.held.borrow().is_empty() {
            true => pace::MARK_AFTER,
            false => SOON,
        }
    }

    pub(super) fn set_marks(&mut self, ctx: &mut Context<Self>) {
        if self.marking {
            return;
        }
        // What was written anew meanwhile has left its published events out.
        let to_mark = std::mem::take(&mut self.to_mark);
        let marks = self.tools.ledger.borrow_mut().marks(to_mark);
        if marks.is_empty() {
            return;
        }
        self.marking = true;
        let store = self.tools.store.clone();
        let set = async move {
            let set = store.mark_published(marks.clone()).await;
            (marks, set)
        };
        let marked = set.into_actor(self).map(|(marks, set), actor, ctx| {
            actor.marking = false;
            let events = || marks.iter().flat_map(|mark| mark.events.iter().copied());
            match set {
                Err(StoreError::Unavailable(error) | StoreError::OutcomeUnknown(error)) => {
                    actor.mark_again(events().collect(), &error);
                }
                set => {
                    if let Err(error) = set {
                        log::error!(target: "RepositoryActor", documents = marks.len(); "marks are not set: {error}");
                    }
                    actor.tools.ledger.borrow_mut().marked(events());
                }
            }
            actor.mark_soon(ctx);
            actor.answer_drain();
        });
        ctx.spawn(marked);
    }

    fn mark_again(&mut self, events: Vec<EventId>, error: &str) {
        if self.unmarked.speaks() {
            log::warn!(target: "RepositoryActor", events = events.len(); "marks are not set yet: {error}");
        }
        let mut ledger = self.tools.ledger.borrow_mut();
        if self.draining.is_empty() {
            ledger.not_marked(&events);
            self.to_mark.extend(events);
        } else {
            // The next process publishes them again.
            ledger.marked(events);
        }
    }
}
