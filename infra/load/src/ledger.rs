//! Every order of a run, from its sending to its end, and what is wrong with it.
//!
//! An order that was accepted has to become final exactly once, in the way that was asked for. The
//! record of an event may stand in the log twice; two different final events of an order may not.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use crate::{
    run::{Counts, Moment},
    timing::Timing,
    workload::Planned,
};

mod told;

use told::Told;

/// All orders and what was counted. Times are since the begin of the run.
#[derive(Default)]
pub struct Ledger {
    orders: HashMap<Uuid, Entry>,
    /// Of the measured orders.
    counts: Counts,
    /// Since when is measured.
    from: Option<Duration>,
    /// From intended start to answer.
    pub acknowledged: Timing,
    /// From intended start to final event.
    pub completed: Timing,
    /// Final events read since the measuring began.
    finished: u64,
    /// When the last of them was.
    last: Duration,
    /// Accepted, warm-up included.
    accepted: u64,
    /// Of those, final.
    closed: u64,
    /// Orders that are not answered yet.
    under_way: u64,
    refusals: u64,
    /// The second that is not over yet.
    moment: Moment,
    second: Timing,
    unexpected: Told,
}

/// An order.
struct Entry {
    intended: Duration,
    customer: u32,
    cents: u64,
    rejected: bool,
    measured: bool,
    request: Request,
    /// The answer to its cancellation.
    cancel: Option<Cancel>,
    /// The first event of each kind: a part of its id.
    seen: [Option<u64>; 3],
    end: Option<End>,
    /// Another final event.
    second_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Sent,
    Accepted,
    /// Nothing was stored, as the answer says.
    Refused,
    /// It may be stored.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancel {
    Done,
    TooLate,
    Unknown,
}

/// What a record says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It exists.
    Created,
    /// There is credit for it, or not.
    Validated,
    /// It is final.
    Final(End),
}

/// The end of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There was credit.
    Shipped,
    /// There was none, or no such customer.
    Rejected,
    /// Its customer called it off.
    Cancelled,
    /// Any other final status.
    Other,
}

/// How an order was answered.
#[derive(Debug)]
pub enum Answered {
    /// 201.
    Accepted,
    /// 503 for good. Not stored, or perhaps.
    Refused {
        /// The answer does not exclude that it is stored.
        perhaps_stored: bool,
    },
    /// Not at all, or otherwise: what there was instead.
    Failed(String),
}

/// How a cancellation was answered.
#[derive(Debug)]
pub enum CancelAnswered {
    /// 200.
    Done,
    /// 409: it was final before.
    TooLate,
    /// 503: perhaps.
    Refused,
    /// Not at all, or otherwise: what there was instead.
    Failed(String),
}

impl Ledger {
    /// From now on is measured.
    pub fn measure_from(&mut self, now: Duration) {
        self.from = Some(now);
        self.last = now;
        self.moment = Moment::default();
        self.second.clear();
    }

    /// Whether an order counts that is to be sent at this time.
    pub fn is_measured(&self, intended: Duration) -> bool {
        self.from.is_some_and(|from| intended >= from)
    }

    /// An order is sent, or should be.
    pub fn sent(&mut self, order: &Planned, intended: Duration) {
        let measured = self.is_measured(intended);
        if measured {
            self.counts.offered += 1;
        }
        self.moment.offered += 1;
        self.under_way += 1;
        let entry = Entry {
            intended,
            customer: u32::try_from(order.customer).unwrap_or(u32::MAX),
            cents: order.cents,
            rejected: order.rejected,
            measured,
            request: Request::Sent,
            cancel: None,
            seen: [None; 3],
            end: None,
            second_end: false,
        };
        self.orders.insert(order.id, entry);
    }

    /// A 503 was answered; where that was for good, [`Ledger::answered`] is told as well.
    pub fn not_now(&mut self) {
        self.moment.refused += 1;
        self.refusals += 1;
    }

    /// How often 503 was answered so far.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Sent and not answered, or accepted and not final.
    pub fn open(&self) -> u64 {
        self.under_way + self.backlog()
    }

    /// The request of an order has been answered, or will not be.
    pub fn answered(&mut self, id: Uuid, answered: Answered, now: Duration) {
        self.under_way -= 1;
        let Some(entry) = self.orders.get_mut(&id) else {
            return;
        };
        let one = u64::from(entry.measured);
        match answered {
            Answered::Accepted => {
                entry.request = Request::Accepted;
                self.accepted += 1;
                self.closed += u64::from(entry.end.is_some());
                self.moment.accepted += 1;
                self.counts.accepted += one;
                if entry.measured {
                    self.acknowledged.record(now.saturating_sub(entry.intended));
                }
            }
            Answered::Refused { perhaps_stored } => {
                entry.request = if perhaps_stored {
                    Request::Unknown
                } else {
                    Request::Refused
                };
                self.counts.refused += one;
            }
            Answered::Failed(what) => {
                entry.request = Request::Unknown;
                self.counts.failed += one;
                self.unexpected
                    .tell(|| format!("the order {id} was answered {what}"));
            }
        }
    }

