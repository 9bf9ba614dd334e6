//! Turns `OrderCreated` into a reservation, or into a refusal.
//!
//! Asked by the KafkaConsumerActor; asks the RepositoryActor. Holds no state of its own, so
//! deliveries may overlap; order per key is the consumer's promise.

use actix::{Actor, Context, Handler, Recipient, ResponseFuture};
use contracts::OrderCreated;
use shared::actors::{
    consumer::{Handle, HandlerError, outcome},
    essential::Essential,
    repository::Execute,
};

use super::repository::ReserveCredit;

/// The actor.
pub struct OnOrderCreatedHandler {
    repository: Recipient<Execute<ReserveCredit>>,
    _essential: Essential,
}

impl OnOrderCreatedHandler {
    /// A handler that asks this repository.
    pub fn new(repository: Recipient<Execute<ReserveCredit>>, essential: Essential) -> OnOrderCreatedHandler {
        OnOrderCreatedHandler {
            repository,
            _essential: essential,
        }
    }
}

impl Actor for OnOrderCreatedHandler {
    type Context = Context<Self>;
}

impl Handler<Handle<OrderCreated>> for OnOrderCreatedHandler {
    type Result = ResponseFuture<Result<(), HandlerError>>;

    fn handle(&mut self, message: Handle<OrderCreated>, _: &mut Context<Self>) -> Self::Result {
        let Handle {
            event: order,
            received,
            turn,
        } = message;
        let reserve = ReserveCredit {
            order,
            context: received.context(),
        };
        let asked = self.repository.send(Execute::for_event(reserve, turn));
        Box::pin(async move { outcome(asked.await).map(drop) })
    }
}
