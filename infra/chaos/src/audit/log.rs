//! What the log says, kept small: for each order and customer a trace of the events about it.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use contracts::{
    self, CancelReason, CreditLimitChanged, CustomerCreated, OrderCancelled, OrderCreated, OrderShipped,
    OrderValidated,
};
use rdkafka::message::{BorrowedMessage, Message as _};
use shared::{
    envelope::Received,
    environment::Timestamp,
    event_log::{ConsumedRecord, Header, kafka::consumed},
    events::{self, Event, EventId},
    money::Money,
};
use uuid::Uuid;

use super::differences::{Differences, Invariant};

/// Where a record stands: partition, offset.
pub type Place = (i32, i64);

/// Which service handles, and so gives up, a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// The Customers service.
    Customers,
    /// The Orders service.
    Orders,
}

/// An event as it was first seen.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Where its first record stands.
    pub place: Place,
    /// Written by our services: it names its id and its source.
    pub ours: bool,
    /// Of key, value and headers.
    digest: u64,
    /// Records beside the first.
    pub copies: u32,
    /// When it happened, where it says so.
    pub time: Option<Timestamp>,
    /// Whom it is about, where it says so.
    pub customer: Option<Uuid>,
    /// About how much, where it says so.
    pub amount: Option<Money>,
    /// Whether the order is valid; only of `OrderValidated`.
    pub valid: bool,
    /// Why not, or why cancelled.
    pub reason: Option<CancelReason>,
}

/// The events about one order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// `OrderCreated`.
    pub created: Option<Announced>,
    /// `OrderValidated`.
    pub validated: Option<Announced>,
    /// `OrderShipped`.
    pub shipped: Option<Announced>,
    /// `OrderCancelled`.
    pub cancelled: Option<Announced>,
}

/// The events about one customer.
#[derive(Clone, Debug, Default)]
pub struct CustomerTrace {
    /// `CustomerCreated`.
    pub created: Option<Announced>,
    /// Each `CreditLimitChanged`, by event id.
    pub limits: BTreeMap<EventId, Announced>,
}

/// All that was read from the topic.
#[derive(Debug, Default)]
pub struct LogFacts {
    /// By order id.
    pub orders: HashMap<Uuid, Trace>,
    /// By customer id.
    pub customers: HashMap<Uuid, CustomerTrace>,
    /// Records that a reader has to give up, with the reason that it has to give.
    pub poison: BTreeMap<(Reader, Place), &'static str>,
    /// Validations by other writers, by place, with the order that they are about. Which of the orders
    /// exist is not known from the log alone.
    pub strays: BTreeMap<Place, Uuid>,
    /// Records read.
    pub records: u64,
    /// Records that repeat an earlier one.
    pub duplicates: u64,
    /// Records of another writer than our services.
    pub foreign: u64,
    /// Records without a value. Compacted topics have them; they say nothing.
    pub tombstones: u64,
    /// Records of an event name that nobody knows.
    pub unknown: u64,
    /// The oldest records are gone: what is missing cannot be told from what was removed.
    pub cut: bool,
}

impl LogFacts {
    /// Takes a record in.
    pub fn take(&mut self, message: &BorrowedMessage<'_>, found: &mut Differences) {
        self.records += 1;
        if message.payload().is_none() {
            self.tombstones += 1;
            return;
        }
        let record = consumed(message, message.topic().into(), 0);
        let place = (message.partition(), message.offset());
        let Ok(received) = Received::read(&record) else {
            for reader in [Reader::Customers, Reader::Orders] {
                self.poison.insert((reader, place), "malformed-envelope");
            }
            return;
        };
        let seen = Seen::of(&record, &received, place);
        if !seen.ours {
            self.foreign += 1;
        }
        let malformed = match received.name.as_str() {
            OrderCreated::NAME => self.created(&received.data, seen, found),
            OrderValidated::NAME => self.validated(&received.data, seen, found),
            OrderShipped::NAME => self.shipped(&received.data, seen, found),
            OrderCancelled::NAME => self.cancelled(&received.data, seen, found),
            CustomerCreated::NAME => self.customer_created(&received.data, seen, found),
            CreditLimitChanged::NAME => self.limit_changed(&received.data, seen, found),
            _ => {
                self.unknown += 1;
                None
            }
        };
        if let Some((reader, reason)) = malformed {
            self.poison.insert((reader, place), reason);
        }
    }

    fn created(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        let Ok(event) = events::read::<OrderCreated>(data) else {
            return Some((Reader::Customers, "malformed-event"));
        };
        let announced = Announced {
            customer: Some(event.customer_id.0),
            amount: Some(event.amount),
            ..seen.announced(false, None)
        };
        let id = EventId::of(event.id, OrderCreated::NAME, 1);
        let trace = &mut self.orders.entry(event.id.0).or_default().created;
        self.duplicates += merge(trace, announced, &seen, id, found);
        None
    }

    fn validated(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        let Ok(event) = events::read::<OrderValidated>(data) else {
            return Some((Reader::Orders, "malformed-event"));
        };
        let announced = Announced {
            customer: event.customer_id.map(Into::into),
            amount: event.amount,
            ..seen.announced(event.is_valid, event.reason.map(Into::into))
        };
        if !seen.ours {
            self.strays.insert(seen.place, event.order_id.0);
        }
        let id = EventId::of(event.order_id, OrderValidated::NAME, 1);
        let trace = &mut self.orders.entry(event.order_id.0).or_default().validated;
        self.duplicates += merge(trace, announced, &seen, id, found);
        None
    }

