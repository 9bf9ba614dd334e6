//! Parked records: changed as any other document, in the rounds. And the keys whose events are not
//! decided for now, because an earlier one has failed.

use std::{collections::BTreeSet, marker::PhantomData};

use actix::{Context, Handler, Message, ResponseFuture};
use tokio::time::Instant;

use super::{Command, Execute, RepositoryActor, RepositoryError, Workspace};
use crate::{
    document_store::{DocumentKey, key},
    environment::Timestamp,
    parking::{Change, LaneId, ParkedId, ParkedRecord, Refusal, decide},
};

/// Something happens to a parked record; answered when it is durable, with the record as it then is.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Result<ParkedRecord, Refusal>, RepositoryError>")]
pub struct ChangeParked {
    /// Which record.
    pub id: ParkedId,
    /// What happens.
    pub change: Change,
    /// See [`Execute::deadline`].
    pub deadline: Option<Instant>,
}

/// The failed event of this key is dealt with: later ones are decided again.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct ResumeLane(pub LaneId);

/// Keys of which an event has failed here. Nothing of them is decided until whoever handed the
/// events over has put them in order again.
#[derive(Debug, Default)]
pub(super) struct StoppedLanes(BTreeSet<LaneId>);

impl StoppedLanes {
    pub(super) fn stop(&mut self, lane: Option<LaneId>) {
        self.0.extend(lane);
    }

    pub(super) fn contains(&self, lane: Option<LaneId>) -> bool {
        lane.is_some_and(|lane| self.0.contains(&lane))
    }
}

struct ChangeIn<W> {
    id: ParkedId,
    change: Change,
    _workspace: PhantomData<fn() -> W>,
}

impl<W: Workspace> Command for ChangeIn<W> {
    type Workspace = W;
    type Reply = Result<ParkedRecord, Refusal>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<ParkedRecord>(self.id)]
    }

    /// Records of a key are parked in their order.
    fn in_line_with(&self) -> Option<LaneId> {
        match &self.change {
            Change::Park(new) => Some(LaneId::of(&new.record)),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        match &self.change {
            Change::Park(new) => 1024 + new.record.value.as_ref().map_or(0, Vec::len),
            _ => 1024,
        }
    }

    fn decide(&self, workspace: &mut W, now: Timestamp) -> Self::Reply {
        let parked = workspace.parked();
        let known = parked.get(self.id).cloned();
        match decide(known.as_ref(), &self.change, now)? {
            Some(changed) => {
                parked.put(changed.clone(), []);
                Ok(changed)
            }
            None => known.ok_or(Refusal::Unknown),
        }
    }

    fn committed(&self, _: &Self::Reply) {}
}

impl<W: Workspace> Handler<ChangeParked> for RepositoryActor<W> {
    type Result = ResponseFuture<Result<Result<ParkedRecord, Refusal>, RepositoryError>>;

    fn handle(&mut self, message: ChangeParked, ctx: &mut Context<Self>) -> Self::Result {
        let ChangeParked { id, change, deadline } = message;
        let command = ChangeIn::<W> {
            id,
            change,
            _workspace: PhantomData,
        };
        let execute = Execute {
            command,
            turn: None,
            deadline,
            permit: None,
        };
        Handler::<Execute<ChangeIn<W>>>::handle(self, execute, ctx)
    }
}

impl<W: Workspace> Handler<ResumeLane> for RepositoryActor<W> {
    type Result = ();

    fn handle(&mut self, ResumeLane(lane): ResumeLane, _: &mut Context<Self>) {
        self.tools.stopped_lanes.borrow_mut().0.remove(&lane);
    }
}
