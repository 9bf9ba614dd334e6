//! Everything that became durable, in the order in which it did. What has to hold at every moment is
//! judged here at once; the rest at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::{self, CustomerId, OrderCreated, OrderId, OrderValidated, TOPIC};
use customers::domain::{Customer, Reservation};
use orders::domain::Order;
use shared::{
    document_store::{Document, StoredDocument, decode, outbox},
    event_log::{Offset, Partition, Position, Record},
    events::{self, dead_letter_topic},
    money::Money,
    parking::{ParkedRecord, ParkedState, Verb},
};
use uuid::Uuid;

use crate::{
    invariants::{Violation, always},
    lock, log, store,
    timeline::Timeline,
};

mod reading;

use reading::{asked, given_up, note, pause, subject};
pub use reading::{event_id, header};

/// What clients have sent and learned.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Orders, with whom they are of and what they cost; noted before they are sent.
    pub orders: BTreeMap<OrderId, (CustomerId, Money)>,
    /// Orders that were answered 2xx.
    pub acknowledged: BTreeSet<OrderId>,
    /// Orders somebody wanted to cancel; noted before it is sent.
    pub cancels: BTreeSet<OrderId>,
    /// Orders whose cancelling was answered 2xx.
    pub cancelled: BTreeSet<OrderId>,
    /// Customers.
    pub customers: BTreeSet<CustomerId>,
    /// Orders of which every answer so far said that nothing was stored.
    pub refused: BTreeSet<OrderId>,
    /// Orders of which some answer said otherwise, or did not come.
    pub doubtful: BTreeSet<OrderId>,
}

/// A commit of Customers about one customer.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Whose.
    pub customer_id: CustomerId,
    /// The customer was written: nobody else did meanwhile.
    pub written: bool,
    /// The customer before and after; the same where it was not written.
    pub customer: (Option<Customer>, Option<Customer>),
    /// The reservations before and after.
    pub reservations: Vec<(Option<Reservation>, Reservation)>,
    /// The limits that were set by it, in their order.
    pub limits: Vec<Money>,
    /// When.
    pub at: Duration,
}

/// Where a record stands, and under which key.
pub type Place = (Position, Option<Vec<u8>>);

/// Who had to give a record up, and where that stood.
pub type Given = (String, Partition, Offset);

/// A record that failed and is not dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The order whose state it moves, where that can be read.
    pub subject: Option<OrderId>,
}

/// How a parked record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Its state.
    pub state: ParkedState,
    /// What an operator asked for last.
    pub asked: Option<Verb>,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What clients did.
    pub asked: Asked,
    /// Orders as they stand.
    pub orders: BTreeMap<OrderId, Order>,
    /// Customers as they stand.
    pub customers: BTreeMap<CustomerId, Customer>,
    /// Each customer's states, with when they began.
    pub states: BTreeMap<CustomerId, Vec<(Duration, Customer)>>,
    /// Reservations as they stand.
    pub reservations: BTreeMap<OrderId, Reservation>,
    /// Records that stood in an outbox, by the event's id.
    pub announced: BTreeMap<String, Record>,
    /// The log, in the order of appending.
    pub log: Vec<(Position, Record)>,
    /// Ids of the events in it.
    pub published: BTreeSet<String>,
    /// Orders that somebody else has written about too: where their records stand says less.
    pub copied: BTreeSet<OrderId>,
    /// Orders that were said to be created in several partitions: which was read first?
    pub scattered: BTreeSet<OrderId>,
    /// Where each order was first said to be created, by anybody.
    pub created: BTreeMap<OrderId, (Position, OrderCreated)>,
    /// When that was.
    pub created_at: BTreeMap<OrderId, Duration>,
    /// Where each order was first said to be cancelled.
    pub cancelled: BTreeMap<OrderId, Position>,
    /// What was said first of each order's validity.
    pub validated: BTreeMap<OrderId, OrderValidated>,
    /// Commits of Customers.
    pub decided: Vec<Decided>,
    /// Dead letters: who gave which record up, and why.
    pub dead_letters: BTreeMap<Given, String>,
    /// Dead letters that were put in as poison.
    pub poison: BTreeMap<Given, String>,
    /// How each parked record stands.
    pub parked: BTreeMap<Given, Parked>,
    /// Records that have failed and are not dealt with. One that only waits may have been handled
    /// before it was delivered again.
    pub failed: BTreeMap<Given, Failed>,
    /// When each parked record that waits for its next try is due.
    pub due: BTreeMap<Given, Duration>,
    /// From when on they are tried when they are due; never where clocks were set, since the time is
    /// written by one process and read by another.
    pub punctual_from: Option<Duration>,
    /// Records that have failed for good at some time.
    pub failed_for_good: BTreeSet<Given>,
    /// Records that were given up by an operator before they had failed for good.
    pub given_up_early: BTreeSet<Given>,
    /// Orders of which an event has failed, in whichever service.
    pub own_failures: BTreeSet<OrderId>,
    /// Second copies of events that were written by somebody else: nobody misses them.
    pub copies: BTreeSet<(Partition, Offset)>,
    /// Poison that an operator may have put something better in place of.
    pub mended: BTreeSet<Given>,
    /// Documents that nobody could read for a while.
    pub spoilt: BTreeSet<Uuid>,
    /// Partitions were added: keys have moved.
    pub partitions_added: bool,
    /// From where on partitions have lost records that they had confirmed.
    pub lost_from: BTreeMap<Partition, Offset>,
    /// Events that the log has refused, perhaps for a while: later ones may stand before them.
    pub refused: BTreeSet<String>,
    /// How often each event stands in the log, where it is more than once.
    pub repeated: BTreeMap<String, u32>,
    /// Where each event stands, by its id.
    pub places: BTreeMap<String, Vec<Place>>,
    /// What broke at once.
    pub violations: Vec<Violation>,
    /// When an order became final last of which no event had failed.
    pub last_final: Duration,
    /// When one did of which an event had failed.
    pub last_final_of_failed: Duration,
    /// Records with an event that stood in the log before.
    pub duplicates: u64,
}

