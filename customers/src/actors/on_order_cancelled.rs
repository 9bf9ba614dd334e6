//! Turns `OrderCancelled` into the release of what was held for the order.
//!
//! Asked by the KafkaConsumerActor; asks the RepositoryActor. Holds no state of its own, so
//! deliveries may overlap; order per key is the consumer's promise.

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};
use contracts::OrderCancelled;
use shared::actors::{
    consumer::{Handle, HandlerError, outcome},
    essential::Essential,
    repository::Execute,
};

use super::repository::ReleaseCredit;

/// The actor.
pub struct OnOrderCancelledHandler {
    repository: Recipient<Execute<ReleaseCredit>>,
    _essential: Essential,
}

impl OnOrderCancelledHandler {
    /// A handler that asks this repository.
    pub fn new(
        repository: Recipient<Execute<ReleaseCredit>>,
        essential: Essential,
    ) -> OnOrderCancelledHandler {
        OnOrderCancelledHandler {
            repository,
            _essential: essential,
        }
    }
}

impl Actor for OnOrderCancelledHandler {
    type Context = Context<Self>;
}

impl Handler<Handle<OrderCancelled>> for OnOrderCancelledHandler {
    type Result = ResponseFuture<Result<(), HandlerError>>;

    fn handle(&mut self, message: Handle<OrderCancelled>, _: &mut Context<Self>) -> Self::Result {
        let Handle {
            event,
            received,
            turn,
        } = message;
        let Some(customer_id) = event.customer_id else {
            let message =
                "OrderCancelled without customerId: whose credit to release is not known".to_owned();
            return Box::pin(async {
                Err(HandlerError::Poison {
                    code: "no-customer",
                    message,
                })
            });
        };
        let release = ReleaseCredit {
            order_id: event.id,
            customer_id,
            context: received.context(),
        };
        let asked = self.repository.send(Execute::for_event(release, turn));
        Box::pin(async move { outcome(asked.await).map(drop) })
    }
}
