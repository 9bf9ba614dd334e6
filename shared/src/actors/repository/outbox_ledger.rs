//! What this process knows of the events in outboxes, by their ids: which are on their way into the
//! log, which are there, which the log has refused.
//!
//! An event that is not in here was announced by another instance, or by one that crashed: it is
//! left to its owner until it is old enough for the sweep.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{
    actors::publisher::{Fate, Settlement},
    document_store::{DocumentKey, Mark},
    envelope::OutboxEvent,
    events::EventId,
};

/// Pause before an event that was refused is tried again; doubles with each further refusal.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// No pause is longer: a limit that an operator raises takes effect within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The events that this process is publishing, or has published a moment ago.
#[derive(Debug, Default)]
pub struct OutboxLedger {
    events: BTreeMap<EventId, Known>,
    /// A sweep is under way: it may have read events that were marked since.
    sweeping: bool,
}

#[derive(Debug)]
struct Known {
    /// The document in whose outbox it stands.
    key: DocumentKey,
    state: State,
    /// The permit of the command that announced it, shared by all its events: given back when the
    /// last of them is settled.
    permit: Option<Rc<OwnedSemaphorePermit>>,
    /// How often the log has refused it.
    refusals: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits until earlier events of its document, which others announced, are out of the way.
    Held,
    /// Handed over to the publisher.
    OnItsWay,
    /// In the log, not marked yet.
    Confirmed,
    /// The mark has been sent.
    Marking,
    /// Out of its outbox. Kept until the sweep under way has ended.
    Marked,
    /// The log does not take it. Not tried again before this.
    Refused { until: Instant, seen: bool },
}

impl OutboxLedger {
    /// Of the events that stand in a document, those not known to be in the log, and the ids of the
    /// others, which a rewrite of the document leaves out.
    pub fn unpublished(&self, stored: Vec<OutboxEvent>) -> (Vec<OutboxEvent>, Vec<EventId>) {
        let (published, left): (Vec<_>, _) =
            stored.into_iter().partition(|event| self.is_published(event.id));
        (left, published.into_iter().map(|event| event.id).collect())
    }

    fn is_published(&self, event: EventId) -> bool {
        let known = self.events.get(&event).map(|known| known.state);
        matches!(known, Some(State::Confirmed | State::Marking | State::Marked))
    }

    /// Whether this process has announced it or is publishing it.
    pub fn knows(&self, event: EventId) -> bool {
        self.events.contains_key(&event)
    }

    /// Its document was written without it: as good as marked.
    pub fn left_out(&mut self, event: EventId) {
        if let Some(Known {
            state: state @ State::Confirmed,
            ..
        }) = self.events.get_mut(&event)
        {
            *state = State::Marked;
            self.forget_marked(event);
        }
    }

    /// It waits for events of others.
    pub fn held(&mut self, key: DocumentKey, event: EventId) {
        self.enter(key, event, State::Held);
    }

    /// It is handed over now; `false` where it is on its way already.
    pub fn handed_over(&mut self, key: DocumentKey, event: EventId) -> bool {
        let under_way = self
            .events
            .get(&event)
            .is_some_and(|known| known.state == State::OnItsWay);
        if !under_way {
            self.enter(key, event, State::OnItsWay);
        }
        !under_way
    }

    fn enter(&mut self, key: DocumentKey, event: EventId, state: State) {
        let known = self.events.entry(event).or_insert(Known {
            key,
            state,
            permit: None,
            refusals: 0,
        });
        known.state = state;
    }

    /// The permit of the command that announced these; given back at once where none of them waits.
    pub fn holds_permit(&mut self, permit: OwnedSemaphorePermit, events: &[EventId]) {
        let permit = Rc::new(permit);
        for event in events {
            if let Some(known) = self.events.get_mut(event)
                && matches!(known.state, State::Held | State::OnItsWay)
            {
                known.permit = Some(permit.clone());
            }
        }
    }

    /// Deliveries are settled. Answers which events are to be marked.
    pub fn settled(&mut self, settled: &[Settlement]) -> Vec<EventId> {
        let mut to_mark = Vec::new();
        for Settlement { event, fate } in settled {
            let Some(known) = self.events.get_mut(event) else {
                continue;
            };
            known.permit = None;
            match fate {
                Fate::InLog => {
                    known.state = State::Confirmed;
                    to_mark.push(*event);
                }
                Fate::Refused => {
                    let pause = FIRST_PAUSE.saturating_mul(1 << known.refusals.min(16));
                    known.refusals += 1;
                    known.state = State::Refused {
                        until: Instant::now() + pause.min(LONGEST_PAUSE),
                        seen: true,
                    };
                }
            }
        }
        to_mark
    }

