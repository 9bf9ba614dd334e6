//! What is asked of the system: which orders, of whom, and what becomes of them. A function of the
//! seed, but for the ids: those are new each time, so that no run meets the orders of another.

use std::time::Duration;

use uuid::Uuid;

use crate::arrivals::Arrivals;

/// A load.
#[derive(Debug, Clone)]
pub struct Workload {
    /// When orders are sent.
    pub pace: Pace,
    /// How long, or how many.
    pub extent: Extent,
    /// How long before that; those orders are checked, too, but not measured.
    pub warm_up: Duration,
    /// Customers, created before anything else.
    pub customers: usize,
    /// How orders are spread over them.
    pub spread: Spread,
    /// Share of orders whose amount no customer has.
    pub rejects: f64,
    /// Share of orders that are cancelled right after they were accepted.
    pub cancels: f64,
    /// Share of orders that are sent once more under the same id.
    pub repeats: f64,
    /// Share of records of which a copy is written into the log.
    pub duplicates: f64,
    /// Final orders that are in the database before the run begins.
    pub stored: u64,
    /// Where choices come from.
    pub seed: u64,
}

/// When orders are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many callers, each with one request at a time: finds the ceiling, and nothing else.
    Closed {
        /// How many.
        callers: usize,
    },
    /// At times that do not depend on answers.
    Open {
        /// Orders a second.
        rate: f64,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// Open, a quarter faster with each step, until the system does not keep up.
    Ramp {
        /// Orders a second in the first step.
        from: f64,
        /// How they are spaced.
        arrivals: Arrivals,
        /// How long a step takes.
        step: Duration,
    },
}

/// How long, or how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    /// Orders are offered for so long.
    Time(Duration),
    /// So many are.
    Orders(u64),
}

/// How orders are spread over customers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// The n-th customer orders 1/n as often as the first.
    Zipf,
    /// Half of all orders are those of the first customer.
    Hot,
}

/// An order to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its id.
    pub id: Uuid,
    /// Number of its customer.
    pub customer: usize,
    /// What it costs.
    pub cents: u64,
    /// It asks for more than any customer has.
    pub rejected: bool,
    /// To be cancelled right after it was accepted.
    pub cancel: bool,
    /// To be sent once more.
    pub repeat: bool,
}

/// What every customer may owe, in whole units: more than a run can reserve.
pub const CREDIT: u64 = 100_000_000_000_000;
/// What an order costs that is to be rejected, in cents.
const TOO_MUCH: u64 = 900_000_000_000_000 * 100;
/// The dearest other order, in cents.
const DEAREST: u64 = 10_000;

/// The orders of a run, one after another, without end.
pub struct Plan {
    random: fastrand::Rng,
    pick: Pick,
    rejects: f64,
    cancels: f64,
    repeats: f64,
}

impl Plan {
    /// Of this load.
    pub fn new(load: &Workload) -> Plan {
        Plan {
            random: fastrand::Rng::with_seed(load.seed),
            pick: Pick::new(load.spread, load.customers),
            rejects: load.rejects,
            cancels: load.cancels,
            repeats: load.repeats,
        }
    }

    /// The next one.
    pub fn next_order(&mut self) -> Planned {
        let random = &mut self.random;
        let rejected = random.f64() < self.rejects;
        Planned {
            id: Uuid::now_v7(),
            customer: self.pick.customer(random),
            cents: if rejected {
                TOO_MUCH
            } else {
                random.u64(1..=DEAREST)
            },
            rejected,
            // What is rejected is not cancelled, so that each order has one end that is expected.
            cancel: random.f64() < self.cancels && !rejected,
            repeat: random.f64() < self.repeats,
        }
    }
}

enum Pick {
    Uniform(usize),
    /// Sums of the weights up to each customer.
    Weighted(Vec<f64>),
}

impl Pick {
    fn new(spread: Spread, customers: usize) -> Pick {
        let weight: Box<dyn Fn(usize) -> f64> = match spread {
            Spread::Uniform => return Pick::Uniform(customers),
            Spread::Zipf => Box::new(|number| 1.0 / (number + 1) as f64),
            Spread::Hot => {
                let others = customers.saturating_sub(1).max(1) as f64;
                Box::new(move |number| if number == 0 { 1.0 } else { 1.0 / others })
            }
        };
        let mut sum = 0.0;
        Pick::Weighted(
            (0..customers)
                .map(|number| {
                    sum += weight(number);
                    sum
                })
                .collect(),
        )
    }

    fn customer(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Pick::Uniform(customers) => random.usize(..*customers),
            Pick::Weighted(sums) => {
                let chosen = random.f64() * sums.last().copied().unwrap_or(0.0);
                sums.partition_point(|sum| *sum <= chosen).min(sums.len() - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(spread: Spread, customers: usize) -> Vec<f64> {
        let pick = Pick::new(spread, customers);
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = vec![0_u32; customers];
        for _ in 0..100_000 {
            counts[pick.customer(&mut random)] += 1;
        }
        counts.iter().map(|count| f64::from(*count) / 100_000.0).collect()
    }

    #[test]
    fn the_nth_customer_of_zipf_orders_an_nth_as_often_as_the_first() {
        let shares = shares(Spread::Zipf, 100);
        for n in [2, 3, 10] {
            let ratio = shares[0] / shares[n - 1];
            assert!((ratio / n as f64 - 1.0).abs() < 0.1, "1:{n} is {ratio}");
        }
    }

    #[test]
    fn a_hot_customer_has_half_of_all_orders_and_uniform_ones_have_the_same() {
        let hot = shares(Spread::Hot, 11);
        assert!((hot[0] - 0.5).abs() < 0.01, "{hot:?}");
        assert!(
            hot[1..].iter().all(|share| (share - 0.05).abs() < 0.005),
            "{hot:?}"
        );
        let uniform = shares(Spread::Uniform, 10);
        assert!(
            uniform.iter().all(|share| (share - 0.1).abs() < 0.005),
            "{uniform:?}"
        );
    }

    #[test]
    fn a_plan_has_the_shares_that_were_asked_for_and_follows_from_its_seed() {
        let load = Workload {
            pace: Pace::Closed { callers: 1 },
            extent: Extent::Orders(1),
            warm_up: Duration::ZERO,
            customers: 10,
            spread: Spread::Uniform,
            rejects: 0.1,
            cancels: 0.2,
            repeats: 0.05,
            duplicates: 0.0,
            stored: 0,
            seed: 7,
        };
        let orders = |seed| {
            let mut plan = Plan::new(&Workload { seed, ..load.clone() });
            (0..20_000).map(|_| plan.next_order()).collect::<Vec<_>>()
        };
        let planned = orders(7);
        let share = |of: fn(&Planned) -> bool| planned.iter().filter(|one| of(one)).count() as f64 / 20_000.0;
        assert!((share(|one| one.rejected) - 0.1).abs() < 0.01);
        assert!((share(|one| one.cancel) - 0.18).abs() < 0.01);
        assert!((share(|one| one.repeat) - 0.05).abs() < 0.01);
        assert!(planned.iter().all(|one| !(one.rejected && one.cancel)));
        let same = |a: &Planned, b: &Planned| (a.customer, a.cents) == (b.customer, b.cents);
        assert!(planned.iter().zip(&orders(7)).all(|(a, b)| same(a, b)));
        assert!(!planned.iter().zip(&orders(8)).all(|(a, b)| same(a, b)));
    }
}
