//! Turns `OrderValidated` into a shipped or cancelled order, and tells those who wait for it.

use contracts::OrderValidated;
use shared::{
    actors::{consumer::HandlerError, handler::On},
    envelope::Context,
    events::About,
    saga::Sagas,
};

use super::commands::ApplyValidation;
use crate::domain::{Change, Order};

/// See the module.
pub struct OnOrderValidated {
    /// Where callers wait.
    pub sagas: Sagas<Order>,
}

impl On for OnOrderValidated {
    const ACTOR: &'static str = "OnOrderValidatedHandler";
    type Event = OrderValidated;
    type Command = ApplyValidation;

    fn command(&self, validation: OrderValidated, context: Context) -> Result<ApplyValidation, HandlerError> {
        Ok(ApplyValidation { validation, context })
    }

    fn outcome(&self, change: Change, about: &About) -> Result<(), HandlerError> {
        match change {
            Change::Finished(order, _) => self.sagas.is_final(&order),
            Change::AlreadyFinal(_) => {}
            Change::Unknown => {
                let order_id = about.subject().unwrap_or_default();
                return Err(HandlerError::TooEarly {
                    code: "unknown-order",
                    message: format!("there is no order {order_id}"),
                });
            }
        }
        Ok(())
    }
}
