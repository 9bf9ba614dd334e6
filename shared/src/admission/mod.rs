//! How many requests are let in at a time, and until when.
//!
//! Promise: a command that was let in is executed even if its caller hangs up, and an answer never says
//! that nothing was stored unless that is certain.

use std::{future::Future, sync::Arc, time::Duration};

use actix::{Message, Recipient};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    actors::repository::{Command, Execute, Find, Found, RepositoryError},
    document_store::Document,
};

mod lifecycle;
mod reader;

pub use lifecycle::{Lifecycle, UnderWay};
pub use reader::Reader;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Too much is under way. It was not asked.
    #[error("too much is under way")]
    Full,
    /// Too much is under way even to find out whether it is stored already.
    #[error("too much is under way to find out whether it is stored")]
    NotLookedUp,
    /// A question had no answer in time.
    #[error("no answer in time")]
    TooSlow,
    /// A command had no answer in time: it may have been executed.
    #[error("no answer in time, the outcome is not known")]
    OutcomeUnknown,
    /// The RepositoryActor says why.
    #[error(transparent)]
    Repository(RepositoryError),
}

impl AskError {
    /// Of a question: it changes nothing, so nothing is in doubt.
    fn of_question(error: RepositoryError) -> AskError {
        match error {
            RepositoryError::OutcomeUnknown(_) | RepositoryError::Stopping => AskError::TooSlow,
            RepositoryError::Unavailable(_) | RepositoryError::Unfit(_) | RepositoryError::Panicked(_) => {
                AskError::Repository(error)
            }
        }
    }
}

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
    ) -> Result<C::Reply, AskError> {
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
    pub fn admit(&self) -> Result<Admitted, AskError> {
        let patience = self.patience;
        permit(&self.commands).map(|permit| Admitted { permit, patience })
    }

    /// Has a command executed. It is, once taken, even if the caller hangs up.
    pub async fn execute<C: Command>(
        &self,
        actor: &Recipient<Execute<C>>,
        command: C,
    ) -> Result<C::Reply, AskError> {
        self.admit()?.execute(actor, command).await
    }

    /// Has a question answered.
    pub async fn ask<M, T>(&self, actor: &Recipient<M>, question: M) -> Result<T, AskError>
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
        id: Uuid,
    ) -> Result<Option<D>, AskError> {
        let looked = async {
            let question = Find::new([id]);
            read(actor, question, self.patience, permit(&self.look_ups)?).await
        };
        let found: Found<D> = looked.await.map_err(|_| AskError::NotLookedUp)?;
        if !found.unreadable.is_empty() {
            return Err(AskError::NotLookedUp);
        }
        Ok(found.documents.into_iter().next())
    }
}

fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AskError> {
    semaphore.clone().try_acquire_owned().map_err(|_| AskError::Full)
}

/// Reads: nothing of it can be in doubt. `held`, a permit for example, is kept as long as the work
/// lasts, even if the caller hangs up.
pub(crate) async fn read<M, T>(
    actor: &Recipient<M>,
    question: M,
    patience: Duration,
    held: impl Sized + 'static,
) -> Result<T, AskError>
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
        Ok(Some(Ok(answer))) => answer.map_err(AskError::of_question),
        Ok(Some(Err(_))) | Ok(None) | Err(_) => Err(AskError::TooSlow),
    }
}

/// For what may change something: an answer that does not come leaves it in doubt.
pub(crate) async fn ask<M, T>(actor: &Recipient<M>, message: M, patience: Duration) -> Result<T, AskError>
where
    M: Message<Result = Result<T, RepositoryError>> + Send + 'static,
    T: Send + 'static,
{
    let asked = regardless_of_the_caller(actor.send(message));
    match tokio::time::timeout(patience, asked).await {
        Ok(Some(Ok(answer))) => answer.map_err(AskError::Repository),
        // Whether an actor that is gone had done it before, nobody can tell.
        Ok(Some(Err(_))) | Ok(None) | Err(_) => Err(AskError::OutcomeUnknown),
    }
}

/// Runs `work` to its end even if the caller hangs up: what was begun is finished.
async fn regardless_of_the_caller<T: 'static>(work: impl Future<Output = T> + 'static) -> Option<T> {
    actix::spawn(work).await.ok()
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
        for (error, told) in [
            (None, AskError::TooSlow),
            (Some(unknown), AskError::TooSlow),
            (Some(RepositoryError::Stopping), AskError::TooSlow),
            (Some(away.clone()), AskError::Repository(away)),
        ] {
            let reader = Reader(error).start().recipient();
            let admission = Admission::new(1, Duration::from_secs(1));
            assert_eq!(admission.ask(&reader, Read).await, Err(told));
        }
    }

    #[actix::test]
    async fn a_question_that_nobody_waits_for_any_more_keeps_its_place() {
        tokio::time::pause();
        let reader = Reader(None).start().recipient();
        let admission = Admission::new(1, Duration::from_secs(1));
        admission.ask(&reader, Read).await.unwrap_err();
        assert_eq!(admission.ask(&reader, Read).await, Err(AskError::Full));
    }
}
