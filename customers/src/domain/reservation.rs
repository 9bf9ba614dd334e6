//! Credit set aside for an order. One document for each order: what was decided, how it stands, and
//! the proof that it was decided once.

use contracts::{CustomerId, OrderCreated, OrderId, OrderValidated, Refusal};
use serde::{Deserialize, Serialize};
use shared::{envelope::Context, environment::Timestamp, money::Money};

use super::Customer;

/// A reservation, as it is stored; its id is that of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The order.
    #[serde(rename = "_id")]
    pub id: OrderId,
    /// Who ordered.
    pub customer_id: CustomerId,
    /// What the order costs; zero where that was never learned.
    pub amount: Money,
    /// How it stands.
    pub state: ReservationState,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Refusal>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// What the decision came from: announced again, it is the same to the byte.
    pub context: Context,
}

/// How a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReservationState {
    /// The amount is set aside.
    Held,
    /// It was, until the order was cancelled.
    Released,
    /// There was too little credit, or no such customer.
    Refused,
    /// The order was cancelled before it was seen here: never to be reserved.
    Void,
}

impl Reservation {
    /// What was decided, to be announced (again). None where nothing was.
    pub fn validation(&self) -> Option<OrderValidated> {
        let is_valid = match self.state {
            ReservationState::Held | ReservationState::Released => true,
            ReservationState::Refused => false,
            ReservationState::Void => return None,
        };
        Some(OrderValidated {
            order_id: self.id,
            is_valid,
            customer_id: Some(self.customer_id),
            amount: Some(self.amount),
            reason: self.reason,
        })
    }
}

/// What becomes of an order that asks for credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The amount is set aside.
    Reserved(Customer, Reservation),
    /// Nothing is.
    Refused(Reservation),
    /// It was decided before, and stays so.
    Known(Reservation),
}

/// Decides whether there is credit for an order: valid when what is available covers the amount.
pub fn reserve(
    customer: Option<&Customer>,
    known: Option<&Reservation>,
    order: &OrderCreated,
    context: &Context,
    now: Timestamp,
) -> Decision {
    if let Some(known) = known {
        return Decision::Known(known.clone());
    }
    let decided = |state, reason| Reservation {
        id: order.id,
        customer_id: order.customer_id,
        amount: order.amount,
        state,
        reason,
        decided_at: now,
        updated_at: now,
        context: context.clone(),
    };
    let Some(customer) = customer else {
        return Decision::Refused(decided(ReservationState::Refused, Some(Refusal::UnknownCustomer)));
    };
    match customer.reserved.checked_add(order.amount) {
        Some(reserved) if customer.available() >= order.amount => {
            let customer = Customer {
                reserved,
                updated_at: now,
                ..customer.clone()
            };
            Decision::Reserved(customer, decided(ReservationState::Held, None))
        }
        _ => Decision::Refused(decided(
            ReservationState::Refused,
            Some(Refusal::InsufficientCredit),
        )),
    }
}

/// What becomes of the reservation of a cancelled order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// The amount is available again.
    Released(Customer, Reservation),
    /// The order was never seen; it will not be reserved any more.
    Voided(Reservation),
    /// Nothing was held.
    Nothing,
}

