//! Marks: documents whose events are all in the log forget them.
//!
//! In nobody's way, so they gather and are set together. A mark that is lost costs a repetition: the
//! sweep publishes its event again, under the same id.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{RepositoryActor, Workspace};

impl<W: Workspace> RepositoryActor<W> {
    /// Marks what is known to be published, once enough has gathered; when draining, now.
    pub(super) fn mark_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.draining.is_empty() {
            self.set_marks(ctx);
        } else if !self.marks.is_empty() && !std::mem::replace(&mut self.marks_due, true) {
            ctx.run_later(self.tools.profile.mark_after(), |actor, ctx| {
                actor.marks_due = false;
                actor.set_marks(ctx);
            });
        }
    }

    pub(super) fn set_marks(&mut self, ctx: &mut Context<Self>) {
        if self.marking {
            return;
        }
        let mut marks = std::mem::take(&mut self.marks);
        // What was written anew has left out what was published, and is marked as what it is now.
        marks.retain(|mark| self.tools.ledger.borrow().is_current(mark));
        if marks.is_empty() {
            return;
        }
        self.marking = true;
        let store = self.tools.store.clone();
        let set = async move {
            if let Err(error) = store.mark_published(marks.clone()).await {
                // The sweep finds the documents and publishes their events again.
                log::warn!(target: "RepositoryActor", documents = marks.len(); "marks are not set: {error}");
            }
            marks
        };
        let marked = set.into_actor(self).map(|marks, actor, ctx| {
            actor.marking = false;
            if actor.sweeping {
                actor.marked_meanwhile.extend(marks.iter().map(|mark| mark.key));
            }
            for mark in marks {
                actor.tools.memory.borrow_mut().marked(&mark);
                actor.tools.ledger.borrow_mut().marked(mark);
            }
            actor.mark_soon(ctx);
            actor.answer_drain();
        });
        ctx.spawn(marked);
    }
}
