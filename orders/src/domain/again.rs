//! What is announced again, because a log can lose what it had confirmed.
//!
//! An order that stays open announces its creation again, with longer and longer pauses, so that a
//! Customers that was away is not drowned when it comes back. An order that is cancelled announces
//! that again when Customers is heard to hold credit for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::{
    contracts::{OrderCancelled, OrderStatus, OrderValidated},
    document_store::numbers,
    environment::Timestamp,
};

use super::Order;

/// The pause between announcements of an order doubles so often.
const DOUBLINGS: u32 = 7;

/// In the ordinary race of a cancellation and a validation both are heard within moments, and the
/// `OrderCancelled` of that race is on its way. Later than this it is taken for lost.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// How an order that stays open was announced again. It stands in the order, so that instances share
/// the work without talking to each other: whoever writes it first announces, and the version guard
/// makes the others look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedAgain {
    /// How often.
    #[serde(deserialize_with = "numbers::whole")]
    pub times: u32,
    /// When last.
    pub last: Timestamp,
}

/// How long an order waits between its announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// The first pause, after it was created.
    pub after: Duration,
    /// Whether each pause is twice the one before.
    pub double: bool,
}

impl Pauses {
    /// How long an order that was announced again so often waits for the next time.
    pub fn before_next(self, times: u32) -> Duration {
        let doublings = if self.double { times.min(DOUBLINGS) } else { 0 };
        self.after * 2u32.pow(doublings)
    }
}

/// The order as it is once it is announced again; `None` where that is not due.
pub fn announce_again(order: &Order, pauses: Pauses, now: Timestamp) -> Option<Order> {
    let (since, times) = match order.announced_again {
        None => (order.created_at, 0),
        Some(AnnouncedAgain { times, last }) => (last, times),
    };
    let pause = pauses.before_next(times);
    // Not even the first pause is waited out where the time is of another clock.
    let due = since.is_past(pause, now) || since > now.after(pauses.after);
    (due && !order.status.is_final()).then(|| Order {
        announced_again: Some(AnnouncedAgain {
            times: times.saturating_add(1),
            last: now,
        }),
        ..order.clone()
    })
}

/// The end of a cancelled order, to be announced again: Customers says that it holds credit for the
/// order, long after it should have heard. `None` where nothing speaks for a loss.
pub fn cancelled_again(order: &Order, validation: &OrderValidated, now: Timestamp) -> Option<OrderCancelled> {
    let lost = validation.is_valid
        && order.status == OrderStatus::Cancelled
        && order.updated_at.is_past(LOST_AFTER, now);
    lost.then_some(OrderCancelled {
        id: order.id,
        customer_id: Some(order.customer_id),
        amount: Some(order.amount),
        reason: order.reason,
    })
}

#[cfg(test)]
mod tests {
    use shared::{
        contracts::{CustomerId, OrderId},
        envelope::Context,
        money::Money,
    };
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Change, Creation, Final, NewOrder, cancel, create};

    const PAUSES: Pauses = Pauses {
        after: Duration::from_secs(30),
        double: true,
    };

    fn second(second: i64) -> Timestamp {
        Timestamp(1_000_000 + second * 1000)
    }

    fn open() -> Order {
        let new = NewOrder {
            id: OrderId(Uuid::from_u128(7)),
            customer_id: CustomerId(Uuid::from_u128(1)),
            amount: Money::units(800),
        };
        match create(None, &new, &Context::default(), second(0)) {
            Creation::Created(order) => order,
            other => panic!("a new order is created, not {other:?}"),
        }
    }

    fn said(is_valid: bool) -> OrderValidated {
        OrderValidated {
            order_id: open().id,
            is_valid,
            customer_id: None,
            amount: None,
            reason: None,
        }
    }

    #[test]
    fn an_open_order_is_announced_again_with_pauses_that_double() {
        let mut order = open();
        let mut announced = Vec::new();
        for now in 0..=30 * 15 {
            if let Some(again) = announce_again(&order, PAUSES, second(now)) {
                announced.push(now);
                order = again;
            }
        }
        assert_eq!(announced, [30, 90, 210, 450]);
        assert_eq!(order.announced_again.map(|again| again.times), Some(4));
    }

    #[test]
    fn who_comes_second_finds_the_order_announced() {
        let announced = announce_again(&open(), PAUSES, second(30)).unwrap();
        assert_eq!(announce_again(&announced, PAUSES, second(31)), None);
    }

    #[test]
    fn a_process_that_was_just_started_does_not_wait_for_the_doubled_pause() {
        let often = Order {
            announced_again: Some(AnnouncedAgain {
                times: 6,
                last: second(100),
            }),
            ..open()
        };
        let first = Pauses {
            double: false,
            ..PAUSES
        };
        assert_eq!(announce_again(&often, PAUSES, second(130)), None);
        assert_eq!(announce_again(&often, first, second(129)), None);
        assert!(announce_again(&often, first, second(130)).is_some());
    }

    #[test]
    fn a_clock_that_ran_ahead_does_not_silence_an_order() {
        let ahead = Order {
            created_at: second(100_000),
            ..open()
        };
        assert!(announce_again(&ahead, PAUSES, second(0)).is_some());
    }

    #[test]
    fn a_final_order_is_left_alone() {
        let Change::Finished(order, _) = cancel(Some(&open()), second(1)) else {
            panic!("an open order can be cancelled");
        };
        assert_eq!(announce_again(&order, PAUSES, second(100_000)), None);
    }

    #[test]
    fn the_end_of_a_cancelled_order_is_announced_again_when_credit_is_held_long_after() {
        let Change::Finished(order, Final::Cancelled(first)) = cancel(Some(&open()), second(1)) else {
            panic!("an open order can be cancelled");
        };
        assert_eq!(cancelled_again(&order, &said(true), second(11)), Some(first));
        assert_eq!(
            cancelled_again(&order, &said(true), second(2)),
            None,
            "the ordinary race"
        );
        assert!(
            cancelled_again(&order, &said(true), second(-3600)).is_some(),
            "the clock was set back by an hour"
        );
        assert_eq!(
            cancelled_again(&order, &said(false), second(11)),
            None,
            "nothing is held"
        );
        assert_eq!(
            cancelled_again(&open(), &said(true), second(11)),
            None,
            "it is open"
        );
    }
}
