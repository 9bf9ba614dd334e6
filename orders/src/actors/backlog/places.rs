//! Places for open orders: what this instance knows, and whether another order may come.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use contracts::CustomerId;
use tokio::time::Instant;

/// So long after orders were seen to become final, it is taken for granted that they do.
const FLOWS_FOR: Duration = Duration::from_secs(5);
/// Customers whose open orders are counted at a time.
const CUSTOMERS_AT_A_TIME: usize = 8;

/// How many orders may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// Of one customer.
    pub of_customer: usize,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// [`Limits::all`].
    All,
    /// [`Limits::of_customer`].
    OfCustomer,
}

/// What is open, as far as this instance knows.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Known>);

#[derive(Debug)]
struct Known {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Tally,
    /// Of those counted, how many have been open so long that others need not wait for them.
    stuck: usize,
    /// When orders were last seen to become final.
    flowed: Option<Instant>,
    customers: BTreeMap<CustomerId, Tally>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// In the database, when they were counted last.
    counted: usize,
    counted_at: Option<Instant>,
    /// Accepted here since that count was begun.
    since: usize,
    /// Asked for here and not decided.
    asked: usize,
}

impl Tally {
    fn open(self) -> usize {
        self.counted + self.since + self.asked
    }

    /// What was accepted `before` the count was begun is in it.
    fn is(&mut self, counted: usize, before: usize) {
        self.counted = counted;
        self.counted_at = Some(Instant::now());
        self.since = self.since.saturating_sub(before);
    }
}

/// What is known when a count is begun.
#[derive(Debug)]
pub(super) struct Before {
    all: usize,
    customers: BTreeMap<CustomerId, usize>,
    /// Those whose open orders are to be counted, too.
    pub(super) wanted: Vec<CustomerId>,
    /// More need not be counted in all.
    pub(super) most: usize,
    /// More need not be counted of a customer.
    pub(super) most_of_customer: usize,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// In all, at most [`Before::most`].
    pub(super) all: usize,
    /// Of these, open for long.
    pub(super) stuck: usize,
    /// Of the customers wanted.
    pub(super) customers: BTreeMap<CustomerId, usize>,
}

/// The place of an order that is asked for; free again when dropped, unless the order was accepted.
#[derive(Debug)]
pub struct Place(Arc<Known>, CustomerId);

impl Place {
    /// There is an order more.
    pub fn keep(self) {
        let mut counts = self.0.counts();
        counts.all.since += 1;
        counts.customers.entry(self.1).or_default().since += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.all.asked -= 1;
        if let Some(tally) = counts.customers.get_mut(&self.1) {
            tally.asked -= 1;
            if tally.open() == 0 {
                counts.customers.remove(&self.1);
            }
        }
    }
}

impl Known {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn flows(&self) -> bool {
        self.flowed.is_some_and(|flowed| flowed.elapsed() < FLOWS_FOR)
    }

    /// Orders that have been open for long say nothing about the backlog, as long as others become
    /// final: they do not count. Where none becomes final, Customers may be away as well, so they do;
    /// but some orders are let through all the same, because only these can show that it is back.
    fn has_room(&self, limits: Limits) -> bool {
        let open = self.all.open();
        let young = open.saturating_sub(self.stuck);
        let most_young = if self.flows() {
            limits.all
        } else {
            limits.all.div_ceil(100)
        };
        open <= limits.all || self.stuck > 0 && young <= most_young
    }
}

impl Backlog {
    /// At most about so many orders.
    pub fn new(limits: Limits) -> Backlog {
        Backlog(Arc::new(Known {
            limits,
            counts: Mutex::default(),
        }))
    }

    /// A place for another order of this customer, if one may be taken.
    pub fn enter(&self, customer: CustomerId) -> Result<Place, Full> {
        let limits = self.0.limits;
        let place = Place(self.0.clone(), customer);
        let mut counts = self.0.counts();
        counts.all.asked += 1;
        let tally = counts.customers.entry(customer).or_default();
        tally.asked += 1;
        let of_customer = tally.open();
        let has_room = counts.has_room(limits);
        // A place that is refused is dropped, which takes the lock.
        drop(counts);
        if !has_room {
            Err(Full::All)
        } else if of_customer > limits.of_customer {
            Err(Full::OfCustomer)
        } else {
            Ok(place)
        }
    }

