//! The table of handlers by event name.

use std::{collections::BTreeMap, marker::PhantomData};

use actix::{MailboxError, Message, Recipient};
use futures_util::future::LocalBoxFuture;
use uuid::Uuid;

use crate::{
    actors::{
        handler::{HandlerActor, On},
        repository::{Command, RepositoryError, Turn},
    },
    envelope::{self, Received},
    event_log::ConsumedRecord,
    events::{self, About, Event, EventError, EventType},
    logging::Step,
    service::Kit,
};

/// An event for its handler; answered when its effect is durable.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), HandlerError>")]
pub struct Handle<E: Event> {
    /// What it says.
    pub event: E,
    /// Where it stood and what it came from.
    pub received: Received,
    /// Its place in the order of its key; goes along with the command.
    pub turn: Turn,
}

/// Why an event has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Trying again will help, sooner or later: it is tried until then.
    #[error("{0}")]
    Transient(String),
    /// What it is about is not here yet: it is tried for a while.
    #[error("{message}")]
    TooEarly {
        /// A stable word for it; `dl-reason` of the dead letter.
        code: &'static str,
        /// What is missing.
        message: String,
    },
    /// It will never have one.
    #[error("{message}")]
    Poison {
        /// A stable word for it; `dl-reason` of the dead letter.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The service is ending. Nothing is decided about the event: it will be delivered again.
    #[error("the service is ending")]
    Abandoned,
}

/// What the answer of a RepositoryActor means for the event behind the command. Every cause is named,
/// so a new one does not compile until its fate is chosen.
pub fn outcome<T>(answer: Result<Result<T, RepositoryError>, MailboxError>) -> Result<T, HandlerError> {
    let answer = answer.map_err(abandoned)?;
    answer.map_err(|error| match error {
        RepositoryError::Unavailable(message)
        | RepositoryError::OutcomeUnknown(message)
        | RepositoryError::Unfit(message) => HandlerError::Transient(message),
        RepositoryError::Stopping => HandlerError::Abandoned,
        RepositoryError::Panicked(message) => HandlerError::Poison {
            code: "handler-panicked",
            message,
        },
    })
}

/// An actor that does not answer is dead, and by that the service ends.
fn abandoned(error: MailboxError) -> HandlerError {
    match error {
        MailboxError::Closed | MailboxError::Timeout => HandlerError::Abandoned,
    }
}

/// What a handler answers, when it does.
pub type Answer = LocalBoxFuture<'static, Result<(), HandlerError>>;

/// Handlers by event name.
#[derive(Default)]
pub struct Routes {
    by_name: BTreeMap<&'static str, Box<dyn Route>>,
    known: &'static [EventType],
}

impl Routes {
    /// These events are known. Where they have no handler here, they are another service's; events of
    /// other names are skipped with a warning.
    pub fn known(mut self, types: &'static [EventType]) -> Routes {
        self.known = types;
        self
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        EventType::named(self.known, name).is_some()
    }

    /// Starts the actor of an event; events of its type go there.
    pub fn on<H: On>(self, kit: &Kit<<H::Command as Command>::Workspace>, on: H) -> Routes {
        self.to(HandlerActor::start(kit, on).recipient())
    }

    /// Events of this type go to this actor.
    pub fn to<E: Event>(mut self, handler: Recipient<Handle<E>>) -> Routes {
        self.by_name.insert(
            E::NAME,
            Box::new(To {
                handler,
                _event: PhantomData,
            }),
        );
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&dyn Route> {
        self.by_name.get(name).map(|route| &**route)
    }
}

pub(super) trait Route {
    /// Reads the event for its handler.
    fn read(&self, received: Received) -> Result<Box<dyn Addressed>, EventError>;
}

/// An event that was read, and its handler.
pub(super) trait Addressed: Send {
    fn name(&self) -> &'static str;
    /// See [`Event::about`].
    fn subject(&self) -> Option<Uuid>;
    /// What log lines about it say.
    fn traces(&self) -> Traces;
    /// Sends the event to its handler.
    fn hand_over(self: Box<Self>, turn: Turn) -> Answer;
}

/// What a log line says of a record, wherever it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Traces {
    pub event: Option<String>,
    pub event_id: Option<String>,
    pub about: About,
    pub correlation_id: Option<String>,
}

struct To<E: Event> {
    handler: Recipient<Handle<E>>,
    _event: PhantomData<fn() -> E>,
}

impl<E: Event> Route for To<E> {
    fn read(&self, received: Received) -> Result<Box<dyn Addressed>, EventError> {
        let event = events::read::<E>(&received.data)?;
        Ok(Box::new(For {
            handler: self.handler.clone(),
            event,
            received,
        }))
    }
}

struct For<E: Event> {
    handler: Recipient<Handle<E>>,
    event: E,
    received: Received,
}

impl<E: Event> Addressed for For<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn subject(&self) -> Option<Uuid> {
        self.event.about().subject()
    }

    fn traces(&self) -> Traces {
        Traces {
            about: self.event.about(),
            ..Traces::of(&self.received)
        }
    }

    fn hand_over(self: Box<Self>, turn: Turn) -> Answer {
        let For {
            handler,
            event,
            received,
        } = *self;
        Step::received(&received).ids(&event.about()).log(
            log::Level::Info,
            "KafkaConsumerActor",
            format_args!("received {}", E::NAME),
        );
        let asked = handler.send(Handle {
            event,
            received,
            turn,
        });
        Box::pin(async move { asked.await.unwrap_or_else(|error| Err(abandoned(error))) })
    }
}

impl Traces {
    /// Of a record whose value cannot be read.
    pub fn of_headers(record: &ConsumedRecord) -> Traces {
        let header = |name| envelope::header(record, name);
        Traces {
            event: header("ce_type"),
            event_id: header("ce_id"),
            correlation_id: header("ce_correlationid"),
            ..Traces::default()
        }
    }

    pub fn of(received: &Received) -> Traces {
        Traces {
            event: Some(received.name.clone()),
            event_id: Some(received.event_id.clone()),
            correlation_id: Some(received.correlation_id.clone()),
            ..Traces::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bug_is_for_good_everything_else_is_tried_again() {
        let failed = |error: RepositoryError| outcome::<()>(Ok(Err(error)));
        let transient = |message: &str| Err(HandlerError::Transient(message.into()));
        assert_eq!(outcome(Ok(Ok(7))), Ok(7));
        assert_eq!(failed(RepositoryError::Unavailable("a".into())), transient("a"));
        assert_eq!(
            failed(RepositoryError::OutcomeUnknown("b".into())),
            transient("b")
        );
        assert_eq!(failed(RepositoryError::Unfit("c".into())), transient("c"));
        let poison = HandlerError::Poison {
            code: "handler-panicked",
            message: "deciding failed".into(),
        };
        let panicked = RepositoryError::Panicked("deciding failed".into());
        assert_eq!(failed(panicked), Err(poison));
        assert_eq!(failed(RepositoryError::Stopping), Err(HandlerError::Abandoned));
        for gone in [MailboxError::Closed, MailboxError::Timeout] {
            assert_eq!(outcome::<()>(Err(gone)), Err(HandlerError::Abandoned));
        }
    }
}
