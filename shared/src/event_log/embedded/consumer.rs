//! The hand on a membership in a group.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{Inner, groups::MemberId};
use crate::event_log::{Assignment, Consumer, Lag, LogError, Offset, progress::handlers_stand_still};

pub(super) struct GroupConsumer {
    log: Arc<Inner>,
    group: String,
    member: MemberId,
}

impl GroupConsumer {
    pub(super) fn new(log: Arc<Inner>, group: String, member: MemberId) -> Self {
        Self { log, group, member }
    }

    fn pause_or_resume(&self, paused: bool) {
        if let Some(group) = self.log.state.lock().groups.get_mut(&self.group) {
            group.pause(self.member, paused);
        }
    }
}

impl Consumer for GroupConsumer {
    fn store(&self, assignment: &Assignment, next: Offset) {
        if let Some(group) = self.log.state.lock().groups.get_mut(&self.group) {
            group.store(self.member, assignment, next);
        }
    }

    fn pause(&self) {
        self.pause_or_resume(true);
    }

    fn resume(&self) {
        self.pause_or_resume(false);
    }

    fn check(&self) -> Result<(), LogError> {
        let state = self.log.state.lock();
        let group = state.groups.get(&self.group);
        let Some(group) = group.filter(|group| group.contains(self.member)) else {
            return Err(LogError::Unavailable(format!(
                "this consumer has left the group {}",
                self.group
            )));
        };
        match group.stuck(self.member) {
            None => Ok(()),
            Some(still) => Err(LogError::Unavailable(handlers_stand_still(still))),
        }
    }

    fn lag(&self) -> Vec<Lag> {
        let state = self.log.state.lock();
        let group = state.groups.get(&self.group);
        group.map_or_else(Vec::new, |group| group.lag(self.member, &state.topics))
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        self.log.state.lock().leave(&self.group, self.member);
        let flushed = self.log.flush();
        let group = self.group.clone();
        Box::pin(async move {
            match tokio::time::timeout(deadline, flushed).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::warn!("offsets of the group {group} were not stored: {error}"),
                Err(_) => log::warn!("offsets of the group {group} were not stored within {deadline:?}"),
            }
        })
    }
}
