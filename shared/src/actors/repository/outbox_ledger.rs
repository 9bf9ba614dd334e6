//! Which announced events are on their way, which have arrived.
//!
//! Keeps, for each document with events that this process has handed over, which of them are
//! confirmed. When all are, the document can be marked; when it is rewritten before that, the
//! confirmed ones are left out of it. What is not in here (after a crash, or of another instance
//! that died) is found by the sweep.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    contracts::EventId,
    document_store::{DocumentKey, Mark},
    envelope::OutboxEvent,
};

/// The outboxes that this process is emptying.
#[derive(Debug, Default)]
pub struct OutboxLedger {
    open: BTreeMap<DocumentKey, Open>,
}

/// What is to be done about a document that was found.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Events to publish, oldest first.
    pub hand_over: Vec<OutboxEvent>,
    /// All its events were confirmed meanwhile.
    pub mark: Option<Mark>,
}

#[derive(Debug)]
struct Open {
    /// The newest version of the document that we know.
    version: i64,
    /// Handed over, not confirmed yet.
    on_their_way: BTreeSet<EventId>,
    /// Confirmed, but perhaps still standing in the document.
    confirmed: BTreeSet<EventId>,
}

impl OutboxLedger {
    /// Of the events that stand in a document, those not known to be published.
    pub fn unpublished(&self, key: DocumentKey, mut stored: Vec<OutboxEvent>) -> Vec<OutboxEvent> {
        if let Some(open) = self.open.get(&key) {
            stored.retain(|event| !open.confirmed.contains(&event.id));
        }
        stored
    }

    /// The document stands there at this version with this outbox: just written, or found by the
    /// sweep, which may have read it before it was written last.
    pub fn found(&mut self, key: DocumentKey, version: i64, outbox: Vec<OutboxEvent>) -> Found {
        let open = match self.open.get_mut(&key) {
            Some(open) if open.version > version => return Found::default(),
            Some(open) => open,
            None if outbox.is_empty() => return Found::default(),
            None => self.open.entry(key).or_insert(Open {
                version,
                on_their_way: BTreeSet::new(),
                confirmed: BTreeSet::new(),
            }),
        };
        open.version = version;
        open.confirmed
            .retain(|id| outbox.iter().any(|event| event.id == *id));
        let fresh =
            |event: &OutboxEvent| !open.confirmed.contains(&event.id) && open.on_their_way.insert(event.id);
        let hand_over = outbox.into_iter().filter(fresh).collect();
        let mark = open.on_their_way.is_empty().then_some(Mark { key, version });
        match mark {
            Some(_) if open.confirmed.is_empty() => {
                self.open.remove(&key);
                Found {
                    hand_over,
                    mark: None,
                }
            }
            mark => Found { hand_over, mark },
        }
    }

    /// These events of a document are in the log. When they were the last on their way, the mark to
    /// set.
    pub fn confirmed(&mut self, key: DocumentKey, events: &[EventId]) -> Option<Mark> {
        let open = self.open.get_mut(&key)?;
        for event in events {
            open.on_their_way.remove(event);
            open.confirmed.insert(*event);
        }
        open.on_their_way.is_empty().then_some(Mark {
            key,
            version: open.version,
        })
    }

    /// These events did not get through: the sweep shall find them again.
    pub fn lost(&mut self, key: DocumentKey, events: &[EventId]) {
        if let Some(open) = self.open.get_mut(&key) {
            open.on_their_way.retain(|event| !events.contains(event));
            if open.on_their_way.is_empty() && open.confirmed.is_empty() {
                self.open.remove(&key);
            }
        }
    }

    /// The mark is set (or was of no use, the document having moved on with its own events).
    pub fn marked(&mut self, mark: Mark) {
        if self.is_current(&mark) {
            self.open.remove(&mark.key);
        }
    }

    /// The mark is of the newest version that we know, and all its events are confirmed.
    pub fn is_current(&self, mark: &Mark) -> bool {
        let open = self.open.get(&mark.key);
        open.is_some_and(|open| open.version == mark.version && open.on_their_way.is_empty())
    }

