//! The actor of an event: turns the event into a command for the RepositoryActor, and the reply into
//! what the consumer is told.
//!
//! Each event that a service handles has an actor of its own, with the name that its [`On`] gives it.
//! It is asked by the KafkaConsumerActor and asks the RepositoryActor. It holds no state, so deliveries
//! may overlap; order per key is the consumer's promise.

use std::rc::Rc;

use actix::{Actor, Addr, Context, Handler, Recipient};

use super::{
    Reply,
    consumer::{Handle, HandlerError, outcome},
    essential::Essential,
    repository::{Command, Execute},
};
use crate::{envelope, events::About, events::Event, service::Kit};

/// What a service does about an event.
pub trait On: Unpin + 'static {
    /// The name of its actor, as in `OnParcelSentHandler`.
    const ACTOR: &'static str;
    /// The event.
    type Event: Event;
    /// What it asks for.
    type Command: Command;

    /// The command for an event. An error is for good: the record is parked.
    fn command(&self, event: Self::Event, context: envelope::Context) -> Result<Self::Command, HandlerError>;

    /// What the reply means for the record. By default it is done.
    fn outcome(&self, _reply: <Self::Command as Command>::Reply, _about: &About) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// The actor.
pub struct HandlerActor<H: On> {
    on: Rc<H>,
    repository: Recipient<Execute<H::Command>>,
    _essential: Essential,
}

impl<H: On> HandlerActor<H> {
    /// Starts it on the current thread.
    pub fn start(kit: &Kit<<H::Command as Command>::Workspace>, on: H) -> Addr<HandlerActor<H>> {
        let actor = HandlerActor {
            on: Rc::new(on),
            repository: kit.repository.clone().recipient(),
            _essential: kit.essential(H::ACTOR),
        };
        Actor::start(actor)
    }
}

impl<H: On> Actor for HandlerActor<H> {
    type Context = Context<Self>;
}

impl<H: On> Handler<Handle<H::Event>> for HandlerActor<H> {
    type Result = Reply<Result<(), HandlerError>>;

    fn handle(&mut self, message: Handle<H::Event>, _: &mut Context<Self>) -> Self::Result {
        let Handle {
            event,
            received,
            turn,
        } = message;
        let about = event.about();
        let command = match self.on.command(event, received.context()) {
            Ok(command) => command,
            Err(error) => return Reply::by(async { Err(error) }),
        };
        let asked = self.repository.send(Execute::for_event(command, turn));
        let on = self.on.clone();
        Reply::by(async move { on.outcome(outcome(asked.await)?, &about) })
    }
}