    /// Nobody will settle these any more: the sweep shall find them.
    pub fn lost(&mut self, events: &[EventId]) {
        for event in events {
            let unsettled = |known: &Known| matches!(known.state, State::Held | State::OnItsWay);
            if self.events.get(event).is_some_and(unsettled) {
                self.events.remove(event);
            }
        }
    }

    /// The marks of those that are to be marked still, which are sent now.
    pub fn marks(&mut self, events: Vec<EventId>) -> Vec<Mark> {
        let mut marks: BTreeMap<DocumentKey, Vec<EventId>> = BTreeMap::new();
        for event in events {
            if let Some(known) = self.events.get_mut(&event)
                && known.state == State::Confirmed
            {
                known.state = State::Marking;
                marks.entry(known.key).or_default().push(event);
            }
        }
        let mark = |(key, events)| Mark { key, events };
        marks.into_iter().map(mark).collect()
    }

    /// These are out of their outboxes.
    pub fn marked(&mut self, events: impl IntoIterator<Item = EventId>) {
        for event in events {
            if let Some(known) = self.events.get_mut(&event)
                && known.state == State::Marking
            {
                known.state = State::Marked;
                self.forget_marked(event);
            }
        }
    }

    /// Nobody knows whether these are out of their outboxes: they are to be marked again.
    pub fn not_marked(&mut self, events: &[EventId]) {
        for event in events {
            if let Some(known) = self.events.get_mut(event)
                && known.state == State::Marking
            {
                known.state = State::Confirmed;
            }
        }
    }

    fn forget_marked(&mut self, event: EventId) {
        if !self.sweeping {
            self.events.remove(&event);
        }
    }

    /// Outboxes are read from now on. A sweep that begins anew, rather than where the last one
    /// stopped, meets all refused events that there are still.
    pub fn sweep_begins(&mut self, anew: bool) {
        self.sweeping = true;
        for known in self.events.values_mut() {
            if let State::Refused { seen, .. } = &mut known.state {
                *seen &= !anew;
            }
        }
    }

    /// What was read is handed over. After a sweep that came to the end, refused events that it did
    /// not meet are gone: another instance has published them.
    pub fn sweep_ends(&mut self, at_the_end: bool) {
        self.sweeping = false;
        self.events.retain(|_, known| match known.state {
            State::Marked => false,
            State::Refused { seen, .. } => seen || !at_the_end,
            _ => true,
        });
    }

    /// Whether the sweep, which found this event in its document, is to hand it over.
    pub fn is_left_behind(&mut self, event: EventId, is_old: bool) -> bool {
        match self.events.get_mut(&event).map(|known| &mut known.state) {
            None => is_old,
            Some(State::Refused { until, seen }) => {
                *seen = true;
                *until <= Instant::now()
            }
            Some(_) => false,
        }
    }

    /// How many the log has refused.
    pub fn refused(&self) -> usize {
        let refused = |known: &&Known| known.refusals > 0 && !self.is_done(known);
        self.events.values().filter(refused).count()
    }

    fn is_done(&self, known: &Known) -> bool {
        matches!(known.state, State::Confirmed | State::Marking | State::Marked)
    }

    /// How many are with the publisher.
    pub fn on_their_way(&self) -> usize {
        let on_its_way = |known: &&Known| known.state == State::OnItsWay;
        self.events.values().filter(on_its_way).count()
    }

