//! The rules of Customers: pure and synchronous. Documents in, decision out.

mod customer;
mod reservation;

pub use customer::{Creation, Customer, NewCustomer, change_credit_limit, create, create_again};
pub use reservation::{Decision, Release, Reservation, ReservationState, release, reserve};