    fn shipped(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        // Nobody handles it, so nobody gives it up.
        let event = events::read::<OrderShipped>(data).ok()?;
        let announced = Announced {
            customer: event.customer_id.map(Into::into),
            amount: event.amount,
            ..seen.announced(false, None)
        };
        let id = EventId::of(event.id, OrderShipped::NAME, 2);
        let trace = &mut self.orders.entry(event.id.0).or_default().shipped;
        self.duplicates += merge(trace, announced, &seen, id, found);
        None
    }

    fn cancelled(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        let Ok(event) = events::read::<OrderCancelled>(data) else {
            return Some((Reader::Customers, "malformed-event"));
        };
        if event.customer_id.is_none() {
            return Some((Reader::Customers, "no-customer"));
        }
        let announced = Announced {
            customer: event.customer_id.map(Into::into),
            amount: event.amount,
            ..seen.announced(false, event.reason)
        };
        let id = EventId::of(event.id, OrderCancelled::NAME, 2);
        let trace = &mut self.orders.entry(event.id.0).or_default().cancelled;
        self.duplicates += merge(trace, announced, &seen, id, found);
        None
    }

    fn customer_created(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        let event = events::read::<CustomerCreated>(data).ok()?;
        let announced = Announced {
            customer: Some(event.id.0),
            amount: Some(event.credit_limit),
            ..seen.announced(false, None)
        };
        let id = EventId::of(event.id, CustomerCreated::NAME, 1);
        let trace = &mut self.customers.entry(event.id.0).or_default().created;
        self.duplicates += merge(trace, announced, &seen, id, found);
        None
    }

    fn limit_changed(&mut self, data: &str, seen: Seen, found: &mut Differences) -> Poison {
        let event = events::read::<CreditLimitChanged>(data).ok()?;
        // How often it was changed is not said by the event, only by its id.
        let id = seen.event_id.parse().map(EventId).ok()?;
        let announced = Announced {
            customer: Some(event.customer_id.0),
            amount: Some(event.credit_limit),
            ..seen.announced(false, None)
        };
        let limits = &mut self.customers.entry(event.customer_id.0).or_default().limits;
        let mut trace = limits.remove(&id);
        self.duplicates += merge(&mut trace, announced, &seen, id, found);
        limits.extend(trace.map(|trace| (id, trace)));
        None
    }
}

type Poison = Option<(Reader, &'static str)>;

/// What a record says beside its content.
struct Seen {
    place: Place,
    event_id: String,
    ours: bool,
    digest: u64,
    time: Option<Timestamp>,
    key: Option<Vec<u8>>,
}

impl Seen {
    fn of(record: &ConsumedRecord, received: &Received, place: Place) -> Seen {
        let header = |name: &str| record.headers.iter().find(|header| header.name == name);
        let text = |name| header(name).and_then(|header| str::from_utf8(header.value.as_deref()?).ok());
        let mut hasher = DefaultHasher::new();
        (&record.key, &record.value).hash(&mut hasher);
        for Header { name, value } in &record.headers {
            (name, value).hash(&mut hasher);
        }
        Seen {
            place,
            event_id: received.event_id.clone(),
            ours: text("ce_id").is_some() && text("ce_source").is_some(),
            digest: hasher.finish(),
            time: text("ce_time").and_then(Timestamp::parse),
            key: record.key.clone(),
        }
    }

    fn announced(&self, valid: bool, reason: Option<CancelReason>) -> Announced {
        Announced {
            place: self.place,
            ours: self.ours,
            digest: self.digest,
            copies: 0,
            time: self.time,
            customer: None,
            amount: None,
            valid,
            reason,
        }
    }
}

/// I7: one event has one id and one content, however often it is announced. Says how many records
/// repeat an earlier one.
fn merge(
    known: &mut Option<Announced>,
    announced: Announced,
    seen: &Seen,
    id: EventId,
    found: &mut Differences,
) -> u64 {
    let (partition, offset) = seen.place;
    let here = format!("partition {partition}, offset {offset}");
    if seen.ours {
        let other_id = seen.event_id != id.to_string();
        let key = announced
            .customer
            .map(|customer| customer.to_string().into_bytes());
        let fault = if other_id {
            Some(format!("its id should be {id}; look at {here}"))
        } else if key.is_some() && key != seen.key {
            Some(format!("its key should be its customer id; look at {here}"))
        } else {
            None
        };
        found.check(
            Invariant::AnnouncedIsInLog,
            format_args!("event {}", seen.event_id),
            fault,
        );
    }
    let Some(known) = known else {
        *known = Some(announced);
        return 0;
    };
    known.copies += 1;
    if seen.ours && known.ours {
        let (partition, offset) = known.place;
        let fault = (known.digest != announced.digest).then(|| {
            format!("differs from its first record at partition {partition}, offset {offset}; look at {here}")
        });
        found.check(
            Invariant::AnnouncedIsInLog,
            format_args!("event {}", seen.event_id),
            fault,
        );
    }
    1
}
