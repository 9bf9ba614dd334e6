//! What the HTTP side of every service has in common.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use actix_web::{HttpRequest, HttpResponse, Resource, web};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::actors::repository::{Command, Execute, RepositoryError};

mod body;
mod common;
pub mod parked;
mod problem;
mod query;
mod request;

pub use body::Body;
pub use common::{CommonEndpoints, Readiness, unknown_path};
pub use problem::Problem;
pub use query::{Page, PageQuery, Parameters, Unreadable, parse_duration, path_id, requested_id, the_one};
pub use request::{RequestContext, surround};

use request::regardless_of_the_caller;

/// A command that is begun in time may be tried a last time: its own answer says more than none.
const LAST_TRY: Duration = Duration::from_secs(2);

/// Lets requests in, as many as can be under way.
#[derive(Clone)]
pub struct Admission {
    commands: Arc<Semaphore>,
    /// Apart from the commands: reading goes on while commands wait for the log.
    questions: Arc<Semaphore>,
    patience: Duration,
}

impl Admission {
    /// At most `most` commands whose events are not in the log yet, and as many questions; each
    /// answered within `patience`.
    pub fn new(most: usize, patience: Duration) -> Admission {
        let semaphore = || Arc::new(Semaphore::new(most));
        Admission {
            commands: semaphore(),
            questions: semaphore(),
            patience,
        }
    }

    /// Commands that may be taken now.
    pub fn free(&self) -> usize {
        self.commands.available_permits()
    }

    /// For a caller who waits longer than an answer takes: lets go of it when dropped.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        permit(&self.questions)
    }

    /// Has a command executed. It is, once taken, even if the caller hangs up.
    pub async fn execute<C: Command>(
        &self,
        actor: &Recipient<Execute<C>>,
        command: C,
    ) -> Result<C::Reply, Problem> {
        let permit = permit(&self.commands)?;
        let deadline = Instant::now() + self.patience;
        ask(
            actor,
            Execute::for_request(command, deadline, permit),
            self.patience + LAST_TRY,
        )
        .await
    }

    /// Has a question answered.
    pub async fn ask<M, T>(&self, actor: &Recipient<M>, question: M) -> Result<T, Problem>
    where
        M: Message<Result = Result<T, RepositoryError>> + Send + 'static,
        T: Send + 'static,
    {
        let _permit = self.enter()?;
        ask(actor, question, self.patience).await
    }
}

fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    semaphore
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded())
}

async fn ask<M, T>(actor: &Recipient<M>, message: M, patience: Duration) -> Result<T, Problem>
where
    M: Message<Result = Result<T, RepositoryError>> + Send + 'static,
    T: Send + 'static,
{
    let asked = regardless_of_the_caller(actor.send(message));
    match tokio::time::timeout(patience, asked).await {
        Ok(Some(Ok(answer))) => Ok(answer?),
        // Whether an actor that is gone had done it before, nobody can tell.
        Ok(Some(Err(_))) | Ok(None) | Err(_) => Err(Problem::outcome_unknown()),
    }
}

/// A resource at a path; methods that it has no route for are answered with those it has.
pub fn resource(path: &'static str, methods: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| async move {
        Err::<HttpResponse, _>(Problem::method_not_allowed(request.method().as_str(), methods))
    };
    web::resource(path).default_service(web::to(refuse))
}
