//! Commands: what the RepositoryActor is asked to do, and the waiting asker of each.

use std::panic::{AssertUnwindSafe, catch_unwind};

use actix::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{
    document_store::DocumentKey,
    environment::Timestamp,
    mutants::{self, Mutant},
};

use super::{RepositoryError, Workspace};

/// Something to decide on documents. Deciding is pure: it may be done again on newer copies.
pub trait Command: Send + 'static {
    /// The service's documents.
    type Workspace: Workspace;
    /// What the asker learns once the decision is durable.
    type Reply: Send + 'static;
    /// The documents it reads or writes; no other stands in the workspace for sure.
    fn documents(&self) -> Vec<DocumentKey>;
    /// Decides on the copies.
    fn decide(&self, workspace: &mut Self::Workspace, now: Timestamp) -> Self::Reply;
    /// The decision is durable: the place for a log line.
    fn committed(&self, reply: &Self::Reply);
}

/// Executes a command; answered when what it changed is durable. An answer that never comes leaves
/// the outcome unknown.
#[derive(Message)]
#[rtype(result = "Result<C::Reply, RepositoryError>")]
pub struct Execute<C: Command> {
    /// What to do.
    pub command: C,
    /// Told when the command has its place in the order.
    pub accepted: Option<oneshot::Sender<()>>,
    /// Not begun after this. Without, it is tried until it succeeds.
    pub deadline: Option<Instant>,
    /// Given back when what the command announced is in the log: bounds what is under way.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl<C: Command> Execute<C> {
    /// On behalf of an event: has to happen, however long it takes.
    pub fn for_event(command: C, accepted: oneshot::Sender<()>) -> Execute<C> {
        Execute {
            command,
            accepted: Some(accepted),
            deadline: None,
            permit: None,
        }
    }

    /// On behalf of a request.
    pub fn for_request(command: C, deadline: Instant, permit: OwnedSemaphorePermit) -> Execute<C> {
        Execute {
            command,
            accepted: None,
            deadline: Some(deadline),
            permit: Some(permit),
        }
    }
}

/// A command of whatever type with its asker.
pub(super) trait Task<W> {
    fn documents(&self) -> &[DocumentKey];
    fn is_expired(&self, now: Instant) -> bool;
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
    pub(super) fn new(
        message: Execute<C>,
        asker: oneshot::Sender<Result<C::Reply, RepositoryError>>,
    ) -> Pending<C> {
        let Execute {
            command,
            accepted: _,
            deadline,
            permit,
        } = message;
        Pending {
            documents: command.documents(),
            command,
            deadline,
            permit,
            decided: None,
            asker,
        }
    }
}

impl<C: Command> Task<C::Workspace> for Pending<C> {
    fn documents(&self) -> &[DocumentKey] {
        &self.documents
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn decide(&mut self, workspace: &mut C::Workspace, now: Timestamp) -> Result<(), RepositoryError> {
        // Rules compute first and put documents last, so a panic leaves the workspace as it was.
        let decided = catch_unwind(AssertUnwindSafe(|| self.command.decide(workspace, now)));
        let decided = decided.map_err(|panic| RepositoryError::Panicked(describe(&*panic)))?;
        if mutants::is_active(Mutant::AnswerBeforeCommit) {
            let _ = std::mem::replace(&mut self.asker, oneshot::channel().0).send(Ok(decided));
            return Ok(());
        }
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
