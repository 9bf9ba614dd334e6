//! What the log says, kept small: of each subject a trace of the events about it. Every event of the
//! list is read and judged alike; the list is that of the contracts.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use contracts::{CancelReason, OrderCancelled, OrderCreated, OrderShipped, OrderValidated};
use shared::{
    envelope::Received,
    environment::Timestamp,
    event_log::{ConsumedRecord, Header},
    events::{About, Event, EventId, EventType},
    json::{Amount, Fields, Limit},
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

/// Who handles what, of the two services whose parked records are audited. Other events nobody gives up.
const HANDLED: [(&str, Reader); 3] = [
    (OrderCreated::NAME, Reader::Customers),
    (OrderCancelled::NAME, Reader::Customers),
    (OrderValidated::NAME, Reader::Orders),
];

/// What stands before what, even where the later one names another cause or none.
const CAUSES: [(&str, &str); 4] = [
    (OrderCreated::NAME, OrderValidated::NAME),
    (OrderCreated::NAME, OrderCancelled::NAME),
    (OrderValidated::NAME, OrderShipped::NAME),
    (OrderValidated::NAME, OrderCancelled::NAME),
];

/// The numbers of occasions that an event's id may be made of. An event does not say its number.
const OCCASIONS: std::ops::RangeInclusive<i64> = 1..=100_000;

/// An event as it was first seen.
#[derive(Clone, Debug)]
pub struct Announced {
    /// Its name.
    pub name: &'static str,
    /// Its id; none of another writer, whose records of one name count as one.
    pub id: Option<EventId>,
    /// Where its first record stands.
    pub place: Place,
    /// Written by our services: it names its id and its source.
    pub ours: bool,
    /// Of key, value and headers.
    digest: u64,
    /// The event that it names as its cause.
    cause: Option<EventId>,
    /// When it happened, where it says so.
    pub time: Option<Timestamp>,
    /// Whose its subject is, where it says so.
    pub customer: Option<Uuid>,
    /// About how much, where it says so.
    pub amount: Option<Money>,
    /// Whether the order is valid; only of `OrderValidated`.
    pub valid: bool,
    /// Why not, or why cancelled.
    pub reason: Option<CancelReason>,
}

/// The events about one subject, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Trace(Vec<Announced>);

impl Trace {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Announced> {
        self.0.iter()
    }

    /// Those of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Announced> {
        self.iter().filter(move |event| event.name == name)
    }

    /// The first of this name.
    pub fn first(&self, name: &str) -> Option<&Announced> {
        self.all(name).next()
    }

    /// The one of our services with this id.
    pub fn get(&self, id: EventId) -> Option<&Announced> {
        self.iter().find(|event| event.ours && event.id == Some(id))
    }
}

/// The events about all subjects of one kind.
pub type Traces = HashMap<Uuid, Trace>;

/// All that was read from the topic.
#[derive(Debug, Default)]
pub struct LogFacts {
    events: &'static [EventType],
    /// By the field that names the subject, such as `order_id`.
    traces: BTreeMap<String, Traces>,
    /// Records that a reader has to give up, with the reason that it has to give.
    pub poison: BTreeMap<(Reader, Place), &'static str>,
    /// Records for Orders by other writers, by place, with the order that they are about. Which of the
    /// orders exist is not known from the log alone.
    pub strays: BTreeMap<Place, Uuid>,
    /// Records read.
    pub records: u64,
    /// Records that repeat an earlier one.
    pub duplicates: u64,
    /// Records of another writer than our services.
    pub foreign: u64,
    /// Records without a value. Compacted topics have them; they say nothing.
    pub tombstones: u64,
    /// The oldest records are gone: what is missing cannot be told from what was removed.
    pub cut: bool,
}

impl LogFacts {
    /// Nothing read yet; these events are known.
    pub fn of(events: &'static [EventType]) -> LogFacts {
        LogFacts {
            events,
            ..LogFacts::default()
        }
    }

    /// Takes out the traces of subjects that are named by this field.
    pub fn take_traces(&mut self, field: &str) -> Traces {
        self.traces.remove(field).unwrap_or_default()
    }

