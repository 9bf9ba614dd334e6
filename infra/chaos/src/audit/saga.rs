//! The invariants of one order, each a function named after it. They are given what is known of the
//! order from all sides: its document, its reservation, its events.

use std::time::Duration;

use contracts::{CancelReason, CustomerId, OrderCancelled, OrderCreated, OrderStatus, OrderValidated};
use shared::{
    environment::Timestamp,
    events::{Event as _, EventId},
    money::Money,
};
use uuid::Uuid;

use super::{
    database::{OrderRow, Pending, ReservationRow, ReservationState},
    differences::{Differences, Invariant},
    log::{Announced, Trace},
};

/// When, and how strictly, it is looked.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The moment of the snapshot.
    pub now: Timestamp,
    /// What was touched within this time before is under way and not expected to be complete.
    pub grace: Duration,
    /// The oldest records of the log are gone: nothing that is missing there is a difference.
    pub log_cut: bool,
}

impl View {
    /// Whether this happened so recently that more is still to come of it.
    pub fn is_recent(&self, moment: Timestamp) -> bool {
        self.now.since(moment) < self.grace
    }
}

/// All that is known about an order.
pub struct Saga<'a> {
    /// Its id.
    pub id: Uuid,
    /// Of Orders.
    pub order: Option<&'a OrderRow>,
    /// Of Customers.
    pub reservation: Option<&'a ReservationRow>,
    /// Of the log.
    pub trace: &'a Trace,
}

impl Saga<'_> {
    /// Whether all that was to come of it should have come.
    pub fn is_settled(&self, view: &View) -> bool {
        let documents = [
            self.order.map(|order| order.updated_at),
            self.reservation.map(|reservation| reservation.updated_at),
        ];
        let events = self.trace.iter().filter_map(|event| event.time);
        !documents
            .into_iter()
            .flatten()
            .chain(events)
            .any(|moment| view.is_recent(moment))
    }

    /// Whether another writer (a C# service) has announced it, so that our Orders need not know it.
    fn is_foreign(&self) -> bool {
        let created = self.trace.first(OrderCreated::NAME);
        self.order.is_none() && created.is_some_and(|created| !created.ours)
    }

    fn about(&self) -> String {
        format!("order {}", self.id)
    }
}

/// All invariants of one order.
pub fn check(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    i3_held_reservations_are_shipped_orders(saga, view, found);
    i5_orders_become_final(saga, view, found);
    i6_a_final_order_has_its_reason_and_never_changes(saga, view, found);
    i7_every_event_is_in_the_log(saga, view, found);
    i9_no_outbox_is_left(saga, view, found);
    i10_no_effect_without_its_cause(saga, view, found);
}

fn i3_held_reservations_are_shipped_orders(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    if saga.is_foreign() || (saga.order.is_none() && saga.reservation.is_none()) {
        return;
    }
    let held = saga
        .reservation
        .filter(|reservation| reservation.state == ReservationState::Held);
    let shipped = saga.order.filter(|order| order.status == OrderStatus::Shipped);
    let fault = match (held, shipped) {
        (Some(held), Some(shipped)) if held.amount != shipped.amount => Some(format!(
            "shipped for {}, but {} is reserved",
            shipped.amount, held.amount
        )),
        (Some(held), Some(shipped)) if held.customer_id != shipped.customer_id => Some(format!(
            "shipped to customer {}, but reserved for {}",
            shipped.customer_id, held.customer_id
        )),
        (Some(_), Some(_)) | (None, None) => None,
        (Some(held), None) if saga.is_settled(view) => Some(format!(
            "{} is reserved, but the order is {}",
            held.amount,
            saga.order.map_or("not there", |order| order.status.as_str())
        )),
        (Some(_), None) => None,
        (None, Some(shipped)) => Some(match saga.reservation {
            Some(other) => format!(
                "shipped for {}, but its reservation is {:?}",
                shipped.amount, other.state
            ),
            None => format!("shipped for {}, but there is no reservation", shipped.amount),
        }),
    };
    found.check(
        Invariant::HeldIsShipped,
        saga.about(),
        look(fault, "orders, reservations"),
    );
}

