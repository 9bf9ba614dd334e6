//! What is announced again, because a log can lose what it had confirmed: the end of a cancelled
//! order, when Customers is heard to hold credit for it.

use std::time::Duration;

use contracts::{OrderCancelled, OrderStatus, OrderValidated};
use shared::environment::Timestamp;

use super::Order;

/// In the ordinary race of a cancellation and a validation both are heard within moments, and the
/// `OrderCancelled` of that race is on its way. Later than this it is taken for lost.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

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
    use contracts::{CustomerId, OrderId};
    use shared::{envelope::Context, money::Money};
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Change, Creation, Final, NewOrder, cancel, create};

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
