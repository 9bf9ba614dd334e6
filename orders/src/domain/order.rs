//! An order and its way to the one final state.
//!
//! ```text
//! Created ──valid──────────────► Shipped
//!    └─────not valid, cancel────► Cancelled
//! ```
//!
//! Shipped and Cancelled are final: whatever comes later changes nothing.

use contracts::{
    CancelReason, CustomerId, OrderCancelled, OrderCreated, OrderId, OrderShipped, OrderStatus,
    OrderValidated,
};
use serde::{Deserialize, Serialize};
use shared::{envelope::Context, environment::Timestamp, money::Money, saga::AnnouncedAgain};

/// An order, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What it costs, more than nothing.
    pub amount: Money,
    /// Where it is on its way.
    pub status: OrderStatus,
    /// Why it is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CancelReason>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// The request that created it: announced again, it is the same to the byte.
    pub context: Context,
    /// What it was cancelled by: announced again, its end is the same to the byte. An order that was
    /// cancelled by an older version of this program lacks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_context: Option<Context>,
    /// Where it stayed open and was announced again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_again: Option<AnnouncedAgain>,
}

impl Order {
    /// The announcement of its creation, the same whenever it is made.
    pub fn created(&self) -> OrderCreated {
        OrderCreated {
            id: self.id,
            customer_id: self.customer_id,
            amount: self.amount,
            status: OrderStatus::Created,
        }
    }

    fn shipped(&self, now: Timestamp) -> (Order, Final) {
        let order = Order {
            status: OrderStatus::Shipped,
            updated_at: now,
            ..self.clone()
        };
        let event = OrderShipped {
            id: self.id,
            customer_id: Some(self.customer_id),
            amount: Some(self.amount),
        };
        (order, Final::Shipped(event))
    }

    fn cancelled(&self, reason: CancelReason, now: Timestamp) -> (Order, Final) {
        let order = Order {
            status: OrderStatus::Cancelled,
            reason: Some(reason),
            updated_at: now,
            ..self.clone()
        };
        let event = OrderCancelled {
            id: self.id,
            customer_id: Some(self.customer_id),
            amount: Some(self.amount),
            reason: Some(reason),
        };
        (order, Final::Cancelled(event))
    }
}

/// The announcement that an order is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Final {
    /// It is on its way.
    Shipped(OrderShipped),
    /// It will not be.
    Cancelled(OrderCancelled),
}

/// Asks for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Its id.
    pub id: OrderId,
    /// Who orders.
    pub customer_id: CustomerId,
    /// What it costs, more than nothing.
    pub amount: Money,
}

/// What becomes of a [`NewOrder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It exists from now on.
    Created(Order),
    /// The same was created before.
    Repeated(Order),
    /// Another order has this id.
    Contradicts(Order),
}

/// Decides about a new order.
pub fn create(existing: Option<&Order>, new: &NewOrder, context: &Context, now: Timestamp) -> Creation {
    match existing {
        Some(known) => create_again(known, new),
        None => Creation::Created(Order {
            id: new.id,
            customer_id: new.customer_id,
            amount: new.amount,
            status: OrderStatus::Created,
            reason: None,
            created_at: now,
            updated_at: now,
            context: context.clone(),
            end_context: None,
            announced_again: None,
        }),
    }
}

/// Decides about a new order whose id is known.
pub fn create_again(known: &Order, new: &NewOrder) -> Creation {
    if known.customer_id == new.customer_id && known.amount == new.amount {
        Creation::Repeated(known.clone())
    } else {
        Creation::Contradicts(known.clone())
    }
}

/// What becomes of an order that something is said about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is final from now on.
    Finished(Order, Final),
    /// It was final already and stays so.
    AlreadyFinal(Order),
    /// There is no such order.
    Unknown,
}

/// Decides what a validation means for the order.
pub fn apply_validation(order: Option<&Order>, validation: &OrderValidated, now: Timestamp) -> Change {
    let Some(order) = order else {
        return Change::Unknown;
    };
    if order.status.is_final() {
        return Change::AlreadyFinal(order.clone());
    }
    let (order, announced) = if validation.is_valid {
        order.shipped(now)
    } else {
        // A C# writer gives no reason; credit is the only thing that it checks.
        order.cancelled(
            validation
                .reason
                .map_or(CancelReason::InsufficientCredit, Into::into),
            now,
        )
    };
    Change::Finished(order, announced)
}

