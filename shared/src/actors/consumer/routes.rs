//! The table of handlers by event name.

use std::{collections::BTreeMap, marker::PhantomData};

use actix::{MailboxError, Message, Recipient};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::{
    actors::repository::RepositoryError,
    contracts::{self, Event, EventError},
    envelope::Received,
    logging::Step,
};

/// An event for its handler; answered when its effect is durable.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), HandlerError>")]
pub struct Handle<E: Event> {
    /// What it says.
    pub event: E,
    /// Where it stood and what it came from.
    pub received: Received,
    /// To be told once the event has its place in the order of the repository; until then no later
    /// event of its key is handed over.
    pub accepted: oneshot::Sender<()>,
}

/// Why an event has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Trying again may help.
    #[error("{0}")]
    Transient(String),
    /// It will never have one.
    #[error("{message}")]
    Poison {
        /// A stable word for it; `dl-reason` of the dead letter.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// What the answer of a RepositoryActor means for the event behind the command. Every cause is named,
/// so a new one does not compile until its fate is chosen.
pub fn outcome<T>(answer: Result<Result<T, RepositoryError>, MailboxError>) -> Result<T, HandlerError> {
    let answer = answer.map_err(|error| match error {
        MailboxError::Closed | MailboxError::Timeout => HandlerError::Transient(error.to_string()),
    })?;
    answer.map_err(|error| match error {
        RepositoryError::Unavailable(message)
        | RepositoryError::OutcomeUnknown(message)
        | RepositoryError::Unfit(message) => HandlerError::Transient(message),
        RepositoryError::Panicked(message) => HandlerError::Poison {
            code: "handler-panicked",
            message,
        },
    })
}

/// What a handler answers, when it does.
pub type Answer = LocalBoxFuture<'static, Result<(), HandlerError>>;

/// Handlers by event name.
#[derive(Default)]
pub struct Routes {
    by_name: BTreeMap<&'static str, Box<dyn Route>>,
}

impl Routes {
    /// Events of this type go to this handler.
    pub fn on<E: Event>(mut self, handler: Recipient<Handle<E>>) -> Routes {
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
    fn name(&self) -> &'static str;
    /// Decodes the event and sends it to its handler.
    fn hand_over(&self, received: Received, accepted: oneshot::Sender<()>) -> Result<Answer, EventError>;
}

struct To<E: Event> {
    handler: Recipient<Handle<E>>,
    _event: PhantomData<fn() -> E>,
}

impl<E: Event> Route for To<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn hand_over(&self, received: Received, accepted: oneshot::Sender<()>) -> Result<Answer, EventError> {
        let event = contracts::read::<E>(&received.data)?;
        Step::received(&received)
            .with_some("order_id", &event.order_id())
            .with_some("customer_id", &event.customer_id())
            .log(
                log::Level::Info,
                "KafkaConsumerActor",
                format_args!("received {}", E::NAME),
            );
        let asked = self.handler.send(Handle {
            event,
            received,
            accepted,
        });
        Ok(Box::pin(async move {
            asked
                .await
                .unwrap_or_else(|error| Err(HandlerError::Transient(format!("the handler is gone: {error}"))))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bug_gives_an_event_up_everything_else_is_tried_again() {
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
        for gone in [MailboxError::Closed, MailboxError::Timeout] {
            assert!(matches!(
                outcome::<()>(Err(gone)),
                Err(HandlerError::Transient(_))
            ));
        }
    }
}
