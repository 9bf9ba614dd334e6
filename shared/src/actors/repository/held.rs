//! Events that wait for earlier ones of their document, which another instance announced.
//!
//! A request changed a document that another instance had changed a moment before: its event must not
//! overtake the one of that change. The document is read again and again until the earlier events are
//! gone from it, because they are in the log and marked, or are so old that their owner must have
//! died; then they are published here, too, in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mongodb::bson::RawDocumentBuf;

use super::{
    RepositoryActor, Workspace,
    round::{Aftermath, HandOver},
    sweep::is_old,
};
use crate::{
    contracts::EventId,
    document_store::{DocumentKey, StoreError, id, outbox},
    envelope::OutboxEvent,
};

/// The events that wait, by document, in the order in which they were announced.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<DocumentKey, VecDeque<Waiting>>);

#[derive(Debug)]
pub(super) struct Waiting {
    /// The events of others that stood before these, oldest first. Not those that came later: two
    /// instances that take turns would wait for each other.
    pub behind: Vec<OutboxEvent>,
    /// Those that wait, oldest first.
    pub events: Vec<OutboxEvent>,
}

impl Held {
    pub fn is_waiting(&self, key: &DocumentKey) -> bool {
        self.0.contains_key(key)
    }

    /// These wait, too.
    pub fn wait(&mut self, key: DocumentKey, waiting: Waiting) {
        self.0.entry(key).or_default().push_back(waiting);
    }

    /// The document holds these events now. Takes out what is to be published.
    fn turn(
        &mut self,
        key: &DocumentKey,
        stored: &BTreeSet<EventId>,
        is_old: impl Fn(&OutboxEvent) -> bool,
    ) -> Vec<OutboxEvent> {
        let mut turn = Vec::new();
        let Some(queue) = self.0.get_mut(key) else {
            return turn;
        };
        while let Some(first) = queue.front_mut() {
            first.behind.retain(|event| stored.contains(&event.id));
            if !first.behind.iter().all(&is_old) {
                return turn;
            }
            if let Some(Waiting { behind, events }) = queue.pop_front() {
                turn.extend(behind.into_iter().chain(events));
            }
        }
        self.0.remove(key);
        turn
    }
}

impl<W: Workspace> RepositoryActor<W> {
    /// Looks after what the earlier events are, if any event waits.
    pub(super) fn look_at_held_soon(&mut self, ctx: &mut Context<Self>) {
        if self.tools.held.borrow().0.is_empty() || std::mem::replace(&mut self.looking_at_held, true) {
            return;
        }
        // Not before the owner may have marked them.
        let pause = self.tools.profile.mark_after() * 5 / 4;
        ctx.run_later(self.tools.environment.jitter(pause), Self::look_at_held);
    }

    fn look_at_held(&mut self, ctx: &mut Context<Self>) {
        let mut wanted: BTreeMap<&'static str, Vec<_>> = BTreeMap::new();
        for key in self.tools.held.borrow().0.keys() {
            wanted.entry(key.collection).or_default().push(key.id);
        }
        let store = self.tools.store.clone();
        let look = async move {
            let mut looked = Vec::new();
            for (collection, ids) in wanted {
                let found = store.find(collection, ids.clone()).await?;
                let mut stored: BTreeMap<_, BTreeSet<EventId>> = BTreeMap::new();
                for raw in &found {
                    stored.insert(id(raw)?, events(raw)?);
                }
                looked.extend(ids.into_iter().map(|id| {
                    let key = DocumentKey { collection, id };
                    (key, stored.remove(&id).unwrap_or_default())
                }));
            }
            Ok::<_, StoreError>(looked)
        };
        let looked = look.into_actor(self).map(|looked, actor, ctx| {
            actor.looking_at_held = false;
            match looked {
                Ok(looked) => actor.hand_over_held(looked, ctx),
                Err(error) => {
                    log::warn!(target: "RepositoryActor", "events wait for events of others, and their documents cannot be read: {error}");
                }
            }
            actor.look_at_held_soon(ctx);
        });
        ctx.spawn(looked);
    }

    fn hand_over_held(&mut self, looked: Vec<(DocumentKey, BTreeSet<EventId>)>, ctx: &mut Context<Self>) {
        let (now, age) = (self.tools.environment.now(), self.tools.profile.sweep_age());
        let mut documents = Vec::new();
        for (key, stored) in looked {
            let old = |event: &OutboxEvent| is_old(event.time, now, age);
            let turn = self.tools.held.borrow_mut().turn(&key, &stored, old);
            documents.push((key, turn));
        }
        let handed_over = HandOver::to(&self.tools, documents);
        self.follow_up(
            Aftermath {
                handed_over: handed_over.into_iter().collect(),
            },
            ctx,
        );
    }
}

fn events(raw: &RawDocumentBuf) -> Result<BTreeSet<EventId>, StoreError> {
    Ok(outbox(raw)?.1.into_iter().map(|event| event.id).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{environment::Timestamp, event_log::Record};

    const KEY: DocumentKey = DocumentKey {
        collection: "customers",
        id: Uuid::from_u128(1),
    };

    fn id(number: u128) -> EventId {
        EventId(Uuid::from_u128(number))
    }

    fn events(numbers: &[u128]) -> Vec<OutboxEvent> {
        let event = |number: &u128| OutboxEvent::letter(id(*number), &Record::default(), Timestamp(0));
        numbers.iter().map(event).collect()
    }

    fn wait(held: &mut Held, behind: &[u128], own: &[u128]) {
        let (behind, events) = (events(behind), events(own));
        held.wait(KEY, Waiting { behind, events });
    }

    fn turn(held: &mut Held, stored: &[u128], old: &[u128]) -> Vec<EventId> {
        let stored = stored.iter().copied().map(id).collect();
        let old: Vec<_> = old.iter().copied().map(id).collect();
        let turn = held.turn(&KEY, &stored, |event| old.contains(&event.id));
        turn.into_iter().map(|event| event.id).collect()
    }

    #[test]
    fn each_event_waits_for_those_before_it_and_not_for_later_ones() {
        let mut held = Held::default();
        wait(&mut held, &[1], &[2]);
        wait(&mut held, &[1, 3], &[4]);
        assert_eq!(turn(&mut held, &[1, 2, 3, 4], &[]), []);
        assert_eq!(turn(&mut held, &[2, 3, 4], &[]), [id(2)]);
        assert!(held.is_waiting(&KEY));
        assert_eq!(turn(&mut held, &[4], &[]), [id(4)]);
        assert!(!held.is_waiting(&KEY));
    }

    #[test]
    fn what_nobody_publishes_goes_out_in_front_of_what_waits_for_it() {
        let mut held = Held::default();
        wait(&mut held, &[1, 2], &[3]);
        assert_eq!(turn(&mut held, &[1, 2, 3], &[1]), []);
        assert_eq!(turn(&mut held, &[2, 3], &[1, 2]), [id(2), id(3)]);
    }
}
