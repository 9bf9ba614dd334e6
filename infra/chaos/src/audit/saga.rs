//! The invariants of one order, each a function named after it. They are given what is known of the
//! order from all sides: its document, its reservation, its events.

use std::time::Duration;

use contracts::{CancelReason, OrderCancelled, OrderCreated, OrderShipped, OrderStatus, OrderValidated};
use shared::{
    environment::Timestamp,
    events::{Event as _, EventId},
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
        let events = [
            &self.trace.created,
            &self.trace.validated,
            &self.trace.shipped,
            &self.trace.cancelled,
        ];
        let events = events.into_iter().flatten().filter_map(|event| event.time);
        !documents
            .into_iter()
            .flatten()
            .chain(events)
            .any(|moment| view.is_recent(moment))
    }

    /// Whether another writer (a C# service) has announced it, so that our Orders need not know it.
    fn is_foreign(&self) -> bool {
        self.order.is_none() && self.trace.created.as_ref().is_some_and(|created| !created.ours)
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
    i8_events_stand_in_causal_order(saga, found);
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
        let trace = saga.trace;
        let next = match (&trace.created, saga.reservation, &trace.validated) {
            (None, _, _) => "its OrderCreated is not in the log",
            (_, None, _) => "Customers has not decided about it",
            (_, Some(_), None) => "its OrderValidated is not in the log",
            (_, _, Some(_)) => "Orders has not taken in its OrderValidated",
        };
        format!("should be final, is Created since {age} s: {next}")
    });
    found.check(Invariant::FinalInTime, saga.about(), look(fault, "orders"));
}

fn i6_a_final_order_has_its_reason_and_never_changes(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    let trace = saga.trace;
    if trace.shipped.is_some() && trace.cancelled.is_some() {
        let fault = "announced as shipped and as cancelled; look at both events in the log".to_owned();
        found.check(Invariant::FinalStays, saga.about(), Some(fault));
    }
    let Some(order) = saga.order else { return };
    let said = trace.cancelled.as_ref().map(|event| event.reason);
    let fault = match (order.status, order.reason) {
        (OrderStatus::Cancelled, None) => Some("cancelled without a reason".to_owned()),
        (OrderStatus::Created | OrderStatus::Shipped, Some(reason)) => {
            Some(format!("{}, yet with the reason {reason}", order.status.as_str()))
        }
        (OrderStatus::Cancelled, _) if trace.shipped.is_some() => {
            Some("cancelled, but announced as shipped".to_owned())
        }
        (OrderStatus::Cancelled, reason) if said.is_some_and(|said| said != reason) => Some(format!(
            "cancelled for {reason:?}, but announced with {:?}",
            said.flatten()
        )),
        (OrderStatus::Shipped, _) if trace.cancelled.is_some() => {
            Some("shipped, but announced as cancelled".to_owned())
        }
        (OrderStatus::Created, _)
            if (trace.shipped.is_some() || trace.cancelled.is_some()) && saga.is_settled(view) =>
        {
            Some("Created, but announced as final".to_owned())
        }
        _ => None,
    };
    found.check(Invariant::FinalStays, saga.about(), look(fault, "orders"));
}

