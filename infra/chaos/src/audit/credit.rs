//! The invariants of a customer: what is reserved, and whether each decision was right when it was
//! made.
//!
//! The decisions are replayed in the order of their time stamps. Reserving, releasing and changing
//! the limit are guarded by the version of the customer's document, so on one clock their stamps
//! stand in the order of their commits. A refusal changes no customer and is guarded by nothing: it
//! may rest on what was read a while before.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use contracts::{CreditLimitChanged, CustomerCreated, Refusal};
use shared::{
    environment::Timestamp,
    events::{Event as _, EventId},
    money::Money,
};
use uuid::Uuid;

use super::{
    database::{CustomerRow, ReservationRow, ReservationState},
    differences::{Differences, Invariant},
    log::{Trace, Traces},
    saga::{View, missing, missing_once},
};

/// How old what a refusal rests on may be: a process that was stopped for 15 s between reading and
/// writing, and the deadlines of both.
const REFUSED_ON: Duration = Duration::from_secs(35);

/// Something that changes what is available, or was decided by it.
#[derive(Clone, Copy, Debug)]
struct Step {
    customer: Uuid,
    at: Timestamp,
    what: What,
    amount: Money,
    order: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Release,
    Limit(i64),
    Reserve,
    Refuse(Refusal),
}

/// All customers with what was decided about their orders.
#[derive(Default)]
pub struct Credit {
    customers: HashMap<Uuid, CustomerRow>,
    held: HashMap<Uuid, Money>,
    steps: Vec<Step>,
}

impl Credit {
    /// How many customers there are.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// Takes a customer in.
    pub fn customer(&mut self, row: CustomerRow) {
        self.customers.insert(row.id.0, row);
    }

    /// Takes a reservation in.
    pub fn reservation(&mut self, row: &ReservationRow) {
        let mut step = |what, at| {
            self.steps.push(Step {
                customer: row.customer_id.0,
                at,
                what,
                amount: row.amount,
                order: row.id.0,
            });
        };
        match row.state {
            ReservationState::Held => step(What::Reserve, row.decided_at),
            ReservationState::Released => {
                step(What::Reserve, row.decided_at);
                step(What::Release, row.updated_at);
            }
            ReservationState::Refused => {
                let reason = row.reason.unwrap_or(Refusal::InsufficientCredit);
                step(What::Refuse(reason), row.decided_at);
            }
            ReservationState::Void => {}
        }
        if row.state == ReservationState::Held {
            let held = self.held.entry(row.customer_id.0).or_default();
            // Amounts are below a limit that leaves room for a billion of them.
            *held = held.checked_add(row.amount).unwrap_or(*held);
        }
    }

    /// Checks every customer. `skew`: how far the clocks of different processes may be apart.
    pub fn check(mut self, log: &Traces, view: &View, skew: Duration, found: &mut Differences) {
        let nothing = Trace::default();
        for row in self.customers.values() {
            let trace = log.get(&row.id.0).unwrap_or(&nothing);
            i1_nothing_negative_is_reserved(row, found);
            let held = self.held.get(&row.id.0).copied().unwrap_or_default();
            i2_reserved_is_the_sum_of_held(row, held, found);
            if !view.log_cut {
                i7_every_event_of_a_customer_is_in_the_log(row, trace, found);
            }
            i9_no_outbox_of_a_customer_is_left(row, view, found);
        }
        for (customer, held) in &self.held {
            if !self.customers.contains_key(customer) {
                let fault = format!("{held} is reserved, but there is no such customer; look at customers");
                found.check(
                    Invariant::ReservedIsSumOfHeld,
                    format_args!("customer {customer}"),
                    Some(fault),
                );
            }
        }
        self.add_limits(log);
        sort(&mut self.steps);
        for steps in self.steps.chunk_by(|a, b| a.customer == b.customer) {
            let row = self.customers.get(&steps[0].customer);
            i11_replaying_gives_the_same_decisions(row, steps, skew, found);
        }
    }

    /// The limits as they were set, in order: the first is that of creation. A customer whose
    /// changes are not all in the log is not replayed.
    fn add_limits(&mut self, log: &Traces) {
        let mut incomplete = Vec::new();
        for row in self.customers.values() {
            let id = row.id.0;
            let trace = log.get(&id);
            let mut limit = |number, at, amount| {
                self.steps.push(Step {
                    customer: id,
                    at,
                    what: What::Limit(number),
                    amount,
                    order: Uuid::nil(),
                });
            };
            limit(0, row.created_at, row.initial_credit_limit);
            let mut latest = row.created_at;
            for number in 1..=row.limit_changes {
                let event = EventId::of(row.id, CreditLimitChanged::NAME, number);
                let event = trace.and_then(|trace| trace.get(event));
                match event.and_then(|event| Some((event.time?, event.amount?))) {
                    Some((at, amount)) => {
                        // Their numbers are their order, whatever the clocks of the writers say.
                        latest = latest.max(at);
                        limit(number, latest, amount);
                    }
                    None => {
                        incomplete.push(id);
                        break;
                    }
                }
            }
        }
        self.steps.retain(|step| !incomplete.contains(&step.customer));
    }
}

