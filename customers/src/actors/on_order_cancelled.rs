//! Turns `OrderCancelled` into the release of what was held for the order.

use contracts::OrderCancelled;
use shared::{
    actors::{consumer::HandlerError, handler::On},
    envelope::Context,
};

use super::commands::ReleaseCredit;

/// See the module.
pub struct OnOrderCancelled;

impl On for OnOrderCancelled {
    const ACTOR: &'static str = "OnOrderCancelledHandler";
    type Event = OrderCancelled;
    type Command = ReleaseCredit;

    fn command(&self, event: OrderCancelled, context: Context) -> Result<ReleaseCredit, HandlerError> {
        let customer_id = event.customer_id.ok_or_else(|| HandlerError::Poison {
            code: "no-customer",
            message: "OrderCancelled without customerId: whose credit to release is not known".to_owned(),
        })?;
        Ok(ReleaseCredit {
            order_id: event.id,
            customer_id,
            context,
        })
    }
}
