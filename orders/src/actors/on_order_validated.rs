//! Turns `OrderValidated` into a shipped or cancelled order.
//!
//! Asked by the KafkaConsumerActor; asks the RepositoryActor and tells the OrderWatchActor. Holds no
//! state of its own, so deliveries may overlap; order per key is the consumer's promise.

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};
use contracts::OrderValidated;
use shared::actors::{
    consumer::{Handle, HandlerError, outcome},
    essential::Essential,
    repository::Execute,
};

use super::{order_watch::OrderIsFinal, repository::ApplyValidation};
use crate::domain::Change;

/// The actor.
pub struct OnOrderValidatedHandler {
    repository: Recipient<Execute<ApplyValidation>>,
    watch: Recipient<OrderIsFinal>,
    _essential: Essential,
}

impl OnOrderValidatedHandler {
    /// A handler that asks this repository and tells who waits for the order.
    pub fn new(
        repository: Recipient<Execute<ApplyValidation>>,
        watch: Recipient<OrderIsFinal>,
        essential: Essential,
    ) -> OnOrderValidatedHandler {
        OnOrderValidatedHandler {
            repository,
            watch,
            _essential: essential,
        }
    }
}

impl Actor for OnOrderValidatedHandler {
    type Context = Context<Self>;
}

impl Handler<Handle<OrderValidated>> for OnOrderValidatedHandler {
    type Result = ResponseFuture<Result<(), HandlerError>>;

    fn handle(&mut self, message: Handle<OrderValidated>, _: &mut Context<Self>) -> Self::Result {
        let Handle {
            event: validation,
            received,
            turn,
        } = message;
        let order_id = validation.order_id;
        let apply = ApplyValidation {
            validation,
            context: received.context(),
        };
        let asked = self.repository.send(Execute::for_event(apply, turn));
        let watch = self.watch.clone();
        Box::pin(async move {
            match outcome(asked.await)? {
                Change::Finished(order, _) => watch.do_send(OrderIsFinal(order)),
                Change::AlreadyFinal(_) => {}
                Change::Unknown => {
                    let message = format!("there is no order {order_id}");
                    return Err(HandlerError::TooEarly {
                        code: "unknown-order",
                        message,
                    });
                }
            }
            Ok(())
        })
    }
}
