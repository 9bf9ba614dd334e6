//! Each invariant says no to a state that breaks it, and yes to the one that it was made of.

#![allow(clippy::unwrap_used, reason = "a test says no by panicking")]

use std::time::Duration;

use contracts::{
    CancelReason, CustomerId, OrderCreated, OrderId, OrderShipped, OrderStatus, OrderValidated, Refusal,
    ShipmentPrepared, TOPIC,
};
use customers::domain::{Customer, Reservation, ReservationState};
use orders::domain::Order;
use shared::{
    document_store::DocumentKey,
    envelope::{Context, OutboxEvent},
    environment::Timestamp,
    event_log::Position,
    events::Event,
    money::Money,
    parking::{ParkedState, Verb},
};
use simulation::{
    invariants::{
        AtRest,
        Invariant::{self, *},
        Violation, always, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i12, i13, i15, i16, i16_not_stored,
        i16_stored, i17, i19,
    },
    seen::{Decided, Failed, Parked, Seen, event_id},
};
use uuid::Uuid;

const ORDER: OrderId = OrderId(Uuid::from_u128(7));
const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(1));
const NOW: Timestamp = Timestamp(0);

fn order() -> Order {
    Order {
        id: ORDER,
        customer_id: CUSTOMER,
        amount: Money::units(80),
        status: OrderStatus::Shipped,
        reason: None,
        created_at: NOW,
        updated_at: NOW,
        context: Context::default(),
        end_context: None,
        announced_again: None,
    }
}