    /// An order is sent again.
    pub fn repeated(&mut self) {
        self.counts.repeated += u64::from(self.from.is_some());
    }

    /// Whatever else was not answered as it should be.
    pub fn wrong(&mut self, what: String) {
        self.unexpected.tell(|| what);
    }

    /// A cancellation is sent.
    pub fn cancel_sent(&mut self) {
        self.counts.cancel_requests += u64::from(self.from.is_some());
    }

    /// A cancellation has been answered, or will not be.
    pub fn cancel_answered(&mut self, id: Uuid, answered: CancelAnswered) {
        let cancel = match answered {
            CancelAnswered::Done => Cancel::Done,
            CancelAnswered::TooLate => Cancel::TooLate,
            CancelAnswered::Refused => Cancel::Unknown,
            CancelAnswered::Failed(what) => {
                self.unexpected
                    .tell(|| format!("the cancellation of {id} was answered {what}"));
                Cancel::Unknown
            }
        };
        if let Some(entry) = self.orders.get_mut(&id) {
            entry.cancel = Some(cancel);
        }
    }

    /// A record was read. `event` stands for the id of its event. Whether it is the first of it.
    pub fn read(&mut self, order: Uuid, said: Said, event: u64, now: Duration) -> bool {
        let Some(entry) = self.orders.get_mut(&order) else {
            return false;
        };
        let (kind, end) = match said {
            Said::Created => (0, None),
            Said::Validated => (1, None),
            Said::Final(end) => (2, Some(end)),
        };
        match entry.seen[kind] {
            Some(known) if known == event => {
                self.counts.records_twice += u64::from(entry.measured);
                return false;
            }
            // An order that was announced again, by whatever event, has the end that it has.
            Some(_) => {
                entry.second_end |= end.is_some();
                return true;
            }
            None => entry.seen[kind] = Some(event),
        }
        let Some(end) = end else { return true };
        entry.end = Some(end);
        let took = now.saturating_sub(entry.intended);
        self.closed += u64::from(entry.request == Request::Accepted);
        self.second.record(took);
        self.moment.finished += 1;
        if self.from.is_some() {
            self.finished += 1;
            self.last = now;
        }
        if entry.measured {
            self.completed.record(took);
            match end {
                End::Shipped => self.counts.shipped += 1,
                _ => self.counts.cancelled += 1,
            }
        }
        true
    }

    /// Accepted and not final.
    pub fn backlog(&self) -> u64 {
        self.accepted - self.closed
    }

    /// Ends a second of the timeline.
    pub fn end_moment(&mut self, now: Duration) -> Moment {
        let mut moment = std::mem::take(&mut self.moment);
        moment.at = now.saturating_sub(self.from.unwrap_or_default()).as_secs_f64();
        moment.backlog = self.backlog();
        moment.p99 = self.second.percentile(99.0);
        self.second.clear();
        moment
    }

    /// Counts of the measured orders.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Final events since the measuring began, and when the last of them was read.
    pub fn finished(&self) -> (u64, Duration) {
        (self.finished, self.last)
    }

    /// Final events and answers of the whole run: grows as long as something happens.
    pub fn progress(&self) -> u64 {
        self.closed + self.accepted
    }

    /// What the shipped orders of each customer cost together, in cents.
    pub fn reserved(&self, customers: usize) -> Vec<u64> {
        let mut sums = vec![0; customers];
        for entry in self.orders.values() {
            if let (Some(End::Shipped), Some(sum)) = (entry.end, sums.get_mut(entry.customer as usize)) {
                *sum += entry.cents;
            }
        }
        sums
    }

    /// What is wrong, a line each.
    pub fn faults(&self) -> Vec<String> {
        let mut told = [const { Told::new() }; 3];
        let [open, twice, other] = &mut told;
        for (id, entry) in &self.orders {
            if entry.second_end {
                twice.tell(|| format!("the order {id} has two different final events"));
            }
            match entry.fault() {
                Some(Fault::Open) => open.tell(|| format!("the order {id} was accepted and is not final")),
                Some(Fault::Other(what)) => other.tell(|| format!("the order {id} {what}")),
                None => {}
            }
        }
        told.into_iter()
            .chain([self.unexpected.clone()])
            .flat_map(Told::lines)
            .collect()
    }
}

enum Fault {
    Open,
    Other(&'static str),
}

impl Entry {
    fn fault(&self) -> Option<Fault> {
        let Some(end) = self.end else {
            return (self.request == Request::Accepted).then_some(Fault::Open);
        };
        let fault = match (end, self.cancel) {
            _ if self.request == Request::Refused => "was refused, and is final all the same",
            (End::Shipped, _) if self.rejected => "asks for more than its customer has, and was shipped",
            (End::Shipped, Some(Cancel::Done)) => "was cancelled, as was answered, and was shipped",
            (End::Rejected, _) if !self.rejected => "is covered by the credit, and was rejected",
            (End::Cancelled, Some(Cancel::TooLate)) => {
                "was cancelled by its customer, who was told that it is too late"
            }
            (End::Cancelled, None) => "was cancelled by its customer, who did not ask for it",
            _ => return None,
        };
        Some(Fault::Other(fault))
    }
}

#[cfg(test)]
mod tests;
