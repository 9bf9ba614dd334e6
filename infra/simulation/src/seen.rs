//! Everything that became durable, in the order in which it did. What has to hold at every moment is
//! judged here at once; the rest at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use customers::domain::{Customer, Reservation};
use mongodb::bson::RawDocumentBuf;
use orders::domain::Order;
use shared::{
    contracts::{
        self, CustomerId, Event, OrderCancelled, OrderCreated, OrderId, OrderValidated, TOPIC,
        dead_letter_topic,
    },
    document_store::{Document, decode, outbox},
    envelope::Received,
    event_log::{ConsumedRecord, Offset, Partition, Position, Record},
    money::Money,
    parking::{LaneId, ParkedRecord, ParkedState},
};

use crate::{
    invariants::{Violation, always},
    lock, log, store,
    timeline::Timeline,
};

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

/// Where a record stands, and in which lane of its partition.
pub type Place = (Position, LaneId);

/// Who had to give a record up, and where that stood.
pub type Given = (String, Partition, Offset);

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
    pub parked: BTreeMap<Given, ParkedState>,
    /// The lanes of records that have failed and are not dealt with. One that only waits may have been
    /// handled before it was delivered again.
    pub failed: BTreeMap<Given, LaneId>,
    /// Where each event stands, by its id.
    pub places: BTreeMap<String, Vec<Place>>,
    /// What broke at once.
    pub violations: Vec<Violation>,
    /// When an order became final last.
    pub last_final: Duration,
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

fn read<D: Document>(raw: &RawDocumentBuf) -> D {
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
            for event in &events {
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
                        seen.last_final = now;
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
                    if parked.state.is_open() && parked.state != ParkedState::Waiting {
                        seen.failed.insert(given.clone(), parked.lane);
                    } else {
                        seen.failed.remove(&given);
                    }
                    seen.parked.insert(given, parked.state);
                }
                _ => {
                    let reservation: Reservation = read(&change.after);
                    let before = seen.reservations.insert(reservation.id, reservation.clone());
                    if before.is_none() {
                        let judged = always::in_turn(&seen, &reservation, group);
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
        .filter_map(|event| contracts::read::<contracts::CreditLimitChanged>(&event.data).ok())
        .map(|event| event.credit_limit)
        .collect();
    announced[announced.len().saturating_sub(changes)..].to_vec()
}

impl log::Observer for Observer {
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
        let place = (position.clone(), lane(position, record));
        seen.places.entry(id).or_default().push(place);
        if let Some(id) = event_id(record) {
            if !seen.announced.contains_key(&id) {
                let judged = Err(always::published(&id, position));
                self.judge(&mut seen, judged);
            }
            seen.duplicates += u64::from(!seen.published.insert(id));
        }
        note(&mut seen, position, record, self.timeline.now());
    }
}

fn received(position: &Position, record: &Record) -> Option<Received> {
    let consumed = ConsumedRecord {
        position: position.clone(),
        generation: 0,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Vec::new(),
    };
    Received::read(&consumed).ok()
}

/// The lane of a record about an order; any other is alone.
fn lane(position: &Position, record: &Record) -> LaneId {
    let subject = received(position, record).and_then(|received| match received.name.as_str() {
        OrderCreated::NAME => contracts::read::<OrderCreated>(&received.data).ok()?.subject(),
        OrderValidated::NAME => contracts::read::<OrderValidated>(&received.data).ok()?.subject(),
        OrderCancelled::NAME => contracts::read::<OrderCancelled>(&received.data).ok()?.subject(),
        _ => None,
    });
    match subject {
        Some(subject) => LaneId::of(&position.topic, position.partition, subject),
        None => LaneId::alone(position),
    }
}

/// What a record says first of an order.
fn note(seen: &mut Seen, position: &Position, record: &Record, now: Duration) {
    let Some(received) = received(position, record) else {
        return;
    };
    match received.name.as_str() {
        OrderCreated::NAME => {
            if let Ok(event) = contracts::read::<OrderCreated>(&received.data) {
                seen.created_at.entry(event.id).or_insert(now);
                seen.created.entry(event.id).or_insert((position.clone(), event));
            }
        }
        OrderCancelled::NAME => {
            if let Ok(event) = contracts::read::<OrderCancelled>(&received.data)
                && event.customer_id.is_some()
            {
                seen.cancelled.entry(event.id).or_insert(position.clone());
            }
        }
        OrderValidated::NAME => {
            if let Ok(event) = contracts::read::<OrderValidated>(&received.data) {
                seen.validated.entry(event.order_id).or_insert(event);
            }
        }
        _ => {}
    }
}

/// The id of an event that a service has written.
pub fn event_id(record: &Record) -> Option<String> {
    header(record, "ce_id")
}

/// A header as text.
pub fn header(record: &Record, name: &str) -> Option<String> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    String::from_utf8(header.value.clone()?).ok()
}

fn given_up(record: &Record) -> (Given, String) {
    let text = |name| header(record, name).unwrap_or_default();
    let given = (
        text("dl-group"),
        text("dl-partition").parse().unwrap_or(-1),
        text("dl-offset").parse().unwrap_or(-1),
    );
    (given, text("dl-reason"))
}