/// Sorts by customer and time. Within a millisecond, steps that give credit come first.
fn sort(steps: &mut [Step]) {
    steps.sort_by_key(|step| (step.customer, step.at, step.what));
}

fn i1_nothing_negative_is_reserved(row: &CustomerRow, found: &mut Differences) {
    let fault = row
        .reserved
        .is_negative()
        .then(|| format!("{} is reserved; look at customers", row.reserved));
    found.check(Invariant::WithinCredit, about(row), fault);
}

fn i2_reserved_is_the_sum_of_held(row: &CustomerRow, held: Money, found: &mut Differences) {
    let fault = (row.reserved != held).then(|| {
        format!(
            "{} is reserved, its held reservations sum up to {held}; look at customers, reservations",
            row.reserved
        )
    });
    found.check(Invariant::ReservedIsSumOfHeld, about(row), fault);
}

fn i7_every_event_of_a_customer_is_in_the_log(row: &CustomerRow, trace: &Trace, found: &mut Differences) {
    let id = EventId::of(row.id, CustomerCreated::NAME, 1);
    let fault = missing_once(CustomerCreated::NAME, id, &row.outbox, trace);
    found.check(Invariant::AnnouncedIsInLog, about(row), fault);
    for number in 1..=row.limit_changes {
        let id = EventId::of(row.id, CreditLimitChanged::NAME, number);
        let event = trace.get(id);
        let last = number == row.limit_changes;
        let fault = missing(CreditLimitChanged::NAME, id, &row.outbox, event).or_else(|| {
            let said = event.and_then(|event| event.amount);
            (last && said.is_some_and(|said| said != row.credit_limit)).then(|| {
                format!(
                    "its limit is {}, the last CreditLimitChanged says {said:?}",
                    row.credit_limit
                )
            })
        });
        found.check(Invariant::AnnouncedIsInLog, about(row), fault);
    }
}

fn i9_no_outbox_of_a_customer_is_left(row: &CustomerRow, view: &View, found: &mut Differences) {
    let left = !row.outbox.is_empty() && !view.is_recent(row.updated_at);
    let fault = left.then(|| "an event waits in its outbox; look at customers".to_owned());
    found.check(Invariant::NothingLeft, about(row), fault);
}

/// Reserved (I1) and refused (I11) only where that was right.
fn i11_replaying_gives_the_same_decisions(
    row: Option<&CustomerRow>,
    steps: &[Step],
    skew: Duration,
    found: &mut Differences,
) {
    let mut replay = Replay::default();
    for (number, step) in steps.iter().enumerate() {
        let order = format_args!("order {}", step.order);
        match step.what {
            What::Limit(_) => replay.limit = Some(step.amount),
            What::Release => replay.release(step),
            What::Reserve => {
                let limit = replay.limits(&steps[number..], skew).max().flatten();
                let fault = match limit.and_then(|limit| limit.checked_sub(replay.reserved)) {
                    Some(available) if available >= step.amount => None,
                    Some(available) => Some(format!(
                        "{} was reserved at {} when {available} was available; look at customers, reservations, the limits in the log",
                        step.amount, step.at
                    )),
                    None => Some(format!(
                        "{} was reserved at {} for a customer who was not there",
                        step.amount, step.at
                    )),
                };
                found.check(Invariant::WithinCredit, order, fault);
                replay.reserved = replay.reserved.checked_add(step.amount).unwrap_or_default();
            }
            What::Refuse(reason) => {
                let limit = replay.limits(&steps[number..], skew).min().flatten();
                let fault = replay.wrongly_refused(step, reason, limit, REFUSED_ON + skew);
                found.check(Invariant::ReplayAgrees, order, fault);
                continue;
            }
        }
        replay.note(step.at);
    }
    if let Some(row) = row {
        let fault = (replay.reserved != row.reserved || replay.limit != Some(row.credit_limit)).then(|| {
            format!(
                "replayed it has {} reserved of {:?}, its document says {} of {}; look at customers, reservations, the log",
                replay.reserved, replay.limit, row.reserved, row.credit_limit
            )
        });
        found.check(Invariant::ReplayAgrees, about(row), fault);
    }
}