    /// Takes a record in.
    pub fn take(&mut self, record: &ConsumedRecord, found: &mut Differences) {
        self.records += 1;
        if record.value.is_none() {
            self.tombstones += 1;
            return;
        }
        let place = (record.position.partition, record.position.offset);
        let Ok(received) = Received::read(record) else {
            for reader in [Reader::Customers, Reader::Orders] {
                self.poison.insert((reader, place), "malformed-envelope");
            }
            return;
        };
        let ours = header(record, "ce_id").is_some() && header(record, "ce_source").is_some();
        self.foreign += u64::from(!ours);
        let Some(known) = EventType::named(self.events, &received.name) else {
            return;
        };
        let reader = HANDLED.iter().find(|(name, _)| *name == known.name);
        let reader = reader.map(|(_, reader)| *reader);
        let about = match known.about(&received.data) {
            Ok(about) if known.name == OrderCancelled::NAME && customer(&about).is_none() => {
                Err("no-customer")
            }
            about => about.map_err(|_| "malformed-event"),
        };
        let about = match about {
            Ok(about) => about,
            Err(reason) => {
                self.poison.extend(reader.map(|reader| ((reader, place), reason)));
                return;
            }
        };
        let Some((field, subject)) = about.fields().next() else {
            return;
        };
        if !ours && reader == Some(Reader::Orders) {
            self.strays.insert(place, *subject);
        }
        let announced = Announced::read(record, &received, known.name, (ours, &about));
        let traces = self.traces.entry(field.to_owned()).or_default();
        let Trace(trace) = traces.entry(*subject).or_default();
        let of_name = |first: &&Announced| first.name == announced.name;
        let is_same = |first: &&Announced| first.ours == announced.ours && first.id == announced.id;
        let first = trace.iter().filter(of_name).find(is_same);
        // Another writer's event has no id by which it would be the same, so its name has to do.
        let by_name = trace.iter().filter(of_name).any(|first| !(first.ours && ours));
        self.duplicates += u64::from(first.is_some() || by_name);
        if ours {
            let key = (record.key.as_deref(), &about);
            let fault = i7_id_and_key_are_those_of_the_event(&announced, first.is_some(), key);
            let differs = first.filter(|first| first.digest != announced.digest);
            let differs =
                differs.map(|first| format!("differs from its first record at {}", at(first.place)));
            let fault = fault.or(differs);
            let fault = fault.map(|fault| format!("{fault}; look at {}", at(place)));
            found.check(
                Invariant::AnnouncedIsInLog,
                format_args!("event {}", received.event_id),
                fault,
            );
        }
        if first.is_none() {
            trace.push(announced);
        }
    }

    /// Judges the order of events, of every subject.
    pub fn check(&self, found: &mut Differences) {
        for (field, traces) in &self.traces {
            let kind = field.trim_end_matches("_id");
            for (subject, trace) in traces {
                i8_events_stand_in_causal_order(&format!("{kind} {subject}"), trace, found);
            }
        }
    }
}

impl Announced {
    fn read(
        record: &ConsumedRecord,
        received: &Received,
        name: &'static str,
        (ours, about): (bool, &About),
    ) -> Announced {
        let id = |text: &str| text.parse().ok().map(EventId);
        let mut hasher = DefaultHasher::new();
        (&record.key, &record.value).hash(&mut hasher);
        for Header { name, value } in &record.headers {
            (name, value).hash(&mut hasher);
        }
        // Fields that many events have; that they are right was seen when the event was read.
        let mut fields = Fields::parse(received.data.as_bytes()).expect("it was read as an event");
        let amount = fields.optional::<Amount>("amount").flatten();
        let limit = fields.optional::<Limit>("creditLimit").flatten();
        Announced {
            name,
            id: id(&received.event_id),
            place: (record.position.partition, record.position.offset),
            ours,
            digest: hasher.finish(),
            cause: header(record, "ce_causationid").and_then(id),
            time: header(record, "ce_time").and_then(Timestamp::parse),
            customer: customer(about),
            amount: amount.or(limit),
            valid: fields.optional::<bool>("isValid").flatten().unwrap_or_default(),
            reason: fields.optional::<CancelReason>("reason").flatten(),
        }
    }
}

fn header<'a>(record: &'a ConsumedRecord, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    str::from_utf8(header.value.as_deref()?).ok()
}

/// Whose the subject is: the key, where that is not the subject itself.
fn customer(about: &About) -> Option<Uuid> {
    about.key().filter(|key| about.subject() != Some(*key))
}

fn at((partition, offset): Place) -> String {
    format!("partition {partition}, offset {offset}")
}

fn i7_id_and_key_are_those_of_the_event(
    event: &Announced,
    known: bool,
    (key, about): (Option<&[u8]>, &About),
) -> Option<String> {
    let subject = about.subject()?;
    let right = |number| event.id == Some(EventId::of(subject, event.name, number));
    if event.id.is_none() || !known && !OCCASIONS.into_iter().any(right) {
        let first = EventId::of(subject, event.name, 1);
        return Some(format!(
            "its id should be made of {subject} and {}, as {first} is",
            event.name
        ));
    }
    let right = about.key().map(|key| key.to_string())?;
    (key != Some(right.as_bytes())).then(|| format!("its key should be {right}"))
}

/// A writer without keys spreads records over partitions, where no order is kept: only ours are judged.
fn i8_events_stand_in_causal_order(about: &str, trace: &Trace, found: &mut Differences) {
    let ours = || trace.iter().filter(|event| event.ours);
    for event in ours() {
        for (number, other) in ours().enumerate().filter(|(_, other)| other.place != event.place) {
            let by_customer = event.reason == Some(CancelReason::CancelledByCustomer);
            let caused = event.cause.is_some() && event.cause == other.id
                || CAUSES.contains(&(other.name, event.name))
                    && !(by_customer && other.name == OrderValidated::NAME);
            // What is its own key lives long, and moves when partitions are added.
            let beside_the_first = number == 0 && event.customer.is_some();
            if !caused && !beside_the_first {
                continue;
            }
            let (name, other_name) = (event.name, other.name);
            let ((partition, offset), (other_partition, other_offset)) = (event.place, other.place);
            let fault = if partition != other_partition {
                Some(format!(
                    "{name} stands in partition {partition}, {other_name} in {other_partition}"
                ))
            } else if caused && offset < other_offset {
                Some(format!(
                    "{name} stands before {other_name}: partition {partition}, offsets {offset} and {other_offset}"
                ))
            } else {
                None
            };
            found.check(Invariant::CauseBeforeEffect, about, fault);
        }
    }
}

#[cfg(test)]
mod tests;
