//! What the HTTP side of every service has in common.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::{Method, header},
    web,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    actors::repository::{Command, Execute, Find, Found, RepositoryError},
    document_store::Document,
};

mod body;
mod common;
mod heartbeat;
mod lifecycle;
pub mod parked;
mod problem;
mod query;
mod refusals;
mod request;

pub use body::Body;
pub use common::{CommonEndpoints, Readiness, unknown_path};
pub use heartbeat::Heartbeat;
pub use lifecycle::{Lifecycle, UnderWay};
pub use problem::Problem;
pub use query::{
    Page, PageQuery, Parameters, Unreadable, Wait, parse_duration, path_id, requested_id, the_one,
};
pub use refusals::Refusals;
pub use request::{RequestContext, surround};

use request::regardless_of_the_caller;

/// A command that is begun in time may be tried a last time: its own answer says more than none.
const LAST_TRY: Duration = Duration::from_secs(2);

/// Look-ups of what may be stored already, at a time, while there is no room for commands. Enough for
/// callers who repeat an order; too few to make overload worse.
const LOOK_UPS: usize = 16;

/// Lets requests in, as many as can be under way.
#[derive(Clone)]
pub struct Admission {
    commands: Arc<Semaphore>,
    /// Apart from the commands: reading goes on while commands wait for the log.
    questions: Arc<Semaphore>,
    /// Apart from the questions, which may be as many as commands.
    look_ups: Arc<Semaphore>,
    patience: Duration,
    lifecycle: Lifecycle,
}

/// The place of a command that was let in; free again when its events are in the log, or when dropped.
pub struct Admitted {
    permit: OwnedSemaphorePermit,
    patience: Duration,
}

impl Admitted {
    /// Has the command executed. It is, once taken, even if the caller hangs up.
    pub async fn execute<C: Command>(
        self,
        actor: &Recipient<Execute<C>>,
        command: C,
    ) -> Result<C::Reply, Problem> {
        let Admitted { permit, patience } = self;
        let deadline = Instant::now() + patience;
        let command = Execute::for_request(command, deadline, permit);
        ask(actor, command, patience + LAST_TRY).await
    }
}

impl Admission {
    /// At most `most` commands whose events are not in the log yet, and as many questions; each
    /// answered within `patience`.
    pub fn new(most: usize, patience: Duration) -> Admission {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Admission {
            commands: semaphore(most),
            questions: semaphore(most),
            look_ups: semaphore(LOOK_UPS),
            patience,
            lifecycle: Lifecycle::default(),
        }
    }

    /// Whether requests are taken at all.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Commands that may be taken now.
    pub fn free(&self) -> usize {
        self.commands.available_permits()
    }

    /// A place for a command, if there is one.
    pub fn admit(&self) -> Result<Admitted, Problem> {
        let patience = self.patience;
        permit(&self.commands).map(|permit| Admitted { permit, patience })
    }

    /// Has a command executed. It is, once taken, even if the caller hangs up.
    pub async fn execute<C: Command>(
        &self,
        actor: &Recipient<Execute<C>>,
        command: C,
    ) -> Result<C::Reply, Problem> {
        self.admit()?.execute(actor, command).await
    }

    /// Has a question answered.
    pub async fn ask<M, T>(&self, actor: &Recipient<M>, question: M) -> Result<T, Problem>
    where
        M: Message<Result = Result<T, RepositoryError>> + Send + 'static,
        T: Send + 'static,
    {
        read(actor, question, self.patience, permit(&self.questions)?).await
    }

    /// What is stored under an id that the caller named, where there is no place for the command
    /// that would store it. Whatever goes wrong, nothing is said of what was stored before.
    pub async fn look_up<D: Document + Send>(
        &self,
        actor: &Recipient<Find<D>>,
        id: uuid::Uuid,
    ) -> Result<Option<D>, Problem> {
        let looked = async {
            let question = Find::new([id]);
            read(actor, question, self.patience, permit(&self.look_ups)?).await
        };
        let found: Found<D> = looked.await.map_err(|_| Problem::not_looked_up())?;
        if !found.unreadable.is_empty() {
            return Err(Problem::not_looked_up());
        }
        Ok(found.documents.into_iter().next())
    }
}

fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    semaphore
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::overloaded())
}

/// Reads: nothing of it can be in doubt. `held`, a permit for example, is kept as long as the work
/// lasts, even if the caller hangs up.
async fn read<M, T>(
    actor: &Recipient<M>,
    question: M,
    patience: Duration,
    held: impl Sized + 'static,
) -> Result<T, Problem>
where
    M: Message<Result = Result<T, RepositoryError>> + Send + 'static,
    T: Send + 'static,
{
    let asked = actor.send(question);
    let asked = regardless_of_the_caller(async move {
        let answer = asked.await;
        drop(held);
        answer
    });
    match tokio::time::timeout(patience, asked).await {
        Ok(Some(Ok(answer))) => answer.map_err(Problem::of_question),
        Ok(Some(Err(_))) | Ok(None) | Err(_) => Err(Problem::too_slow()),
    }
}

/// For what may change something: an answer that does not come leaves it in doubt.
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

/// A resource at a path; methods that it has no route for are answered with those it has. `HEAD` is
/// answered wherever `GET` is, and `OPTIONS` everywhere.
pub fn resource(path: &'static str, methods: &'static str) -> Resource {
    let allow = methods.replace("GET", "GET, HEAD") + ", OPTIONS";
    let refuse = move |request: HttpRequest| {
        let allow = allow.clone();
        async move {
            if request.method() == Method::OPTIONS {
                let mut answer = HttpResponse::NoContent();
                return Ok(answer.insert_header((header::ALLOW, allow)).finish());
            }
            Err(Problem::method_not_allowed(request.method().as_str(), allow))
        }
    };
    web::resource(path).default_service(web::to(refuse))
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, ResponseFuture};

    use super::*;

    /// Answers so, or never.
    struct Reader(Option<RepositoryError>);

    #[derive(Message)]
    #[rtype(result = "Result<(), RepositoryError>")]
    struct Read;

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<Read> for Reader {
        type Result = ResponseFuture<Result<(), RepositoryError>>;

        fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Self::Result {
            match self.0.clone() {
                Some(error) => Box::pin(async { Err(error) }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    #[actix::test]
    async fn a_read_is_never_told_as_an_unknown_outcome_of_a_write() {
        tokio::time::pause();
        let unknown = RepositoryError::OutcomeUnknown("no answer".into());
        let away = RepositoryError::Unavailable("away".into());
        for (error, code) in [
            (None, "too-slow"),
            (Some(unknown), "too-slow"),
            (Some(RepositoryError::Stopping), "too-slow"),
            (Some(away), "database-unavailable"),
        ] {
            let reader = Reader(error).start().recipient();
            let admission = Admission::new(1, Duration::from_secs(1));
            let problem = admission.ask(&reader, Read).await.unwrap_err();
            assert_eq!(problem.code, code);
        }
    }

    #[actix::test]
    async fn a_question_that_nobody_waits_for_any_more_keeps_its_place() {
        tokio::time::pause();
        let reader = Reader(None).start().recipient();
        let admission = Admission::new(1, Duration::from_secs(1));
        admission.ask(&reader, Read).await.unwrap_err();
        let problem = admission.ask(&reader, Read).await.unwrap_err();
        assert_eq!(problem.code, "overloaded");
    }
}