/// Decides what a customer's cancellation means for the order.
pub fn cancel(order: Option<&Order>, now: Timestamp) -> Change {
    match order {
        None => Change::Unknown,
        Some(order) if order.status.is_final() => Change::AlreadyFinal(order.clone()),
        Some(order) => {
            let (order, announced) = order.cancelled(CancelReason::CancelledByCustomer, now);
            Change::Finished(order, announced)
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::Refusal;

    use uuid::Uuid;

    use super::*;

    fn new_order() -> NewOrder {
        NewOrder {
            id: OrderId(Uuid::from_u128(7)),
            customer_id: CustomerId(Uuid::from_u128(1)),
            amount: Money::units(800),
        }
    }

    fn created() -> Order {
        match create(None, &new_order(), &Context::default(), Timestamp(1)) {
            Creation::Created(order) => order,
            other => panic!("a new order is created, not {other:?}"),
        }
    }

    fn validation(is_valid: bool, reason: Option<Refusal>) -> OrderValidated {
        OrderValidated {
            order_id: new_order().id,
            is_valid,
            customer_id: None,
            amount: None,
            reason,
        }
    }

    fn finished(change: Change) -> (Order, Final) {
        match change {
            Change::Finished(order, announced) => (order, announced),
            other => panic!("the order becomes final, not {other:?}"),
        }
    }

    #[test]
    fn a_valid_order_is_shipped() {
        let (order, announced) = finished(apply_validation(
            Some(&created()),
            &validation(true, None),
            Timestamp(2),
        ));
        let shipped = Order {
            status: OrderStatus::Shipped,
            updated_at: Timestamp(2),
            ..created()
        };
        assert_eq!(order, shipped);
        assert!(matches!(announced, Final::Shipped(event) if event.amount == Some(Money::units(800))));
    }

    #[test]
    fn an_order_that_is_not_valid_is_cancelled_with_its_reason() {
        for (given, reason) in [
            (
                Some(Refusal::InsufficientCredit),
                CancelReason::InsufficientCredit,
            ),
            (Some(Refusal::UnknownCustomer), CancelReason::UnknownCustomer),
            (None, CancelReason::InsufficientCredit),
        ] {
            let (order, announced) = finished(apply_validation(
                Some(&created()),
                &validation(false, given),
                Timestamp(2),
            ));
            let cancelled = Order {
                status: OrderStatus::Cancelled,
                reason: Some(reason),
                updated_at: Timestamp(2),
                ..created()
            };
            assert_eq!(order, cancelled);
            assert!(matches!(announced, Final::Cancelled(event) if event.reason == Some(reason)));
        }
    }

    #[test]
    fn a_final_order_never_changes() {
        let (shipped, _) = finished(apply_validation(
            Some(&created()),
            &validation(true, None),
            Timestamp(2),
        ));
        let (cancelled, _) = finished(cancel(Some(&created()), Timestamp(2)));
        for order in [shipped, cancelled] {
            let unchanged = Change::AlreadyFinal(order.clone());
            assert_eq!(
                apply_validation(Some(&order), &validation(true, None), Timestamp(3)),
                unchanged
            );
            assert_eq!(
                apply_validation(Some(&order), &validation(false, None), Timestamp(3)),
                unchanged
            );
            assert_eq!(cancel(Some(&order), Timestamp(3)), unchanged);
        }
    }

    #[test]
    fn a_cancel_that_overtakes_the_validation_wins() {
        let (order, announced) = finished(cancel(Some(&created()), Timestamp(2)));
        assert_eq!(order.reason, Some(CancelReason::CancelledByCustomer));
        assert!(matches!(announced, Final::Cancelled(_)));
        let late = apply_validation(Some(&order), &validation(true, None), Timestamp(3));
        assert_eq!(late, Change::AlreadyFinal(order));
    }

    #[test]
    fn a_repeated_order_answers_as_the_first_did_and_another_contradicts() {
        let known = created();
        let again = create(Some(&known), &new_order(), &Context::default(), Timestamp(9));
        assert_eq!(again, Creation::Repeated(known.clone()));
        let other = NewOrder {
            amount: Money::units(801),
            ..new_order()
        };
        assert_eq!(
            create(Some(&known), &other, &Context::default(), Timestamp(9)),
            Creation::Contradicts(known)
        );
    }

    #[test]
    fn an_unknown_order_is_told() {
        assert_eq!(
            apply_validation(None, &validation(true, None), Timestamp(1)),
            Change::Unknown
        );
        assert_eq!(cancel(None, Timestamp(1)), Change::Unknown);
    }
}