    /// Whether no order is open, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.counts().all.open() == 0
    }

    /// A count is begun. Open orders of a customer are counted only where that can matter: where so
    /// many are open in all that one customer could have too many of them, and this instance has
    /// accepted many of its orders, or knows that many were open.
    pub(super) fn begin(&self) -> Before {
        let Limits { all, of_customer } = self.0.limits;
        let counts = self.0.counts();
        let matters = |tally: &Tally| {
            tally.since >= of_customer.div_ceil(8) || tally.counted + tally.since >= of_customer.div_ceil(2)
        };
        let mut wanted = Vec::new();
        if counts.all.open() > of_customer / 2 {
            let of_interest = counts.customers.iter().filter(|(_, tally)| matters(tally));
            wanted.extend(of_interest.map(|(customer, tally)| (tally.counted_at, *customer)));
        }
        // Those that were counted longest ago, or never.
        wanted.sort_unstable();
        wanted.truncate(CUSTOMERS_AT_A_TIME);
        Before {
            all: counts.all.since,
            customers: counts
                .customers
                .iter()
                .map(|(customer, tally)| (*customer, tally.since))
                .collect(),
            wanted: wanted.into_iter().map(|(_, customer)| customer).collect(),
            most: all + counts.stuck + 1,
            most_of_customer: of_customer + 1,
        }
    }

    /// So many are open.
    pub(super) fn counted(&self, before: &Before, counted: &Counted) {
        let limits = self.0.limits;
        let mut counts = self.0.counts();
        // Fewer than were there and came: some have become final.
        if counted.all < counts.all.counted + before.all && counted.all < before.most {
            counts.flowed = Some(Instant::now());
        }
        counts.all.is(counted.all, before.all);
        counts.stuck = counted.stuck;
        let few = counted.all <= limits.of_customer / 2;
        counts.customers.retain(|customer, tally| {
            let accepted = before.customers.get(customer).copied().unwrap_or(0);
            match counted.customers.get(customer) {
                Some(open) => tally.is(*open, accepted),
                // No customer can have more than all have together: what was is of no interest.
                None if few => {
                    tally.counted = 0;
                    tally.since = tally.since.saturating_sub(accepted);
                }
                None => {}
            }
            tally.open() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn backlog(all: usize, of_customer: usize) -> Backlog {
        Backlog::new(Limits { all, of_customer })
    }

    fn customer(number: u128) -> CustomerId {
        CustomerId(Uuid::from_u128(number))
    }

    /// So many orders of a customer are accepted.
    fn accept(backlog: &Backlog, of: CustomerId, orders: usize) {
        for _ in 0..orders {
            backlog.enter(of).unwrap().keep();
        }
    }

    /// The database has so many, of which these are of customers.
    fn count(backlog: &Backlog, all: usize, stuck: usize, customers: &[(CustomerId, usize)]) {
        let before = backlog.begin();
        let customers = customers
            .iter()
            .copied()
            .filter(|(customer, _)| before.wanted.contains(customer))
            .collect();
        let counted = Counted {
            all,
            stuck,
            customers,
        };
        backlog.counted(&before, &counted);
    }

    #[test]
    fn what_is_asked_for_and_what_is_accepted_take_a_place() {
        let backlog = backlog(2, 100);
        let enter = || backlog.enter(customer(1));
        let (one, two) = (enter().unwrap(), enter().unwrap());
        assert_eq!(enter().unwrap_err(), Full::All);
        drop(one);
        two.keep();
        let three = enter().unwrap();
        assert_eq!(enter().unwrap_err(), Full::All);
        drop(three);
        assert_eq!(backlog.0.counts().all.open(), 1);
    }

    #[test]
    fn a_customer_that_has_its_orders_open_is_refused_and_others_are_not() {
        let backlog = backlog(1000, 10);
        accept(&backlog, customer(1), 10);
        assert_eq!(backlog.enter(customer(1)).unwrap_err(), Full::OfCustomer);
        accept(&backlog, customer(2), 1);
        count(&backlog, 11, 0, &[(customer(1), 10)]);
        assert_eq!(backlog.enter(customer(1)).unwrap_err(), Full::OfCustomer);
        accept(&backlog, customer(2), 1);
        // Its orders become final.
        count(&backlog, 9, 0, &[(customer(1), 8)]);
        accept(&backlog, customer(1), 2);
        assert_eq!(backlog.enter(customer(1)).unwrap_err(), Full::OfCustomer);
    }

    #[test]
    fn no_customer_is_counted_while_few_orders_are_open() {
        let backlog = backlog(1000, 100);
        accept(&backlog, customer(1), 45);
        assert!(backlog.begin().wanted.is_empty());
        count(&backlog, 3, 0, &[]);
        assert!(backlog.0.counts().customers.is_empty(), "nothing is kept of it");
        accept(&backlog, customer(1), 60);
        assert_eq!(backlog.begin().wanted, [customer(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn orders_that_are_stuck_do_not_count_against_others_while_these_become_final() {
        let backlog = backlog(1000, 1000);
        count(&backlog, 1000, 1000, &[]);
        // Nobody knows yet whether anything becomes final: some are let through.
        accept(&backlog, customer(1), 10);
        assert_eq!(backlog.enter(customer(1)).unwrap_err(), Full::All);
        count(&backlog, 1000, 1000, &[]);
        accept(&backlog, customer(1), 500);
        // From now on none does.
        tokio::time::advance(FLOWS_FOR).await;
        count(&backlog, 1500, 1000, &[]);
        assert_eq!(backlog.enter(customer(1)).unwrap_err(), Full::All);
    }

    #[test]
    fn while_nothing_becomes_final_the_limit_holds_for_old_and_young_together() {
        let backlog = backlog(1000, 1000);
        count(&backlog, 900, 0, &[]);
        accept(&backlog, customer(1), 100);
        assert_eq!(backlog.enter(customer(2)).unwrap_err(), Full::All);
        count(&backlog, 1000, 990, &[]);
        assert_eq!(backlog.enter(customer(2)).unwrap_err(), Full::All);
    }
}
