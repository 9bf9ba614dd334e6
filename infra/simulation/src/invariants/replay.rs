//! The log, replayed through the pure rules.
//!
//! Customers decides the records of a customer in the order of the log; limits, which come from
//! requests, fall in between. Each commit is replayed on the documents of before: there has to be a
//! place for its limits such that the rules come to the documents of after. A commit that refuses and
//! does not write the customer is not held up by one that does: it may have seen the customer as it
//! was at any moment since the order is in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use contracts::{CancelReason, CustomerId, OrderCreated, OrderId, OrderStatus};
use customers::domain::{self, Customer, Decision, NewCustomer, Release, Reservation, ReservationState};
use orders::domain::{Change, Order, apply_validation, cancel};
use shared::{envelope::Context, environment::Timestamp, event_log::Position, money::Money};

use super::{AtRest, Invariant, Violation, all};
use crate::seen::{Decided, Seen};

const NOW: Timestamp = Timestamp(0);

/// The log, replayed through the pure rules, gives the same decisions.
pub fn i11(rest: &AtRest) -> Result<(), Violation> {
    all(&rest.seen.decided, |decided| {
        customers_decide(&rest.seen, decided)
    })?;
    all(rest.seen.orders.values(), |order| {
        orders_decide(&rest.seen, order)
    })
}

fn orders_decide(seen: &Seen, order: &Order) -> Result<(), Violation> {
    let open = Order {
        status: OrderStatus::Created,
        reason: None,
        ..order.clone()
    };
    let change = match (order.status, order.reason) {
        (_, Some(CancelReason::CancelledByCustomer)) => cancel(Some(&open), NOW),
        (OrderStatus::Shipped | OrderStatus::Cancelled, _) => match seen.validated.get(&order.id) {
            Some(validation) => apply_validation(Some(&open), validation, NOW),
            None => Change::Unknown,
        },
        _ => return Ok(()),
    };
    let decided = match &change {
        Change::Finished(decided, _) => Some((decided.status, decided.reason)),
        Change::AlreadyFinal(_) | Change::Unknown => None,
    };
    let promised =
        !seen.asked.cancelled.contains(&order.id) || order.reason == Some(CancelReason::CancelledByCustomer);
    if decided == Some((order.status, order.reason)) && promised {
        return Ok(());
    }
    let expected = format!("{} {decided:?}, cancelled on request: {}", order.id, !promised);
    let found = format!("{:?}", (order.status, order.reason));
    Err(Violation::new(Invariant::ReplayAgrees, expected, found))
}

/// Something that was decided about a customer.
#[derive(Debug, Clone)]
enum Step {
    Created(OrderCreated),
    Cancelled(OrderId, CustomerId),
    NewCustomer(Money),
    Limit(Money),
}

fn customers_decide(seen: &Seen, decided: &Decided) -> Result<(), Violation> {
    if !decided.written {
        return all(&decided.reservations, |(before, after)| match before {
            None if after.state == ReservationState::Refused => refused(seen, decided, after),
            _ => merged(
                seen,
                &Decided {
                    reservations: vec![(before.clone(), after.clone())],
                    ..decided.clone()
                },
            ),
        });
    }
    merged(seen, decided)
}

/// There was a moment at which the rules refused it for this reason.
fn refused(seen: &Seen, decided: &Decided, reservation: &Reservation) -> Result<(), Violation> {
    let since = seen.created_at.get(&reservation.id).copied().unwrap_or_default();
    let event = seen.created.get(&reservation.id).map(|(_, event)| event);
    let states = seen
        .states
        .get(&decided.customer_id)
        .map_or(&[][..], Vec::as_slice);
    let refuses = |customer: Option<&Customer>| {
        let decision = event.map(|event| domain::reserve(customer, None, event, &Context::default(), NOW));
        matches!(decision, Some(Decision::Refused(refused)) if refused.reason == reservation.reason
            && refused.amount == reservation.amount)
    };
    let begins = |index: usize| states.get(index).map_or(Duration::MAX, |(begin, _)| *begin);
    let unknown = begins(0) >= since && refuses(None);
    let known = states.iter().enumerate().any(|(index, (begin, customer))| {
        *begin <= decided.at && begins(index + 1) >= since && refuses(Some(customer))
    });
    if unknown || known {
        return Ok(());
    }
    Err(Violation::new(
        Invariant::ReplayAgrees,
        format!("the rules refuse {event:?} at some moment since {since:?}"),
        format!("{reservation:?}, of {states:?}"),
    ))
}

