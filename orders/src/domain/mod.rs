//! The rules of Orders: pure and synchronous. Documents in, decision out.

mod again;
mod order;

pub use again::{LOST_AFTER, cancelled_again};
pub use order::{Change, Creation, Final, NewOrder, Order, apply_validation, cancel, create, create_again};