fn customer(reserved: i64) -> Customer {
    Customer {
        id: CUSTOMER,
        name: "Ada".into(),
        credit_limit: Money::units(100),
        initial_credit_limit: Money::units(100),
        reserved: Money::units(reserved),
        limit_changes: 0,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn reservation() -> Reservation {
    Reservation {
        id: ORDER,
        customer_id: CUSTOMER,
        amount: Money::units(80),
        state: ReservationState::Held,
        reason: None,
        decided_at: NOW,
        updated_at: NOW,
        context: Context::default(),
    }
}

fn created() -> OrderCreated {
    order().created()
}

fn validated() -> OrderValidated {
    reservation().validation().unwrap()
}

fn position(offset: i64) -> Position {
    Position {
        topic: TOPIC.into(),
        partition: 0,
        offset,
    }
}

fn append<E: Event>(seen: &mut Seen, event: &E) {
    append_caused(seen, event, None);
}

fn append_caused<E: Event>(seen: &mut Seen, event: &E, causation_id: Option<String>) {
    let context = Context {
        causation_id,
        ..Context::default()
    };
    let event = OutboxEvent::new(event, ORDER, 1, "test", NOW, &context);
    let offset = i64::try_from(seen.log.len()).unwrap();
    seen.log.push((position(offset), event.record(TOPIC)));
    seen.announced.insert(event.id.to_string(), event.record(TOPIC));
    seen.published.insert(event.id.to_string());
}

fn decided() -> Decided {
    Decided {
        customer_id: CUSTOMER,
        written: true,
        customer: (Some(customer(0)), Some(customer(80))),
        reservations: vec![(None, reservation())],
        limits: vec![],
        at: Duration::from_secs(1),
    }
}

/// One order, shipped, and nothing wrong.
fn rest() -> AtRest {
    let mut rest = AtRest::default();
    let seen = &mut rest.seen;
    seen.asked.orders.insert(ORDER, (CUSTOMER, Money::units(80)));
    seen.asked.acknowledged.insert(ORDER);
    seen.orders.insert(ORDER, order());
    seen.customers.insert(CUSTOMER, customer(80));
    seen.reservations.insert(ORDER, reservation());
    append(seen, &created());
    append(seen, &validated());
    append(
        seen,
        &OrderShipped {
            id: ORDER,
            customer_id: Some(CUSTOMER),
            amount: Some(Money::units(80)),
        },
    );
    seen.created.insert(ORDER, (position(0), created()));
    seen.validated.insert(ORDER, validated());
    seen.decided.push(decided());
    rest
}

type Judge = fn(&AtRest) -> Result<(), Violation>;

/// The judge says yes to what is right and no to what is doctored.
fn says_no(invariant: Invariant, judge: Judge, doctor: impl FnOnce(&mut AtRest)) {
    let mut rest = rest();
    assert_eq!(judge(&rest), Ok(()));
    doctor(&mut rest);
    assert_eq!(judge(&rest).unwrap_err().invariant, invariant);
}

#[test]
fn i1_sees_credit_below_zero_and_beyond_the_limit() {
    let seen = rest().seen;
    assert_eq!(always::decided(&seen, &decided()), Ok(()));
    let wrong = [
        (Some(customer(0)), Some(customer(-1))),
        (Some(customer(21)), Some(customer(101))),
    ];
    for customer in wrong {
        let decided = Decided {
            customer,
            ..decided()
        };
        assert_eq!(
            always::decided(&seen, &decided).unwrap_err().invariant,
            WithinCredit
        );
    }
}

#[test]
fn i2_sees_a_wrong_sum() {
    says_no(ReservedIsSumOfHeld, i2, |rest| {
        drop(rest.seen.customers.insert(CUSTOMER, customer(81)))
    });
}

#[test]
fn i3_sees_a_reservation_without_its_order_and_the_other_way_round() {
    says_no(HeldIsShipped, i3, |rest| {
        drop(rest.seen.reservations.remove(&ORDER))
    });
    says_no(HeldIsShipped, i3, |rest| drop(rest.seen.orders.remove(&ORDER)));
    says_no(HeldIsShipped, i3, |rest| {
        rest.seen.orders.get_mut(&ORDER).unwrap().amount = Money::units(79)
    });
}

#[test]
fn i4_sees_an_order_that_is_missing_altered_or_made_up() {
    says_no(StoredIsSent, i4, |rest| drop(rest.seen.orders.remove(&ORDER)));
    says_no(StoredIsSent, i4, |rest| {
        rest.seen.orders.get_mut(&ORDER).unwrap().amount = Money::units(79)
    });
    says_no(StoredIsSent, i4, |rest| rest.seen.asked.orders.clear());
}

#[test]
fn i5_sees_an_order_that_is_open_or_was_for_too_long() {
    says_no(FinalInTime, i5, |rest| {
        rest.seen.orders.get_mut(&ORDER).unwrap().status = OrderStatus::Created
    });
    says_no(FinalInTime, i5, |rest| {
        rest.seen.last_final = Duration::from_secs(31)
    });
    says_no(FinalInTime, i5, |rest| {
        rest.seen.last_final_of_failed = Duration::from_secs(91)
    });
}

#[test]
fn i6_sees_final_orders_change_and_reasons_missing() {
    says_no(FinalStays, i6, |rest| {
        rest.seen.orders.get_mut(&ORDER).unwrap().status = OrderStatus::Cancelled
    });
    says_no(FinalStays, i6, |rest| {
        rest.seen.reservations.get_mut(&ORDER).unwrap().state = ReservationState::Released
    });
    let seen = rest().seen;
    let cancelled = Order {
        status: OrderStatus::Cancelled,
        reason: Some(CancelReason::InsufficientCredit),
        ..order()
    };
    assert_eq!(always::order(&seen, Some(&order()), &order()), Ok(()));
    assert_eq!(
        always::order(&seen, Some(&order()), &cancelled)
            .unwrap_err()
            .invariant,
        FinalStays
    );
}

#[test]
fn i7_sees_an_event_that_is_missing_or_differs_by_a_byte() {
    says_no(AnnouncedIsInLog, i7, |rest| drop(rest.seen.published.pop_first()));
    says_no(AnnouncedIsInLog, i7, |rest| {
        rest.seen.log[0].1.headers[0].value = Some(vec![b'2'])
    });
    says_no(AnnouncedIsInLog, i7, |rest| rest.seen.log[0].1.key = None);
}

#[test]
fn i8_sees_an_effect_before_its_cause_or_elsewhere() {
    says_no(CauseBeforeEffect, i8, |rest| rest.seen.log.swap(0, 1));
    says_no(CauseBeforeEffect, i8, |rest| rest.seen.log[1].0.partition = 2);
    says_no(CauseBeforeEffect, i8, |rest| drop(rest.seen.log.remove(1)));
}

#[test]
fn i8_sees_an_event_of_any_kind_before_what_it_names_as_its_cause() {
    let prepared = ShipmentPrepared {
        order_id: ORDER,
        customer_id: Some(CUSTOMER),
        tracking_number: "SHP1".into(),
    };
    let mut rest = rest();
    let cause = event_id(&rest.seen.log[2].1);
    append_caused(&mut rest.seen, &prepared, cause);
    assert_eq!(i8(&rest), Ok(()));
    let mut elsewhere = rest.clone();
    elsewhere.seen.log[3].0.partition = 2;
    assert_eq!(i8(&elsewhere).unwrap_err().invariant, CauseBeforeEffect);
    rest.seen.log.swap(2, 3);
    assert_eq!(i8(&rest).unwrap_err().invariant, CauseBeforeEffect);
}

#[test]
fn i9_sees_outboxes_lag_and_dead_letters() {
    let key = DocumentKey {
        collection: "orders",
        id: ORDER.0,
    };
    says_no(NothingLeft, i9, |rest| rest.outboxes.push(key));
    says_no(NothingLeft, i9, |rest| rest.lag.push(("order-service", 1)));
    says_no(NothingLeft, i9, |rest| rest.parked = 1);
    let given = || ("order-service".to_owned(), 0, 5);
    says_no(NothingLeft, i9, |rest| {
        drop(rest.seen.dead_letters.insert(given(), "unknown-order".into()))
    });
    says_no(NothingLeft, i9, |rest| {
        drop(rest.seen.poison.insert(given(), "unknown-order".into()))
    });
    says_no(NothingLeft, i9, |rest| {
        rest.seen.poison.insert(given(), "unknown-order".into());
        rest.seen.dead_letters.insert(given(), "malformed-event".into());
    });
    says_no(NothingLeft, i9, |rest| {
        rest.seen.poison.insert(given(), "unknown-order".into());
        rest.seen.dead_letters.insert(given(), "unknown-order".into());
        rest.seen.parked.insert(given(), parked(ParkedState::Done, None));
    });
    says_no(NothingLeft, i9, |rest| {
        rest.seen
            .parked
            .insert(given(), parked(ParkedState::Discarded, None));
    });
    let discard = Some(Verb::DiscardRequested);
    says_no(NothingLeft, i9, |rest| {
        rest.seen
            .parked
            .insert(given(), parked(ParkedState::Done, discard));
    });
    let discarded = parked(ParkedState::Discarded, discard);
    assert_eq!(always::parked(&given(), discarded), Ok(()));
    let handled = always::parked(&given(), parked(ParkedState::Done, discard));
    assert_eq!(handled.unwrap_err().invariant, NothingLeft);
}

fn parked(state: ParkedState, asked: Option<Verb>) -> Parked {
    Parked { state, asked }
}

/// A reservation made by the record at 5 of partition 0.
fn caused(seen: &mut Seen) -> Reservation {
    seen.places.insert("an id".into(), vec![(position(5), None)]);
    let causation_id = Some("an id".into());
    let context = Context {
        causation_id,
        ..Context::default()
    };
    Reservation {
        context,
        ..reservation()
    }
}

#[test]
fn i8_sees_a_record_that_overtakes_a_failed_one_of_its_order_and_lets_others_pass() {
    let mut seen = rest().seen;
    let now = caused(&mut seen);
    let given = ("customer-service".to_owned(), 0, 4);
    let failed = |order| Failed { subject: Some(order) };
    seen.failed
        .insert(given.clone(), failed(OrderId(Uuid::from_u128(8))));
    assert_eq!(always::in_turn(&seen, &now, "customer-service"), Ok(()));
    seen.failed.insert(given, failed(ORDER));
    let overtaken = always::in_turn(&seen, &now, "customer-service");
    assert_eq!(overtaken.unwrap_err().invariant, CauseBeforeEffect);
    assert_eq!(always::in_turn(&seen, &now, "order-service"), Ok(()));
}

#[test]
fn i9_sees_a_discarded_record_have_its_effect() {
    let mut seen = rest().seen;
    let now = caused(&mut seen);
    let given = ("customer-service".to_owned(), 0, 5);
    seen.parked.insert(
        given.clone(),
        parked(ParkedState::Requested, Some(Verb::ReplayRequested)),
    );
    assert_eq!(always::not_discarded(&seen, &now, "customer-service"), Ok(()));
    seen.parked.insert(
        given,
        parked(ParkedState::Requested, Some(Verb::DiscardRequested)),
    );
    let handled = always::not_discarded(&seen, &now, "customer-service");
    assert_eq!(handled.unwrap_err().invariant, NothingLeft);
}

#[test]
fn i7_sees_a_refused_event_that_is_erased_from_its_outbox() {
    let mut rest = rest();
    let id = rest.seen.published.pop_first().unwrap();
    rest.refused.insert(id.clone());
    assert_eq!(i7(&rest).unwrap_err().invariant, AnnouncedIsInLog);
    rest.waiting.insert(id);
    assert_eq!(i7(&rest), Ok(()));
}

#[test]
fn i15_sees_an_order_that_waits_though_nothing_of_its_own_has_failed() {
    let mut seen = rest().seen;
    assert_eq!(i15(&seen, |_| false), Ok(()));
    seen.orders.get_mut(&ORDER).unwrap().status = OrderStatus::Created;
    assert_eq!(i15(&seen, |_| false).unwrap_err().invariant, NoneWaitsForOthers);
    assert_eq!(i15(&seen, |_| true), Ok(()), "nobody can reach it");
    seen.own_failures.insert(ORDER);
    assert_eq!(i15(&seen, |_| false), Ok(()), "its own event has failed");
}

#[test]
fn i16_sees_answers_that_are_not_true() {
    says_no(AnswersAreTrue, i16, |rest| {
        rest.seen.asked.refused.extend([ORDER])
    });
    let mut seen = rest().seen;
    assert_eq!(i16_stored(&seen, ORDER), Ok(()));
    assert_eq!(
        i16_not_stored(&seen, ORDER).unwrap_err().invariant,
        AnswersAreTrue
    );
    seen.orders.clear();
    assert_eq!(i16_stored(&seen, ORDER).unwrap_err().invariant, AnswersAreTrue);
    assert_eq!(i16_not_stored(&seen, ORDER), Ok(()));
}

#[test]
fn i17_sees_an_event_twice_where_nothing_went_wrong() {
    says_no(PublishedOnce, i17, |rest| {
        rest.calm = true;
        rest.seen.repeated.insert("an id".into(), 2);
    });
    let mut rest = rest();
    rest.seen.repeated.insert("an id".into(), 2);
    assert_eq!(i17(&rest), Ok(()), "where things go wrong it may be");
}

#[test]
fn i19_sees_a_field_that_is_gone() {
    says_no(UnknownFieldsStay, i19, |rest| {
        rest.missing_fields.push("note7 of orders".into())
    });
}

#[test]
fn i10_sees_an_effect_without_its_cause() {
    says_no(EffectHasCause, i10, |rest| drop(rest.seen.orders.remove(&ORDER)));
    says_no(EffectHasCause, i10, |rest| {
        drop(rest.seen.reservations.remove(&ORDER))
    });
    let mut seen = rest().seen;
    let open = Order {
        status: OrderStatus::Created,
        ..order()
    };
    assert_eq!(always::order(&seen, Some(&open), &order()), Ok(()));
    seen.validated.clear();
    assert_eq!(
        always::order(&seen, Some(&open), &order()).unwrap_err().invariant,
        EffectHasCause
    );
    seen.created.clear();
    assert_eq!(
        always::decided(&seen, &decided()).unwrap_err().invariant,
        EffectHasCause
    );
    assert_eq!(always::published("an id", &position(1)).invariant, EffectHasCause);
}

#[test]
fn i11_sees_decisions_that_the_rules_would_not_make() {
    says_no(ReplayAgrees, i11, |rest| {
        rest.seen.decided[0].customer = (Some(customer(21)), Some(customer(101)))
    });
    says_no(ReplayAgrees, i11, |rest| {
        rest.seen.decided[0].customer.1 = Some(customer(79))
    });
    says_no(ReplayAgrees, i11, |rest| {
        let refused = Reservation {
            state: ReservationState::Refused,
            reason: Some(Refusal::InsufficientCredit),
            ..reservation()
        };
        rest.seen.decided[0].reservations = vec![(None, refused)];
        rest.seen.decided[0].customer.1 = Some(customer(0));
    });
    says_no(ReplayAgrees, i11, |rest| {
        rest.seen.validated.get_mut(&ORDER).unwrap().is_valid = false
    });
    says_no(ReplayAgrees, i11, |rest| {
        rest.seen.asked.cancelled.extend([ORDER])
    });
}

#[test]
fn i12_sees_reads_that_go_backwards() {
    let open = Order {
        status: OrderStatus::Created,
        ..order()
    };
    assert_eq!(i12(ORDER, &open, Some(&order())), Ok(()));
    assert_eq!(i12(ORDER, &open, None).unwrap_err().invariant, ReadsGoForward);
    assert_eq!(
        i12(ORDER, &order(), Some(&open)).unwrap_err().invariant,
        ReadsGoForward
    );
}

#[test]
fn i13_sees_a_permit_that_is_missing() {
    says_no(TakenComesBack, i13, |rest| {
        rest.permits.push(("orders-1".into(), 1))
    });
}