    /// No outbox is being emptied.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        contracts::{CreditLimitChanged, CustomerId},
        envelope::Context,
        environment::Timestamp,
        money::Money,
    };

    fn event(version: i64) -> OutboxEvent {
        let customer_id = CustomerId(Uuid::from_u128(1));
        let event = CreditLimitChanged {
            customer_id,
            credit_limit: Money::units(version),
        };
        OutboxEvent::new(
            &event,
            customer_id,
            customer_id,
            version,
            "test",
            Timestamp(0),
            &Context::default(),
        )
    }

    const KEY: DocumentKey = DocumentKey {
        collection: "customers",
        id: Uuid::from_u128(1),
    };

    #[test]
    fn a_document_is_marked_when_its_last_event_is_confirmed() {
        let mut ledger = OutboxLedger::default();
        let (one, two) = (event(1), event(2));
        assert_eq!(
            ledger.found(KEY, 1, vec![one.clone()]).hand_over,
            vec![one.clone()]
        );
        assert_eq!(
            ledger.found(KEY, 2, vec![one.clone(), two.clone()]).hand_over,
            vec![two.clone()]
        );
        assert_eq!(ledger.confirmed(KEY, &[one.id]), None);
        let mark = ledger.confirmed(KEY, &[two.id]).unwrap();
        assert_eq!(mark, Mark { key: KEY, version: 2 });
        ledger.marked(mark);
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_rewritten_document_leaves_out_what_is_published() {
        let mut ledger = OutboxLedger::default();
        let (one, two) = (event(1), event(2));
        ledger.found(KEY, 1, vec![one.clone()]);
        let mark = ledger.confirmed(KEY, &[one.id]).unwrap();
        assert_eq!(ledger.unpublished(KEY, vec![one.clone()]), []);
        assert_eq!(
            ledger.found(KEY, 2, vec![two.clone()]).hand_over,
            vec![two.clone()]
        );
        ledger.marked(mark);
        assert_eq!(
            ledger.confirmed(KEY, &[two.id]),
            Some(Mark { key: KEY, version: 2 })
        );
    }

    #[test]
    fn a_rewrite_without_events_closes_the_outbox() {
        let mut ledger = OutboxLedger::default();
        let one = event(1);
        ledger.found(KEY, 1, vec![one.clone()]);
        ledger.confirmed(KEY, &[one.id]);
        assert_eq!(ledger.found(KEY, 2, vec![]), Found::default());
        assert!(ledger.is_empty());
    }

    #[test]
    fn an_event_confirmed_while_its_document_was_rewritten_is_marked() {
        let mut ledger = OutboxLedger::default();
        let one = event(1);
        ledger.found(KEY, 1, vec![one.clone()]);
        ledger.confirmed(KEY, &[one.id]);
        let found = ledger.found(KEY, 2, vec![one]);
        assert_eq!(
            found,
            Found {
                hand_over: vec![],
                mark: Some(Mark { key: KEY, version: 2 })
            }
        );
    }

    #[test]
    fn what_the_sweep_read_too_early_is_ignored() {
        let mut ledger = OutboxLedger::default();
        ledger.found(KEY, 2, vec![event(2)]);
        assert_eq!(ledger.found(KEY, 1, vec![event(1)]), Found::default());
    }

    #[test]
    fn the_sweep_leaves_alone_what_is_on_its_way() {
        let mut ledger = OutboxLedger::default();
        ledger.found(KEY, 1, vec![event(1)]);
        assert_eq!(ledger.found(KEY, 1, vec![event(1)]), Found::default());
        ledger.lost(KEY, &[event(1).id]);
        assert_eq!(ledger.found(KEY, 1, vec![event(1)]).hand_over, [event(1)]);
    }

    #[test]
    fn a_document_without_events_costs_nothing() {
        let mut ledger = OutboxLedger::default();
        assert_eq!(ledger.found(KEY, 1, vec![]), Found::default());
        assert!(ledger.is_empty());
    }
}
