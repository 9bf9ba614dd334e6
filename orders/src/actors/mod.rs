//! The behaviour of Orders: one actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: one file `on_<event>.rs` and one line in [`start`].

use actix::{Actor, MailboxError, Recipient};
use shared::{
    actors::{
        consumer::{HandlerError, Routes},
        repository::{Execute, Find, List, RepositoryError},
    },
    contracts::OrderValidated,
    service::Kit,
};

pub mod on_order_validated;
pub mod order_watch;
pub mod reannouncement;
pub mod repository;

use on_order_validated::OnOrderValidatedHandler;
use order_watch::{AwaitFinal, OrderIsFinal, OrderWatchActor};
use reannouncement::ReannouncementActor;
use repository::{CancelOrder, CreateOrder, OrdersWorkspace};

use crate::domain::Order;

/// The actors that HTTP endpoints ask.
#[derive(Clone)]
pub struct Endpoints {
    /// Creates an order.
    pub create: Recipient<Execute<CreateOrder>>,
    /// Cancels an order.
    pub cancel: Recipient<Execute<CancelOrder>>,
    /// Reads orders.
    pub find: Recipient<Find<Order>>,
    /// Pages through orders.
    pub list: Recipient<List<Order>>,
    /// Waits for an order to become final.
    pub watch: Recipient<AwaitFinal>,
    /// Tells those who wait.
    pub finished: Recipient<OrderIsFinal>,
}

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<OrdersWorkspace>) -> (Endpoints, Routes) {
    let repository = &kit.repository;
    let watch =
        OrderWatchActor::new(repository.clone().recipient(), kit.essential("OrderWatchActor")).start();
    ReannouncementActor::new(
        repository.clone().recipient(),
        kit.publisher.clone(),
        kit.environment.clone(),
        kit.reannounce_after,
        kit.essential("ReannouncementActor"),
    )
    .start();
    let on_order_validated = OnOrderValidatedHandler::new(
        repository.clone().recipient(),
        watch.clone().recipient(),
        kit.essential("OnOrderValidatedHandler"),
    );
    let routes = Routes::default().on::<OrderValidated>(on_order_validated.start().recipient());
    let endpoints = Endpoints {
        create: repository.clone().recipient(),
        cancel: repository.clone().recipient(),
        find: repository.clone().recipient(),
        list: repository.clone().recipient(),
        watch: watch.clone().recipient(),
        finished: watch.recipient(),
    };
    (endpoints, routes)
}

/// What a failed command means for the event behind it. Every cause is named, so a new one does not
/// compile until its fate is chosen.
fn classify<T>(answer: Result<Result<T, RepositoryError>, MailboxError>) -> Result<T, HandlerError> {
    answer
        .map_err(|error| HandlerError::Transient(error.to_string()))?
        .map_err(|error| match error {
            RepositoryError::Unavailable(message)
            | RepositoryError::OutcomeUnknown(message)
            | RepositoryError::Unfit(message) => HandlerError::Transient(message),
            RepositoryError::Panicked(message) => HandlerError::Poison {
                code: "handler-panicked",
                message,
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bug_gives_an_event_up_everything_else_is_tried_again() {
        let failed = |error: RepositoryError| classify::<()>(Ok(Err(error)));
        let transient = |message: &str| Err(HandlerError::Transient(message.into()));
        assert_eq!(classify(Ok(Ok(7))), Ok(7));
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
        assert_eq!(
            failed(RepositoryError::Panicked("deciding failed".into())),
            Err(poison)
        );
        for gone in [MailboxError::Closed, MailboxError::Timeout] {
            assert!(matches!(
                classify::<()>(Err(gone)),
                Err(HandlerError::Transient(_))
            ));
        }
    }
}