fn i7_every_event_is_in_the_log(saga: &Saga<'_>, view: &View, found: &mut Differences) {
    if view.log_cut {
        return;
    }
    let Trace {
        created,
        validated,
        shipped,
        cancelled,
    } = saga.trace;
    if let Some(order) = saga.order {
        let about = (order.customer_id.0, order.amount);
        let mut expect = |name, version, event: &Option<Announced>| {
            let id = EventId::of(order.id, name, version);
            let fault = missing(name, id, &order.outbox, event).or_else(|| other(name, event, about));
            found.check(
                Invariant::AnnouncedIsInLog,
                saga.about(),
                look(fault, "the log, orders"),
            );
        };
        expect(OrderCreated::NAME, 1, created);
        match order.status {
            OrderStatus::Created => {}
            OrderStatus::Shipped => expect(OrderShipped::NAME, 2, shipped),
            OrderStatus::Cancelled => expect(OrderCancelled::NAME, 2, cancelled),
        }
    }
    if let Some(reservation) = saga
        .reservation
        .filter(|reservation| reservation.state != ReservationState::Void)
    {
        let (name, about) = (
            OrderValidated::NAME,
            (reservation.customer_id.0, reservation.amount),
        );
        let id = EventId::of(reservation.id, name, 1);
        let fault =
            missing(name, id, &reservation.outbox, validated).or_else(|| other(name, validated, about));
        found.check(
            Invariant::AnnouncedIsInLog,
            saga.about(),
            look(fault, "the log, reservations"),
        );
    }
}

/// Why an event that has to be in the log is not: it is not in an outbox either.
pub(super) fn missing(
    name: &str,
    id: EventId,
    outbox: &[Pending],
    event: &Option<Announced>,
) -> Option<String> {
    let waits = outbox.iter().any(|pending| pending.id == id);
    (event.is_none() && !waits)
        .then(|| format!("{name} ({id}) should be in the log, and is neither there nor in the outbox"))
}

fn other(name: &str, event: &Option<Announced>, about: (Uuid, shared::money::Money)) -> Option<String> {
    let event = event.as_ref()?;
    let (customer, amount) = about;
    let differs = event.customer.is_some_and(|said| said != customer)
        || event.amount.is_some_and(|said| said != amount);
    differs
        .then(|| format!("{name} names another customer or amount than the document ({customer}, {amount})"))
}

fn i8_events_stand_in_causal_order(saga: &Saga<'_>, found: &mut Differences) {
    let Trace {
        created,
        validated,
        shipped,
        cancelled,
    } = saga.trace;
    let refused = |cancelled: &Announced| cancelled.reason != Some(CancelReason::CancelledByCustomer);
    let pairs = [
        ("OrderValidated", validated, "OrderCreated", created),
        ("OrderShipped", shipped, "OrderValidated", validated),
        ("OrderCancelled", cancelled, "OrderCreated", created),
        (
            "OrderCancelled",
            if cancelled.as_ref().is_some_and(refused) {
                cancelled
            } else {
                &None
            },
            "OrderValidated",
            validated,
        ),
    ];
    for (effect_name, effect, cause_name, cause) in pairs {
        let (Some(effect), Some(cause)) = (effect, cause) else {
            continue;
        };
        // A writer without keys spreads records over partitions, where no order is kept.
        if !effect.ours || !cause.ours {
            continue;
        }
        let ((effect_partition, effect_offset), (cause_partition, cause_offset)) =
            (effect.place, cause.place);
        let fault = if effect_partition != cause_partition {
            Some(format!(
                "{effect_name} stands in partition {effect_partition}, {cause_name} in {cause_partition}"
            ))
        } else if effect_offset < cause_offset {
            Some(format!(
                "{effect_name} stands before {cause_name}: partition {effect_partition}, offsets {effect_offset} and {cause_offset}"
            ))
        } else {
            None
        };
        found.check(Invariant::CauseBeforeEffect, saga.about(), fault);
    }
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
    if let Some(validated) = trace.validated.as_ref().filter(|event| event.ours) {
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
    let announced = [&trace.created, &trace.shipped, &trace.cancelled];
    if announced.into_iter().flatten().any(|event| event.ours) && saga.is_settled(view) {
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
            let Some(created) = &trace.created else {
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
    (released && trace.cancelled.is_none())
        .then(|| format!("reservation {state:?}, but no OrderCancelled is in the log"))
}

fn cause_of_end(order: &OrderRow, trace: &Trace) -> Option<String> {
    let validated = trace.validated.as_ref();
    match (order.status, order.reason) {
        (OrderStatus::Created, _) | (_, Some(CancelReason::CancelledByCustomer)) => None,
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