/// Gives back what is held for a cancelled order; once.
pub fn release(
    customer: Option<&Customer>,
    known: Option<&Reservation>,
    order: (OrderId, CustomerId),
    context: &Context,
    now: Timestamp,
) -> Release {
    let (id, customer_id) = order;
    match (known, customer) {
        (None, _) => Release::Voided(Reservation {
            id,
            customer_id,
            amount: Money::ZERO,
            state: ReservationState::Void,
            reason: None,
            decided_at: now,
            updated_at: now,
            context: context.clone(),
        }),
        (Some(held), Some(customer))
            if held.state == ReservationState::Held && held.customer_id == customer.id =>
        {
            // A held amount is part of the sum, so the difference is exact and not negative.
            let reserved = customer.reserved.checked_sub(held.amount).unwrap_or(Money::ZERO);
            let customer = Customer {
                reserved,
                updated_at: now,
                ..customer.clone()
            };
            let released = Reservation {
                state: ReservationState::Released,
                updated_at: now,
                ..held.clone()
            };
            Release::Released(customer, released)
        }
        (Some(_), _) => Release::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use contracts::OrderStatus;

    use uuid::Uuid;

    use super::*;
    use crate::domain::customer::tests::customer;

    fn order(amount: i64) -> OrderCreated {
        OrderCreated {
            id: OrderId(Uuid::from_u128(7)),
            customer_id: CustomerId(Uuid::from_u128(1)),
            amount: Money::units(amount),
            status: OrderStatus::Created,
        }
    }

    fn decide(customer: Option<&Customer>, known: Option<&Reservation>, amount: i64) -> Decision {
        reserve(customer, known, &order(amount), &Context::default(), Timestamp(5))
    }

    fn held(amount: i64) -> (Customer, Reservation) {
        match decide(Some(&customer(1000)), None, amount) {
            Decision::Reserved(customer, reservation) => (customer, reservation),
            other => panic!("there is credit, so it is reserved, not {other:?}"),
        }
    }

    fn cancel(customer: &Customer, known: Option<&Reservation>) -> Release {
        let order = order(1);
        release(
            Some(customer),
            known,
            (order.id, order.customer_id),
            &Context::default(),
            Timestamp(6),
        )
    }

    #[test]
    fn an_order_within_the_available_credit_is_reserved() {
        let (reserved, reservation) = held(1000);
        assert_eq!(reserved.available(), Money::ZERO);
        let expected = Customer {
            reserved: Money::units(1000),
            updated_at: Timestamp(5),
            ..customer(1000)
        };
        assert_eq!(reserved, expected);
        assert!(reservation.validation().unwrap().is_valid);
    }

    #[test]
    fn an_order_beyond_the_available_credit_is_refused() {
        let (customer, _) = held(800);
        match decide(Some(&customer), None, 201) {
            Decision::Refused(refused) => {
                let said = refused.validation().unwrap();
                assert_eq!(
                    (said.is_valid, said.reason),
                    (false, Some(Refusal::InsufficientCredit))
                );
            }
            other => panic!("refused, not {other:?}"),
        }
    }

    #[test]
    fn an_order_of_an_unknown_customer_is_refused() {
        let refused = decide(None, None, 1);
        assert!(matches!(
            refused,
            Decision::Refused(Reservation {
                reason: Some(Refusal::UnknownCustomer),
                ..
            })
        ));
    }

    #[test]
    fn a_known_reservation_is_answered_again_not_applied_again() {
        let (customer, reservation) = held(800);
        assert_eq!(
            decide(Some(&customer), Some(&reservation), 800),
            Decision::Known(reservation)
        );
    }

    #[test]
    fn a_cancelled_order_gives_its_credit_back_once() {
        let (customer, reservation) = held(800);
        let released = Reservation {
            state: ReservationState::Released,
            updated_at: Timestamp(6),
            ..reservation.clone()
        };
        let given_back = Customer {
            reserved: Money::ZERO,
            updated_at: Timestamp(6),
            ..customer.clone()
        };
        assert_eq!(
            cancel(&customer, Some(&reservation)),
            Release::Released(given_back.clone(), released.clone())
        );
        assert_eq!(cancel(&given_back, Some(&released)), Release::Nothing);
    }

    #[test]
    fn an_order_cancelled_before_it_was_seen_is_never_reserved() {
        let Release::Voided(void) = cancel(&customer(1000), None) else {
            panic!("it is noted")
        };
        assert_eq!(void.validation(), None);
        assert_eq!(
            decide(Some(&customer(1000)), Some(&void), 800),
            Decision::Known(void)
        );
    }

    #[test]
    fn a_negative_credit_refuses_until_it_recovers() {
        let (customer, _) = held(800);
        let lowered = Customer {
            credit_limit: Money::units(500),
            ..customer.clone()
        };
        assert!(matches!(decide(Some(&lowered), None, 1), Decision::Refused(_)));
        let raised = Customer {
            credit_limit: Money::units(801),
            ..customer
        };
        assert!(matches!(decide(Some(&raised), None, 1), Decision::Reserved(..)));
    }
}
