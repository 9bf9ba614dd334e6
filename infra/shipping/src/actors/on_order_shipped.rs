//! Turns `OrderShipped` into a shipment.

use contracts::OrderShipped;
use shared::{
    actors::{consumer::HandlerError, handler::On},
    envelope::Context,
    events::About,
    metrics::IntCounter,
};

use super::prepare_shipment::PrepareShipment;

pub struct OnOrderShipped {
    pub prefix: String,
    pub prepared: IntCounter,
}

impl On for OnOrderShipped {
    const ACTOR: &'static str = "OnOrderShippedHandler";
    type Event = OrderShipped;
    type Command = PrepareShipment;

    fn command(&self, order: OrderShipped, context: Context) -> Result<PrepareShipment, HandlerError> {
        let prefix = self.prefix.clone();
        Ok(PrepareShipment {
            order,
            prefix,
            context,
        })
    }

    fn outcome(&self, is_new: bool, _: &About) -> Result<(), HandlerError> {
        self.prepared.inc_by(u64::from(is_new));
        Ok(())
    }
}