/// Collects it.
pub struct Observer {
    seen: Mutex<Seen>,
    timeline: Arc<Timeline>,
}

impl Observer {
    /// Nothing seen yet.
    pub fn new(timeline: Arc<Timeline>) -> Arc<Observer> {
        Arc::new(Observer {
            seen: Mutex::default(),
            timeline,
        })
    }

    /// Looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut lock(&self.seen))
    }

    /// Something broke.
    pub fn violated(&self, violation: Violation) {
        self.timeline.add("VIOLATION", || violation.to_string());
        self.with(|seen| seen.violations.push(violation));
    }

    fn judge(&self, seen: &mut Seen, judged: Result<(), Violation>) {
        if let Err(violation) = judged {
            self.timeline.add("VIOLATION", || violation.to_string());
            seen.violations.push(violation);
        }
    }
}

fn read<D: Document>(raw: &StoredDocument) -> D {
    decode::<D>(raw)
        .map(|stored| stored.document)
        .expect("a service writes what it can read")
}

impl store::Observer for Observer {
    fn committed(&self, group: &'static str, changed: &[store::Changed]) {
        let now = self.timeline.now();
        let mut seen = lock(&self.seen);
        let mut decided = BTreeMap::<CustomerId, Decided>::new();
        for change in changed {
            let (_, events) = outbox(&change.after).expect("a service writes what it can read");
            // A dead letter is judged as what it is, and where it stands.
            for event in events.iter().filter(|event| event.letter.is_none()) {
                let record = event.record(TOPIC);
                seen.announced.entry(event.id.to_string()).or_insert(record);
            }
            match change.key.collection {
                "orders" => {
                    let order: Order = read(&change.after);
                    let before = seen.orders.insert(order.id, order.clone());
                    if order.status.is_final()
                        && before.as_ref().is_none_or(|before| !before.status.is_final())
                    {
                        match seen.own_failures.contains(&order.id) {
                            true => seen.last_final_of_failed = now,
                            false => seen.last_final = now,
                        }
                    }
                    self.timeline.add("orders db", || {
                        format!(
                            "order {} is {} {:?}",
                            order.id,
                            order.status.as_str(),
                            order.reason
                        )
                    });
                    let judged = always::order(&seen, before.as_ref(), &order);
                    self.judge(&mut seen, judged);
                }
                "customers" => {
                    let customer: Customer = read(&change.after);
                    let before = seen.customers.insert(customer.id, customer.clone());
                    let states = seen.states.entry(customer.id).or_default();
                    states.push((now, customer.clone()));
                    let decided = of(&mut decided, &seen, customer.id, now);
                    let already = before.as_ref().map_or(0, |before| before.limit_changes);
                    decided.limits = limits(&events, already, &customer);
                    decided.written = true;
                    decided.customer = (before, Some(customer));
                }
                "parked" => {
                    let parked: ParkedRecord = read(&change.after);
                    self.timeline.add("parked", || {
                        format!(
                            "{}/{} of {group} is {} {:?}",
                            parked.partition,
                            parked.offset,
                            parked.state.as_str(),
                            parked.reason
                        )
                    });
                    let given = (group.to_owned(), parked.partition, parked.offset);
                    let subject = subject(&parked.as_it_came());
                    if parked.state.is_open() && parked.state != ParkedState::Waiting {
                        seen.failed.insert(given.clone(), Failed { subject });
                    } else {
                        seen.failed.remove(&given);
                    }
                    if parked.attempts > 0 {
                        seen.own_failures.extend(subject);
                    }
                    let due = seen.due.remove(&given);
                    if let (Some(due), Some(from)) = (due, seen.punctual_from) {
                        let judged = always::in_time(&given, due.max(from), now);
                        self.judge(&mut seen, judged);
                    }
                    if let Some(pause) = pause(&parked) {
                        seen.due.insert(given.clone(), now + pause);
                    }
                    let now = Parked {
                        state: parked.state,
                        asked: asked(&parked),
                    };
                    if now.state == ParkedState::Discarded && !seen.failed_for_good.contains(&given) {
                        seen.given_up_early.insert(given.clone());
                    }
                    if now.state == ParkedState::Parked {
                        seen.failed_for_good.insert(given.clone());
                    }
                    let judged = always::parked(&given, now);
                    self.judge(&mut seen, judged);
                    seen.parked.insert(given, now);
                }
                _ => {
                    let reservation: Reservation = read(&change.after);
                    let before = seen.reservations.insert(reservation.id, reservation.clone());
                    if before.is_none() {
                        let judged = always::in_turn(&seen, &reservation, group)
                            .and_then(|()| always::not_discarded(&seen, &reservation, group));
                        self.judge(&mut seen, judged);
                    }
                    self.timeline.add("customers db", || {
                        let Reservation {
                            id, amount, state, ..
                        } = &reservation;
                        format!("reservation {id} of {amount} is {state:?}")
                    });
                    of(&mut decided, &seen, reservation.customer_id, now)
                        .reservations
                        .push((before, reservation));
                }
            }
        }
        for decided in decided.into_values() {
            let judged = always::decided(&seen, &decided);
            self.judge(&mut seen, judged);
            seen.decided.push(decided);
        }
    }
}