fn i5_orders_become_final(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    let Some(order) = saga.order else { return };
    let open = !order.status.is_final() && !view.is_recent(order.created_at);
    let fault = open.then(|| {
        let age = view.now.since(order.created_at).as_secs();
        let first = |name| saga.trace.first(name);
        let next = match (
            first(OrderCreated::NAME),
            saga.reservation,
            first(OrderValidated::NAME),
        ) {
            (None, _, _) => "its OrderCreated is not in the log",
            (_, None, _) => "Customers has not decided about it",
            (_, Some(_), None) => "its OrderValidated is not in the log",
            (_, _, Some(_)) => "Orders has not taken in its OrderValidated",
        };
        let status = order.status.as_str();
        format!("should be final, is {status} since {age} s: {next}")
    });
    found.check(Invariant::FinalInTime, saga.about(), look(fault, "orders"));
}

fn i6_a_final_order_has_its_reason_and_never_changes(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    let ends = OrderStatus::ALL.into_iter().filter(|status| status.is_final());
    let ends: Vec<_> = ends
        .filter(|end| saga.trace.first(end.announced_by()).is_some())
        .map(OrderStatus::as_str)
        .collect();
    if ends.len() > 1 {
        let ends = ends.join(" and as ");
        let fault = format!("announced as {ends}; look at these events in the log");
        found.check(Invariant::FinalStays, saga.about(), Some(fault));
    }
    let Some(order) = saga.order else { return };
    let status = order.status.as_str();
    let said = saga.trace.first(OrderCancelled::NAME).map(|event| event.reason);
    let other = ends.into_iter().find(|end| *end != status);
    let fault = match (order.status, order.reason, other) {
        (OrderStatus::Cancelled, None, _) => Some("cancelled without a reason".to_owned()),
        (OrderStatus::Cancelled, reason, None) if said.is_some_and(|said| said != reason) => Some(format!(
            "cancelled for {reason:?}, but announced with {:?}",
            said.flatten()
        )),
        (of, Some(reason), _) if of != OrderStatus::Cancelled => {
            Some(format!("{status}, yet with the reason {reason}"))
        }
        (of, _, Some(end)) if of.is_final() || saga.is_settled(view) => {
            Some(format!("{status}, but announced as {end}"))
        }
        _ => None,
    };
    found.check(Invariant::FinalStays, saga.about(), look(fault, "orders"));
}

fn i7_every_event_is_in_the_log(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    if view.log_cut {
        return;
    }
    let mut expect = |name, number, outbox: &[Pending], (customer, amount): (CustomerId, Money), at| {
        let id = EventId::of(saga.id, name, number);
        let fault = missing_once(name, id, outbox, saga.trace).or_else(|| {
            let said = saga.trace.first(name)?;
            let differs = said.customer.is_some_and(|said| said != customer.0)
                || said.amount.is_some_and(|said| said != amount);
            differs.then(|| {
                format!("{name} names another customer or amount than the document ({customer}, {amount})")
            })
        });
        found.check(Invariant::AnnouncedIsInLog, saga.about(), look(fault, at));
    };
    if let Some(order) = saga.order {
        let about = (order.customer_id, order.amount);
        let mut expect = |name, number| expect(name, number, &order.outbox, about, "the log, orders");
        expect(OrderCreated::NAME, 1);
        if order.status.is_final() {
            expect(order.status.announced_by(), 2);
        }
    }
    if let Some(reservation) = saga.reservation
        && reservation.state != ReservationState::Void
    {
        let about = (reservation.customer_id, reservation.amount);
        let at = "the log, reservations";
        expect(OrderValidated::NAME, 1, &reservation.outbox, about, at);
    }
}

/// Why an event that our services announce once, under this id, is not in the log so.
pub(super) fn missing_once(name: &str, id: EventId, outbox: &[Pending], trace: &Trace) -> Option<String> {
    let other = trace.all(name).find(|event| event.ours && event.id != Some(id));
    let other = other.map(|other| format!("{name} should have the id {id} only; look at {:?}", other.place));
    other.or_else(|| missing(name, id, outbox, trace.first(name)))
}

/// Why an event that has to be in the log is not: it is not in an outbox either.
pub(super) fn missing(
    name: &str,
    id: EventId,
    outbox: &[Pending],
    event: Option<&Announced>,
) -> Option<String> {
    let waits = outbox.iter().any(|pending| pending.id == id);
    (event.is_none() && !waits)
        .then(|| format!("{name} ({id}) should be in the log, and is neither there nor in the outbox"))
}