/// A customer as it was at some time.
#[derive(Default)]
struct Replay {
    limit: Option<Money>,
    reserved: Money,
    /// What was released at the moment that is being replayed: whoever decided in the same moment
    /// may not have seen it yet.
    just_released: Option<(Timestamp, Money)>,
    /// What was the limit and what was available, since when; of the last while.
    past: VecDeque<(Timestamp, Option<Money>, Option<Money>)>,
}

impl Replay {
    fn release(&mut self, step: &Step) {
        let before = self.released_at(step.at);
        self.just_released = before.checked_add(step.amount).map(|sum| (step.at, sum));
        self.reserved = self.reserved.checked_sub(step.amount).unwrap_or_default();
    }

    fn note(&mut self, at: Timestamp) {
        self.past.push_back((at, self.limit, self.available()));
    }

    fn released_at(&self, at: Timestamp) -> Money {
        let same = self.just_released.filter(|(moment, _)| *moment == at);
        same.map(|(_, released)| released).unwrap_or_default()
    }

    fn available(&self) -> Option<Money> {
        self.limit.and_then(|limit| limit.checked_sub(self.reserved))
    }

    /// The limits that may have been in force when the first of these steps was decided. The steps are
    /// those that are not replayed yet. Limits that were set within `skew` may have come in any order.
    fn limits<'a>(&'a self, to_come: &'a [Step], skew: Duration) -> impl Iterator<Item = Option<Money>> + 'a {
        let at = to_come[0].at;
        let before = self.past.iter().rposition(|(since, ..)| at.since(*since) > skew);
        let past = self.past.range(before.unwrap_or(0)..);
        let near = to_come.iter().take_while(move |step| apart(step.at, at) <= skew);
        let near = near.filter(|step| matches!(step.what, What::Limit(_)));
        past.map(|(_, limit, _)| *limit)
            .chain(near.map(|step| Some(step.amount)))
    }

    /// A refusal was wrong if all that it may rest on speaks against it.
    fn wrongly_refused(
        &mut self,
        step: &Step,
        reason: Refusal,
        limit: Option<Money>,
        window: Duration,
    ) -> Option<String> {
        while self.past.len() > 1 && step.at.since(self.past[1].0) > window {
            self.past.pop_front();
        }
        let known_throughout = self
            .past
            .front()
            .is_some_and(|(since, _, _)| step.at.since(*since) > window);
        if !known_throughout {
            // It may not have been there yet; then there was nothing available either.
            return None;
        }
        let least = self
            .past
            .iter()
            .map(|(_, _, available)| *available)
            .min()
            .flatten()?;
        let reserved = self.reserved.checked_add(self.released_at(step.at))?;
        let least = least.min(limit?.checked_sub(reserved)?);
        let wrong = reason == Refusal::UnknownCustomer || least >= step.amount;
        wrong.then(|| {
            format!(
                "{} was refused at {} ({reason}) although at least {least} was available; look at customers, reservations, the limits in the log",
                step.amount, step.at
            )
        })
    }
}

fn about(row: &CustomerRow) -> String {
    format!("customer {}", row.id)
}

fn apart(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: What = What::Refuse(Refusal::InsufficientCredit);
    /// Long after the customer was created.
    const LATER: i64 = 100_000;

    /// The number of differences that the replay finds in these steps: kind, time in ms, amount.
    fn replayed(steps: &[(What, i64, i64)]) -> u64 {
        let step = |(number, &(what, at, units)): (usize, &(What, i64, i64))| Step {
            customer: Uuid::nil(),
            at: Timestamp(at),
            what,
            amount: Money::units(units),
            order: Uuid::from_u128(number as u128),
        };
        let mut steps: Vec<_> = steps.iter().enumerate().map(step).collect();
        sort(&mut steps);
        let mut found = Differences::default();
        i11_replaying_gives_the_same_decisions(None, &steps, Duration::ZERO, &mut found);
        found.total()
    }

    #[test]
    fn a_refusal_is_wrong_only_where_there_was_credit_all_the_time() {
        let with = |more: &[_]| replayed(&[&[(What::Limit(0), 0, 100)], more].concat());
        assert_eq!(with(&[(REFUSED, LATER, 101)]), 0);
        assert_eq!(with(&[(REFUSED, LATER, 100)]), 1);
        // All three have the same time. The refusal is right if 41 is more than the 40 that the reservation
        // leaves: the limit may have been raised after it.
        let reserved = (What::Reserve, LATER, 60);
        let raised = (What::Limit(1), LATER, 1000);
        assert_eq!(with(&[reserved, (REFUSED, LATER, 41), raised]), 0);
        assert_eq!(with(&[reserved, (REFUSED, LATER, 40), raised]), 1);
        assert_eq!(with(&[raised, (What::Reserve, LATER, 500)]), 0);
        assert_eq!(with(&[(What::Reserve, LATER, 500)]), 1);
    }
}
