//! Turns `OrderCreated` into a reservation, or into a refusal.

use contracts::OrderCreated;
use shared::{
    actors::{consumer::HandlerError, handler::On},
    envelope::Context,
};

use super::commands::ReserveCredit;

/// See the module.
pub struct OnOrderCreated;

impl On for OnOrderCreated {
    const ACTOR: &'static str = "OnOrderCreatedHandler";
    type Event = OrderCreated;
    type Command = ReserveCredit;

    fn command(&self, order: OrderCreated, context: Context) -> Result<ReserveCredit, HandlerError> {
        Ok(ReserveCredit { order, context })
    }
}
