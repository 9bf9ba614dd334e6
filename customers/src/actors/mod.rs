//! The behaviour of Customers: one actor for each event that it handles, and the commands that its
//! RepositoryActor executes.
//!
//! To handle another event: one file `on_<event>.rs` and one line in [`start`].

use actix::{Actor, MailboxError, Recipient};
use shared::{
    actors::{
        consumer::{HandlerError, Routes},
        repository::{Execute, Find, List, RepositoryError},
    },
    contracts::{OrderCancelled, OrderCreated},
    service::Kit,
};

pub mod on_order_cancelled;
pub mod on_order_created;
pub mod repository;

use on_order_cancelled::OnOrderCancelledHandler;
use on_order_created::OnOrderCreatedHandler;
use repository::{ChangeCreditLimit, CreateCustomer, CustomersWorkspace};

use crate::domain::{Customer, Reservation};

/// The actors that HTTP endpoints ask.
#[derive(Clone)]
pub struct Endpoints {
    /// Creates a customer.
    pub create: Recipient<Execute<CreateCustomer>>,
    /// Changes a credit limit.
    pub change_credit_limit: Recipient<Execute<ChangeCreditLimit>>,
    /// Reads customers.
    pub find: Recipient<Find<Customer>>,
    /// Pages through customers.
    pub list: Recipient<List<Customer>>,
    /// Pages through reservations.
    pub reservations: Recipient<List<Reservation>>,
}

/// Starts the actors of this service on the current thread: endpoints, and the table of handlers.
pub fn start(kit: &Kit<CustomersWorkspace>) -> (Endpoints, Routes) {
    let repository = &kit.repository;
    let on_order_created = OnOrderCreatedHandler::new(
        repository.clone().recipient(),
        kit.essential("OnOrderCreatedHandler"),
    );
    let on_order_cancelled = OnOrderCancelledHandler::new(
        repository.clone().recipient(),
        kit.essential("OnOrderCancelledHandler"),
    );
    let routes = Routes::default()
        .on::<OrderCreated>(on_order_created.start().recipient())
        .on::<OrderCancelled>(on_order_cancelled.start().recipient());
    let endpoints = Endpoints {
        create: repository.clone().recipient(),
        change_credit_limit: repository.clone().recipient(),
        find: repository.clone().recipient(),
        list: repository.clone().recipient(),
        reservations: repository.clone().recipient(),
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
