//! The ids that services exchange, and what happens in a saga as closed lists of words.

use shared::{id, words};

id!(
    /// A customer.
    CustomerId
);
id!(
    /// An order, and the reservation made for it.
    OrderId
);
words!(
    /// Why Customers found an order invalid.
    Refusal: "InsufficientCredit or UnknownCustomer" {
        /// The customer's available credit is smaller than the amount.
        InsufficientCredit,
        /// There is no such customer.
        UnknownCustomer,
    }
);

words!(
    /// Why an order is cancelled.
    CancelReason: "InsufficientCredit, UnknownCustomer, CancelledByCustomer or TimedOut" {
        /// Customers found too little credit.
        InsufficientCredit,
        /// Customers knows no such customer.
        UnknownCustomer,
        /// Somebody asked for it.
        CancelledByCustomer,
        /// Nobody validated it in time. Read, never written: our orders are announced again instead.
        TimedOut,
    }
);

impl From<Refusal> for CancelReason {
    fn from(refusal: Refusal) -> CancelReason {
        match refusal {
            Refusal::InsufficientCredit => CancelReason::InsufficientCredit,
            Refusal::UnknownCustomer => CancelReason::UnknownCustomer,
        }
    }
}