    /// Nothing is on its way, held or to be marked.
    pub fn is_quiet(&self) -> bool {
        let quiet = |known: &Known| matches!(known.state, State::Marked | State::Refused { .. });
        self.events.values().all(quiet)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;

    const KEY: DocumentKey = DocumentKey {
        collection: "parcels",
        id: Uuid::from_u128(1),
    };

    fn id(number: u128) -> EventId {
        EventId(Uuid::from_u128(number))
    }

    fn settle(ledger: &mut OutboxLedger, number: u128, fate: Fate) -> Vec<EventId> {
        ledger.settled(&[Settlement {
            event: id(number),
            fate,
        }])
    }

    #[test]
    fn each_event_is_marked_by_itself_once_it_is_confirmed() {
        let mut ledger = OutboxLedger::default();
        assert!(ledger.handed_over(KEY, id(1)) && ledger.handed_over(KEY, id(2)));
        assert!(!ledger.handed_over(KEY, id(1)), "it is on its way");
        let to_mark = settle(&mut ledger, 1, Fate::InLog);
        assert_eq!(
            ledger.marks(to_mark),
            [Mark {
                key: KEY,
                events: vec![id(1)]
            }]
        );
        ledger.marked([id(1)]);
        assert!(!ledger.knows(id(1)) && ledger.knows(id(2)) && !ledger.is_quiet());
        let to_mark = settle(&mut ledger, 2, Fate::InLog);
        assert_eq!(ledger.marks(to_mark).len(), 1);
        ledger.marked([id(2)]);
        assert!(ledger.is_quiet());
    }

    #[test]
    fn what_a_rewrite_left_out_needs_no_mark() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        let to_mark = settle(&mut ledger, 1, Fate::InLog);
        ledger.left_out(id(1));
        assert!(!ledger.knows(id(1)));
        assert_eq!(ledger.marks(to_mark), []);
    }

    #[test]
    fn a_mark_that_is_in_doubt_is_set_again() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        let to_mark = settle(&mut ledger, 1, Fate::InLog);
        assert_eq!(ledger.marks(to_mark.clone()).len(), 1);
        assert_eq!(ledger.marks(to_mark.clone()), [], "it is being set");
        ledger.not_marked(&to_mark);
        assert_eq!(ledger.marks(to_mark).len(), 1);
    }

    #[test]
    fn an_event_announced_again_while_its_mark_is_under_way_is_published_again() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        let to_mark = settle(&mut ledger, 1, Fate::InLog);
        ledger.marks(to_mark);
        assert!(ledger.handed_over(KEY, id(1)));
        ledger.marked([id(1)]);
        assert_eq!(ledger.on_their_way(), 1, "the mark was for the time before");
    }

    #[test]
    fn what_was_marked_while_a_sweep_reads_is_not_left_behind() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        ledger.sweep_begins(true);
        assert!(!ledger.is_left_behind(id(1), true), "it is on its way");
        let to_mark = settle(&mut ledger, 1, Fate::InLog);
        ledger.marks(to_mark);
        ledger.marked([id(1)]);
        assert!(!ledger.is_left_behind(id(1), true));
        assert!(ledger.is_left_behind(id(2), true) && !ledger.is_left_behind(id(3), false));
        ledger.sweep_ends(true);
        assert!(!ledger.knows(id(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_event_is_tried_again_after_growing_pauses() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        for pause in [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4] {
            assert_eq!(settle(&mut ledger, 1, Fate::Refused), []);
            assert_eq!((ledger.refused(), ledger.is_quiet()), (1, true));
            tokio::time::advance(pause - Duration::from_millis(1)).await;
            assert!(!ledger.is_left_behind(id(1), true));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(ledger.is_left_behind(id(1), true));
            ledger.handed_over(KEY, id(1));
        }
        settle(&mut ledger, 1, Fate::InLog);
        assert_eq!(ledger.refused(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_event_that_another_instance_has_published_is_forgotten() {
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        ledger.handed_over(KEY, id(2));
        settle(&mut ledger, 1, Fate::Refused);
        settle(&mut ledger, 2, Fate::Refused);
        ledger.sweep_begins(true);
        ledger.is_left_behind(id(2), true);
        ledger.sweep_ends(false);
        assert_eq!(ledger.refused(), 2, "the sweep has not seen everything");
        ledger.sweep_begins(false);
        ledger.sweep_ends(true);
        assert!(!ledger.knows(id(1)) && ledger.knows(id(2)));
    }

    #[test]
    fn a_permit_is_given_back_when_the_last_event_of_its_command_is_settled() {
        let permits = Arc::new(Semaphore::new(2));
        let permit = || permits.clone().try_acquire_owned().unwrap();
        let mut ledger = OutboxLedger::default();
        ledger.handed_over(KEY, id(1));
        ledger.held(KEY, id(2));
        ledger.holds_permit(permit(), &[id(1), id(2)]);
        ledger.holds_permit(permit(), &[]);
        assert_eq!(
            permits.available_permits(),
            1,
            "what announced nothing holds nothing"
        );
        settle(&mut ledger, 1, Fate::Refused);
        assert_eq!(permits.available_permits(), 1);
        settle(&mut ledger, 2, Fate::InLog);
        assert_eq!(permits.available_permits(), 2);
    }
}