/// What is decided about this customer; until it turns out otherwise it was not written itself.
fn of<'a>(
    decided: &'a mut BTreeMap<CustomerId, Decided>,
    seen: &Seen,
    id: CustomerId,
    at: Duration,
) -> &'a mut Decided {
    decided.entry(id).or_insert_with(|| {
        let customer = seen.customers.get(&id).cloned();
        Decided {
            customer_id: id,
            written: false,
            customer: (customer.clone(), customer),
            reservations: Vec::new(),
            limits: Vec::new(),
            at,
        }
    })
}

/// The limits that this commit has set, of those announced in the document.
fn limits(events: &[shared::envelope::OutboxEvent], already: i64, customer: &Customer) -> Vec<Money> {
    let changes = usize::try_from(customer.limit_changes - already).unwrap_or(0);
    let announced: Vec<_> = events
        .iter()
        .filter_map(|event| events::read::<contracts::CreditLimitChanged>(&event.data).ok())
        .map(|event| event.credit_limit)
        .collect();
    announced[announced.len().saturating_sub(changes)..].to_vec()
}

impl log::Observer for Observer {
    fn refused(&self, record: &Record) {
        let id = event_id(record);
        self.timeline.add("log", || format!("refuses {id:?}"));
        lock(&self.seen).refused.extend(id);
    }

    fn appended(&self, position: &Position, record: &Record) {
        let mut seen = lock(&self.seen);
        if *position.topic == *dead_letter_topic(TOPIC) {
            let (given, reason) = given_up(record);
            self.timeline
                .add("log", || format!("dead letter {given:?}: {reason}"));
            seen.dead_letters.insert(given, reason);
            return;
        }
        self.timeline.add("log", || {
            let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"(none)"));
            format!("{position}: {value}")
        });
        seen.log.push((position.clone(), record.clone()));
        let id = event_id(record).unwrap_or_else(|| position.to_string());
        let place = (position.clone(), record.key.clone());
        seen.places.entry(id).or_default().push(place);
        if let Some(id) = event_id(record) {
            if !seen.announced.contains_key(&id) {
                let judged = Err(always::published(&id, position));
                self.judge(&mut seen, judged);
            }
            if !seen.published.insert(id.clone()) {
                seen.duplicates += 1;
                *seen.repeated.entry(id).or_insert(1) += 1;
            }
        }
        note(&mut seen, position, record, self.timeline.now());
    }
}
