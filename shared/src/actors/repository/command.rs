//! Commands: what the RepositoryActor is asked to do, and the waiting asker of each.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{document_store::DocumentKey, environment::Timestamp};

use super::{RepositoryError, Workspace, planner::Waiting};

/// Something to decide on documents. Deciding is pure: it may be done again on newer copies.
pub trait Command: Send + 'static {
    /// The service's documents.
    type Workspace: Workspace;
    /// What the asker learns once the decision is durable.
    type Reply: Send + 'static;
    /// The documents it reads or writes; no other stands in the workspace for sure.
    fn documents(&self) -> Vec<DocumentKey>;
    /// The one of [`Command::documents`] that it is most likely to create. It is not looked for
    /// before: that it exists after all is told by the write, and then everything is read.
    fn expects_to_create(&self) -> Option<DocumentKey> {
        None
    }
    /// About how many bytes it writes. Only worth telling where that is much.
    fn bytes(&self) -> usize {
        1024
    }
    /// Decides on the copies.
    fn decide(&self, workspace: &mut Self::Workspace, now: Timestamp) -> Self::Reply;
    /// The decision is durable: the place for a log line.
    fn committed(&self, reply: &Self::Reply);
}

/// The turn of an event in the order of its key.
#[derive(Debug)]
pub struct Turn {
    pub(super) accepted: oneshot::Sender<()>,
}

impl Turn {
    /// The receiver is told once the event has its place in the queue of the repository; until then no
    /// later event of the key is to be handed over.
    pub fn new() -> (Turn, oneshot::Receiver<()>) {
        let (accepted, when_accepted) = oneshot::channel();
        (Turn { accepted }, when_accepted)
    }
}

/// Executes a command; answered when what it changed is durable. An answer that never comes leaves
/// the outcome unknown.
#[derive(Message)]
#[rtype(result = "Result<C::Reply, RepositoryError>")]
pub struct Execute<C: Command> {
    /// What to do.
    pub command: C,
    /// Of an event.
    pub turn: Option<Turn>,
    /// Not begun after this. Without, it is tried until it succeeds.
    pub deadline: Option<Instant>,
    /// Given back when what the command announced is in the log: bounds what is under way.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl<C: Command> Execute<C> {
    /// On behalf of an event: has to happen, however long it takes.
    pub fn for_event(command: C, turn: Turn) -> Execute<C> {
        Execute {
            command,
            turn: Some(turn),
            deadline: None,
            permit: None,
        }
    }

    /// On behalf of the kit itself: it takes no place from requests.
    pub(super) fn for_kit(command: C, deadline: Option<Instant>) -> Execute<C> {
        Execute {
            command,
            turn: None,
            deadline,
            permit: None,
        }
    }

    /// On behalf of a request.
    pub fn for_request(command: C, deadline: Instant, permit: OwnedSemaphorePermit) -> Execute<C> {
        Execute {
            command,
            turn: None,
            deadline: Some(deadline),
            permit: Some(permit),
        }
    }
}

/// A command of whatever type with its asker.
pub(super) trait Task<W>: Waiting + Send {
    fn expects_to_create(&self) -> Option<DocumentKey>;
    /// Whether its asker can be told to come again: a request, not an event.
    fn can_be_refused(&self) -> bool;
    /// Fails where the rules panicked.
    fn decide(&mut self, workspace: &mut W, now: Timestamp) -> Result<(), RepositoryError>;
    /// What was decided last is durable.
    fn succeed(self: Box<Self>) -> Option<OwnedSemaphorePermit>;
    fn fail(self: Box<Self>, error: RepositoryError);
}

pub(super) struct Pending<C: Command> {
    command: C,
    documents: Vec<DocumentKey>,
    deadline: Option<Instant>,
    permit: Option<OwnedSemaphorePermit>,
    decided: Option<C::Reply>,
    asker: oneshot::Sender<Result<C::Reply, RepositoryError>>,
}

impl<C: Command> Pending<C> {
    /// With whom to tell when it stands in the queue.
    pub(super) fn new(
        message: Execute<C>,
        asker: oneshot::Sender<Result<C::Reply, RepositoryError>>,
    ) -> (Pending<C>, Option<oneshot::Sender<()>>) {
        let Execute {
            command,
            turn,
            deadline,
            permit,
        } = message;
        let accepted = turn.map(|turn| turn.accepted);
        let pending = Pending {
            documents: command.documents(),
            command,
            deadline,
            permit,
            decided: None,
            asker,
        };
        (pending, accepted)
    }
}

impl<C: Command> Waiting for Pending<C> {
    fn documents(&self) -> &[DocumentKey] {
        &self.documents
    }

    fn bytes(&self) -> usize {
        self.command.bytes()
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl<C: Command> Task<C::Workspace> for Pending<C> {
    fn expects_to_create(&self) -> Option<DocumentKey> {
        self.command.expects_to_create()
    }

    fn can_be_refused(&self) -> bool {
        self.deadline.is_some()
    }

    fn decide(&mut self, workspace: &mut C::Workspace, now: Timestamp) -> Result<(), RepositoryError> {
        // Rules compute first and put documents last, so a panic leaves the workspace as it was.
        let decided = catch_unwind(AssertUnwindSafe(|| self.command.decide(workspace, now)));
        let decided = decided.map_err(|panic| RepositoryError::Panicked(describe(&*panic)))?;
        self.decided = Some(decided);
        Ok(())
    }

    fn succeed(self: Box<Self>) -> Option<OwnedSemaphorePermit> {
        if let Some(reply) = self.decided {
            self.command.committed(&reply);
            // An asker that is gone has learned nothing; the effect stands all the same.
            let _ = self.asker.send(Ok(reply));
        }
        self.permit
    }

    fn fail(self: Box<Self>, error: RepositoryError) {
        let _ = self.asker.send(Err(error));
    }
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic".into())
}