fn merged(seen: &Seen, decided: &Decided) -> Result<(), Violation> {
    let recorded: BTreeMap<_, _> = decided
        .reservations
        .iter()
        .map(|(_, after)| (after.id, after))
        .collect();
    let replay = Replay {
        decided,
        recorded,
        tracks: tracks(seen, decided),
    };
    let known = decided
        .reservations
        .iter()
        .filter_map(|(before, _)| before.clone().map(|before| (before.id, before)));
    let documents = Documents {
        customer: decided.customer.0.clone(),
        reservations: known.collect(),
    };
    let mut merge = Merge {
        next: vec![0; replay.tracks.len()],
        failed: BTreeSet::new(),
    };
    if replay.fits(&mut merge, &documents) {
        return Ok(());
    }
    Err(Violation::new(
        Invariant::ReplayAgrees,
        format!(
            "the rules come to the same from {documents:?} by {:?}",
            replay.tracks
        ),
        format!("{:?}, {:?}", decided.customer.1, replay.recorded),
    ))
}

/// What has to have happened, each track in its order.
fn tracks(seen: &Seen, decided: &Decided) -> Vec<Vec<Step>> {
    let mut by_partition = BTreeMap::<(i32, Option<OrderId>), Vec<(Position, Step)>>::new();
    let mut note = |id: OrderId, position: &Position, step: Step| {
        // Of several copies it is not known which one was decided on; one that has failed was overtaken
        // by other orders; where the log has lost records, their places say nothing.
        let alone = [&seen.copied, &seen.scattered, &seen.own_failures];
        let alone = alone.iter().any(|ids| ids.contains(&id)) || !seen.lost_from.is_empty();
        let alone = alone.then_some(id);
        by_partition
            .entry((position.partition, alone))
            .or_default()
            .push((position.clone(), step));
    };
    for (before, after) in &decided.reservations {
        let was = before.as_ref().map(|before| before.state);
        let is_new = was.is_none() && after.state != ReservationState::Void;
        if let Some((position, event)) = seen.created.get(&after.id).filter(|_| is_new) {
            note(after.id, position, Step::Created(event.clone()));
        }
        let ends = matches!(after.state, ReservationState::Released | ReservationState::Void);
        if let Some(position) = seen
            .cancelled
            .get(&after.id)
            .filter(|_| ends && was != Some(after.state))
        {
            note(after.id, position, Step::Cancelled(after.id, after.customer_id));
        }
    }
    let mut tracks = Vec::new();
    for mut steps in by_partition.into_values() {
        steps.sort_by(|one, other| one.0.cmp(&other.0));
        tracks.push(steps.into_iter().map(|(_, step)| step).collect());
    }
    let mut limits = Vec::new();
    if let (None, Some(customer)) = &decided.customer {
        limits.push(Step::NewCustomer(customer.initial_credit_limit));
    }
    limits.extend(decided.limits.iter().copied().map(Step::Limit));
    tracks.push(limits);
    tracks
}

#[derive(Debug, Clone)]
struct Documents {
    customer: Option<Customer>,
    reservations: BTreeMap<OrderId, Reservation>,
}

struct Replay<'a> {
    decided: &'a Decided,
    recorded: BTreeMap<OrderId, &'a Reservation>,
    tracks: Vec<Vec<Step>>,
}

/// The next step of each track, and the reservations that came of those before.
type Reached = (Vec<usize>, Vec<(OrderId, ReservationState)>);

