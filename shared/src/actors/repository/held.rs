//! Events that wait for earlier ones of their document, which another instance announced.
//!
//! A request changed a document that another instance had changed a moment before: its event must not
//! overtake the one of that change. The document is read again and again until the earlier events are
//! gone from it, because they are in the log and marked. Where none of them goes for a while, their
//! owner must have died; then they are published here, too, in their order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;

use super::{
    RepositoryActor, Workspace, pace,
    round::{Aftermath, HandOver},
};
use crate::{
    document_store::{DocumentKey, StoreError, StoredDocument, id, outbox},
    envelope::OutboxEvent,
    events::EventId,
};

/// Pause before the first look; it doubles with each that finds nothing new.
const FIRST_LOOK: Duration = Duration::from_millis(16);
/// It doubles so often at most, to a quarter of a second.
const MOST_DOUBLINGS: u32 = 4;

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
    /// When one of the events before them was gone last. Two instances that take turns form a long
    /// chain, so age says nothing: its last events are old when their turn comes.
    pub since: Instant,
}

impl Held {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_waiting(&self, key: &DocumentKey) -> bool {
        self.0.contains_key(key)
    }

    /// These wait, too.
    pub fn wait(&mut self, key: DocumentKey, waiting: Waiting) {
        self.0.entry(key).or_default().push_back(waiting);
    }

    /// The document holds these events now. Takes out what is to be published; after `patience`
    /// without any change also what it waited for.
    fn turn(
        &mut self,
        key: &DocumentKey,
        stored: &BTreeSet<EventId>,
        now: Instant,
        patience: Duration,
    ) -> Vec<OutboxEvent> {
        let mut turn = Vec::new();
        let Some(queue) = self.0.get_mut(key) else {
            return turn;
        };
        while let Some(first) = queue.front_mut() {
            let before = first.behind.len();
            first
                .behind
                .retain(|event| stored.contains(&event.id) && !turn.contains(event));
            if first.behind.len() < before {
                first.since = now;
            }
            if !first.behind.is_empty() && now.duration_since(first.since) < patience {
                return turn;
            }
            let was_free = first.behind.is_empty();
            if let Some(Waiting { behind, events, .. }) = queue.pop_front() {
                turn.extend(behind.into_iter().chain(events));
            }
            if let Some(next) = queue.front_mut().filter(|_| was_free) {
                next.since = now;
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
        let pause = FIRST_LOOK * (1 << self.looks_in_vain.min(MOST_DOUBLINGS));
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
        let (now, patience) = (Instant::now(), pace::SWEEP_AGE);
        let mut documents = Vec::new();
        for (key, stored) in looked {
            let mut held = self.tools.held.borrow_mut();
            documents.push((key, held.turn(&key, &stored, now, patience)));
        }
        self.looks_in_vain = match documents.iter().all(|(_, turn)| turn.is_empty()) {
            true => self.looks_in_vain.saturating_add(1),
            false => 0,
        };
        let handed_over = HandOver::to(&self.tools, documents);
        self.follow_up(
            Aftermath {
                handed_over: handed_over.into_iter().collect(),
            },
            ctx,
        );
    }
}

fn events(raw: &StoredDocument) -> Result<BTreeSet<EventId>, StoreError> {
    Ok(outbox(raw)?.1.into_iter().map(|event| event.id).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{environment::Timestamp, event_log::Record};

    const PATIENCE: Duration = Duration::from_secs(5);

    const KEY: DocumentKey = DocumentKey {
        collection: "parcels",
        id: Uuid::from_u128(1),
    };

    fn id(number: u128) -> EventId {
        EventId(Uuid::from_u128(number))
    }

    fn events(numbers: &[u128]) -> Vec<OutboxEvent> {
        let event = |number: &u128| OutboxEvent::letter(id(*number), &Record::default(), Timestamp(0));
        numbers.iter().map(event).collect()
    }

    /// A document of which events wait, and a clock.
    struct Setup {
        held: Held,
        now: Instant,
    }

    impl Setup {
        fn new() -> Setup {
            Setup {
                held: Held::default(),
                now: Instant::now(),
            }
        }

        fn wait(&mut self, behind: &[u128], own: &[u128]) {
            let (behind, events, since) = (events(behind), events(own), self.now);
            self.held.wait(
                KEY,
                Waiting {
                    behind,
                    events,
                    since,
                },
            );
        }

        fn turn_after(&mut self, seconds: u64, stored: &[u128]) -> Vec<EventId> {
            self.now += Duration::from_secs(seconds);
            let stored = stored.iter().copied().map(id).collect();
            let turn = self.held.turn(&KEY, &stored, self.now, PATIENCE);
            turn.into_iter().map(|event| event.id).collect()
        }
    }

    #[test]
    fn each_event_waits_for_those_before_it_and_not_for_later_ones() {
        let mut setup = Setup::new();
        setup.wait(&[1], &[2]);
        setup.wait(&[1, 3], &[4]);
        assert_eq!(setup.turn_after(0, &[1, 2, 3, 4]), []);
        assert_eq!(setup.turn_after(0, &[2, 3, 4]), [id(2)]);
        assert!(setup.held.is_waiting(&KEY));
        assert_eq!(setup.turn_after(0, &[4]), [id(4)]);
        assert!(!setup.held.is_waiting(&KEY));
    }

    #[test]
    fn what_nobody_publishes_goes_out_in_front_of_what_waits_for_it() {
        let mut setup = Setup::new();
        setup.wait(&[1, 2], &[3]);
        assert_eq!(setup.turn_after(4, &[1, 2, 3]), []);
        assert_eq!(setup.turn_after(1, &[1, 2, 3]), [id(1), id(2), id(3)]);
    }

    #[test]
    fn what_the_log_refuses_for_good_holds_nobody_up_twice() {
        let mut setup = Setup::new();
        setup.wait(&[1], &[2]);
        setup.wait(&[1], &[3]);
        assert_eq!(setup.turn_after(4, &[1, 2, 3]), []);
        assert_eq!(setup.turn_after(1, &[1, 2, 3]), [id(1), id(2), id(3)]);
    }

    #[test]
    fn as_long_as_others_publish_theirs_nothing_of_them_is_published_here() {
        let mut setup = Setup::new();
        setup.wait(&[1, 2, 4], &[5]);
        setup.wait(&[1, 2, 4, 6], &[7]);
        assert_eq!(setup.turn_after(4, &[2, 4, 5, 6, 7]), []);
        assert_eq!(setup.turn_after(4, &[4, 5, 6, 7]), []);
        assert_eq!(setup.turn_after(4, &[5, 6, 7]), [id(5)]);
        assert_eq!(setup.turn_after(4, &[6, 7]), []);
        assert_eq!(setup.turn_after(4, &[7]), [id(7)]);
    }
}
