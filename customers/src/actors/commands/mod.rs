//! What the RepositoryActor of Customers is asked to do: a file for each command, with its decision and
//! the log line of its effect.

mod change_credit_limit;
mod create_customer;
mod release_credit;
mod reserve_credit;

pub use change_credit_limit::ChangeCreditLimit;
pub use create_customer::CreateCustomer;
pub use release_credit::ReleaseCredit;
pub use reserve_credit::ReserveCredit;
