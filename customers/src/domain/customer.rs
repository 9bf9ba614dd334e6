//! A customer and the credit granted to it.

use contracts::{CreditLimitChanged, CustomerCreated, CustomerId};
use serde::{Deserialize, Serialize};
use shared::{document_store::numbers, environment::Timestamp, money::Money};

/// A customer, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: CustomerId,
    /// What people call it.
    pub name: String,
    /// Credit granted, zero or more.
    pub credit_limit: Money,
    /// What it was created with: tells a repeated creation from a contradicting one.
    pub initial_credit_limit: Money,
    /// The sum of its held reservations, zero or more.
    pub reserved: Money,
    /// How often the limit was changed: numbers the events about it.
    #[serde(deserialize_with = "numbers::whole")]
    pub limit_changes: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Customer {
    /// Credit that is left. Negative where the limit was lowered below what is reserved.
    pub fn available(&self) -> Money {
        // Both are below `Money::LIMIT`, so the difference is always exact.
        self.credit_limit
            .checked_sub(self.reserved)
            .unwrap_or(Money::ZERO)
    }
}

/// Asks for a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCustomer {
    /// Its id.
    pub id: CustomerId,
    /// What people call it.
    pub name: String,
    /// Credit granted, zero or more.
    pub credit_limit: Money,
}

/// What becomes of a [`NewCustomer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It exists from now on.
    Created(Customer, CustomerCreated),
    /// The same was created before.
    Repeated(Customer),
    /// Another customer has this id.
    Contradicts(Customer),
}

/// Decides about a new customer.
pub fn create(existing: Option<&Customer>, new: &NewCustomer, now: Timestamp) -> Creation {
    match existing {
        Some(known) => create_again(known, new),
        None => {
            let customer = Customer {
                id: new.id,
                name: new.name.clone(),
                credit_limit: new.credit_limit,
                initial_credit_limit: new.credit_limit,
                reserved: Money::ZERO,
                limit_changes: 0,
                created_at: now,
                updated_at: now,
            };
            let event = CustomerCreated {
                id: new.id,
                name: new.name.clone(),
                credit_limit: new.credit_limit,
            };
            Creation::Created(customer, event)
        }
    }
}

/// Decides about a new customer whose id is known.
pub fn create_again(known: &Customer, new: &NewCustomer) -> Creation {
    if known.name == new.name && known.initial_credit_limit == new.credit_limit {
        Creation::Repeated(known.clone())
    } else {
        Creation::Contradicts(known.clone())
    }
}

/// Decides about another credit limit; it may be lower than what is reserved. `None`: it is that
/// already.
pub fn change_credit_limit(
    customer: &Customer,
    credit_limit: Money,
    now: Timestamp,
) -> Option<(Customer, CreditLimitChanged)> {
    if customer.credit_limit == credit_limit {
        return None;
    }
    let limit_changes = customer.limit_changes + 1;
    let changed = Customer {
        credit_limit,
        limit_changes,
        updated_at: now,
        ..customer.clone()
    };
    Some((
        changed,
        CreditLimitChanged {
            customer_id: customer.id,
            credit_limit,
        },
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;

    pub(crate) fn customer(credit_limit: i64) -> Customer {
        let new = NewCustomer {
            id: CustomerId(Uuid::from_u128(1)),
            name: "Ada".into(),
            credit_limit: Money::units(credit_limit),
        };
        match create(None, &new, Timestamp(0)) {
            Creation::Created(customer, _) => customer,
            other => panic!("a new customer is created, not {other:?}"),
        }
    }

    #[test]
    fn a_repeated_creation_answers_as_the_first_did() {
        let known = customer(100);
        let again = NewCustomer {
            id: known.id,
            name: known.name.clone(),
            credit_limit: known.initial_credit_limit,
        };
        assert_eq!(
            create(Some(&known), &again, Timestamp(9)),
            Creation::Repeated(known.clone())
        );
        let raised = Customer {
            credit_limit: Money::units(500),
            ..known
        };
        assert_eq!(
            create(Some(&raised), &again, Timestamp(9)),
            Creation::Repeated(raised)
        );
    }

    #[test]
    fn another_customer_with_the_same_id_contradicts() {
        let known = customer(100);
        let other = NewCustomer {
            id: known.id,
            name: "Bob".into(),
            credit_limit: Money::units(100),
        };
        assert_eq!(
            create(Some(&known), &other, Timestamp(9)),
            Creation::Contradicts(known)
        );
    }

    #[test]
    fn a_limit_may_be_lowered_below_what_is_reserved() {
        let known = Customer {
            reserved: Money::units(80),
            ..customer(100)
        };
        let (lowered, event) = change_credit_limit(&known, Money::units(50), Timestamp(9)).unwrap();
        assert_eq!(lowered.available(), Money::units(-30));
        let expected = Customer {
            credit_limit: Money::units(50),
            limit_changes: known.limit_changes + 1,
            updated_at: Timestamp(9),
            ..known
        };
        assert_eq!(lowered, expected);
        assert_eq!(event.credit_limit, Money::units(50));
    }

    #[test]
    fn the_same_limit_again_changes_nothing() {
        assert_eq!(
            change_credit_limit(&customer(100), Money::units(100), Timestamp(9)),
            None
        );
    }
}