fn i9_no_outbox_is_left(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    let left = |outbox: &[Pending], updated_at| !outbox.is_empty() && !view.is_recent(updated_at);
    let of_order = saga
        .order
        .is_some_and(|order| left(&order.outbox, order.updated_at));
    let of_reservation = saga
        .reservation
        .is_some_and(|reservation| left(&reservation.outbox, reservation.updated_at));
    let fault = match (of_order, of_reservation) {
        (false, false) => None,
        (true, false) => Some("an event waits in the outbox of the order"),
        (false, true) => Some("an event waits in the outbox of the reservation"),
        (true, true) => Some("events wait in the outboxes of order and reservation"),
    };
    found.check(
        Invariant::NothingLeft,
        saga.about(),
        look(fault.map(str::to_owned), "orders, reservations"),
    );
}

fn i10_no_effect_without_its_cause(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    let trace = saga.trace;
    if !view.log_cut {
        if let Some(reservation) = saga.reservation {
            let fault = cause_of_reservation(reservation, trace);
            found.check(
                Invariant::EffectHasCause,
                saga.about(),
                look(fault, "reservations, the log"),
            );
        }
        if let Some(order) = saga.order.filter(|order| order.status.is_final()) {
            let fault = cause_of_end(order, trace);
            found.check(
                Invariant::EffectHasCause,
                saga.about(),
                look(fault, "orders, the log"),
            );
        }
    }
    let validated = trace.first(OrderValidated::NAME);
    if let Some(validated) = validated.filter(|event| event.ours) {
        let fault = match saga.reservation {
            Some(reservation) if agrees(reservation.state, validated.valid) => None,
            Some(reservation) => Some(format!(
                "announced as {}, but its reservation is {:?}",
                if validated.valid { "valid" } else { "not valid" },
                reservation.state
            )),
            None if !saga.is_settled(view) => None,
            None => Some("OrderValidated is in the log, but there is no reservation".to_owned()),
        };
        found.check(
            Invariant::EffectHasCause,
            saga.about(),
            look(fault, "reservations, the log"),
        );
    }
    let announced = |event: &Announced| event.ours && OrderStatus::of_event(event.name).is_some();
    if trace.iter().any(announced) && saga.is_settled(view) {
        let fault = saga
            .order
            .is_none()
            .then(|| "it is announced, but there is no such order".to_owned());
        found.check(
            Invariant::EffectHasCause,
            saga.about(),
            look(fault, "orders, the log"),
        );
    }
}

fn cause_of_reservation(reservation: &ReservationRow, trace: &Trace) -> Option<String> {
    let state = reservation.state;
    match state {
        ReservationState::Void => {}
        ReservationState::Held | ReservationState::Released | ReservationState::Refused => {
            let Some(created) = trace.first(OrderCreated::NAME) else {
                return Some(format!(
                    "reservation {state:?}, but no OrderCreated is in the log"
                ));
            };
            if created.amount != Some(reservation.amount)
                || created.customer != Some(reservation.customer_id.0)
            {
                return Some(format!(
                    "reservation of {} for {}, but OrderCreated says {:?} for {:?}",
                    reservation.amount, reservation.customer_id, created.amount, created.customer
                ));
            }
        }
    }
    let released = matches!(state, ReservationState::Void | ReservationState::Released);
    (released && trace.first(OrderCancelled::NAME).is_none())
        .then(|| format!("reservation {state:?}, but no OrderCancelled is in the log"))
}

fn cause_of_end(order: &OrderRow, trace: &Trace) -> Option<String> {
    let validated = trace.first(OrderValidated::NAME);
    match (order.status, order.reason) {
        (_, Some(CancelReason::CancelledByCustomer)) => None,
        (OrderStatus::Shipped, _) => match validated {
            Some(validated) if validated.valid => None,
            Some(_) => Some("shipped, but OrderValidated says that it is not valid".to_owned()),
            None => Some("shipped, but no OrderValidated is in the log".to_owned()),
        },
        (OrderStatus::Cancelled, reason) => match validated {
            Some(validated) if !validated.valid && validated.reason == reason => None,
            // A C# writer gives no reason.
            Some(validated) if !validated.valid && !validated.ours => None,
            Some(_) => Some(format!(
                "cancelled for {reason:?}, but OrderValidated says otherwise"
            )),
            None => Some(format!(
                "cancelled for {reason:?}, but no OrderValidated is in the log"
            )),
        },
        _ => None,
    }
}

fn agrees(state: ReservationState, valid: bool) -> bool {
    match state {
        ReservationState::Held | ReservationState::Released => valid,
        ReservationState::Refused => !valid,
        ReservationState::Void => false,
    }
}

fn look(fault: Option<String>, at: &str) -> Option<String> {
    fault.map(|fault| format!("{fault}; look at {at}"))
}