/// How far the tracks are merged.
struct Merge {
    /// The next step of each track.
    next: Vec<usize>,
    /// From these no order of the remaining steps leads to what is recorded.
    failed: BTreeSet<Reached>,
}

impl Replay<'_> {
    /// Whether the tracks can be merged so that the rules come to what is recorded.
    fn fits(&self, merge: &mut Merge, documents: &Documents) -> bool {
        // The customer follows from these, so it need not be a part of the position.
        let states = documents.reservations.iter();
        let states = states.map(|(id, found)| (*id, found.state));
        let here = (merge.next.clone(), states.collect());
        if merge.failed.contains(&here) {
            return false;
        }
        let fits = self.fits_from(merge, documents);
        if !fits {
            merge.failed.insert(here);
        }
        fits
    }

    fn fits_from(&self, merge: &mut Merge, documents: &Documents) -> bool {
        let mut done = true;
        for track in 0..self.tracks.len() {
            let Some(step) = self.tracks[track].get(merge.next[track]) else {
                continue;
            };
            done = false;
            let Some(after) = self.decide(step, documents) else {
                continue;
            };
            merge.next[track] += 1;
            let fits = self.fits(merge, &after);
            merge.next[track] -= 1;
            // A refusal changes nothing for others: once it is one, it need not come later.
            if fits || self.refuses(step) {
                return fits;
            }
        }
        done && self.is_recorded(documents)
    }

    fn refuses(&self, step: &Step) -> bool {
        let Step::Created(event) = step else {
            return false;
        };
        let recorded = self.recorded.get(&event.id);
        recorded.is_some_and(|recorded| recorded.state == ReservationState::Refused)
    }

    /// The documents after a step; `None` where it does not lead to what is recorded.
    fn decide(&self, step: &Step, documents: &Documents) -> Option<Documents> {
        let mut after = documents.clone();
        let customer = documents.customer.as_ref();
        match step {
            Step::NewCustomer(limit) => {
                let name = self.decided.customer.1.as_ref()?.name.clone();
                let new = NewCustomer {
                    id: self.decided.customer_id,
                    name,
                    credit_limit: *limit,
                };
                match domain::create(customer, &new, NOW) {
                    domain::Creation::Created(customer, _) => after.customer = Some(customer),
                    _ => return None,
                }
            }
            Step::Limit(limit) => {
                after.customer = Some(domain::change_credit_limit(customer?, *limit, NOW)?.0);
            }
            Step::Created(event) => {
                let known = documents.reservations.get(&event.id);
                let recorded = self.recorded.get(&event.id)?;
                let refused = recorded.state == ReservationState::Refused;
                match domain::reserve(customer, known, event, &Context::default(), NOW) {
                    Decision::Reserved(customer, reservation) if !refused => {
                        after.customer = Some(customer);
                        after.reservations.insert(event.id, reservation);
                    }
                    Decision::Refused(reservation) if refused && reservation.reason == recorded.reason => {
                        after.reservations.insert(event.id, reservation);
                    }
                    Decision::Known(_) => {}
                    _ => return None,
                }
            }
            Step::Cancelled(id, customer_id) => {
                let known = documents.reservations.get(id);
                match domain::release(customer, known, (*id, *customer_id), &Context::default(), NOW) {
                    Release::Released(customer, reservation) => {
                        after.customer = Some(customer);
                        after.reservations.insert(*id, reservation);
                    }
                    Release::Voided(reservation) => {
                        after.reservations.insert(*id, reservation);
                    }
                    Release::Nothing => {}
                }
            }
        }
        Some(after)
    }

    fn is_recorded(&self, documents: &Documents) -> bool {
        let credit = |customer: &Customer| (customer.credit_limit, customer.reserved, customer.limit_changes);
        let customer =
            documents.customer.as_ref().map(credit) == self.decided.customer.1.as_ref().map(credit);
        let decision =
            |reservation: &Reservation| (reservation.state, reservation.amount, reservation.reason);
        customer
            && self.recorded.iter().all(|(id, recorded)| {
                documents.reservations.get(id).map(decision) == Some(decision(recorded))
            })
    }
}
