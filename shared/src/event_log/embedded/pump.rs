//! Brings records to a member of a group. It sleeps until it is woken: something new is durable,
//! partitions moved, the member resumed or stored.

use std::sync::{Arc, Weak};

use tokio::{
    sync::{Notify, mpsc::UnboundedSender},
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{Inner, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, OFFSETS_LINGER, groups::MemberId, tables};
use crate::event_log::{LogError, Signal};

enum Step {
    /// Whether there was anything to tell, and whether offsets wait to be written.
    Told { any: bool, unsaved: bool },
    /// The member has left.
    Gone,
}

/// Leaves the group however the pump ends, be it with its runtime.
struct Membership {
    log: Weak<Inner>,
    group: String,
    member: MemberId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(log) = self.log.upgrade() {
            log.state.lock().leave(&self.group, self.member);
        }
    }
}

pub(super) async fn run(
    log: Weak<Inner>,
    group: String,
    member: MemberId,
    signals: UnboundedSender<Signal>,
    wake: Arc<Notify>,
) {
    let membership = Membership { log, group, member };
    let mut write_offsets_at: Option<Instant> = None;
    loop {
        let Some(log) = membership.log.upgrade() else {
            return;
        };
        if write_offsets_at.is_some_and(|at| at <= Instant::now()) {
            write_offsets_at = None;
            if has_unsaved(&log, &membership.group) {
                log.submit_pending(None);
            }
        }
        match deliver_some(&log, &membership.group, member) {
            Ok(Step::Gone) => return,
            Ok(Step::Told { any, unsaved }) => {
                if unsaved {
                    write_offsets_at.get_or_insert_with(|| Instant::now() + OFFSETS_LINGER);
                } else {
                    write_offsets_at = None;
                }
                if any && signals.is_closed() {
                    return;
                }
                if any {
                    drop(log);
                    yield_now().await;
                    continue;
                }
            }
            Err(error) => {
                drop(log);
                // It has left before it says so: `Failed` is the last signal.
                drop(membership);
                drop(signals.send(Signal::Failed(error)));
                return;
            }
        }
        // While it sleeps it must not keep the log open.
        drop(log);
        let linger = async {
            match write_offsets_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = signals.closed() => return,
            () = wake.notified() => {}
            () = linger => {}
        }
    }
}

fn has_unsaved(log: &Inner, group: &str) -> bool {
    log.state
        .lock()
        .groups
        .get(group)
        .is_some_and(super::Group::has_unsaved)
}

fn deliver_some(log: &Inner, group: &str, member: MemberId) -> Result<Step, LogError> {
    let spans = {
        let mut state = log.state.lock();
        let super::State { topics, groups, .. } = &mut *state;
        let Some(group) = groups.get_mut(group) else {
            return Ok(Step::Gone);
        };
        match group.deliverable(member, topics) {
            None => return Ok(Step::Gone),
            Some(spans) if spans.is_empty() => {
                return Ok(Step::Told {
                    any: false,
                    unsaved: group.has_unsaved(),
                });
            }
            Some(spans) => spans,
        }
    };
    let records = log
        .engine
        .read(|transaction| tables::read_records(transaction, &spans, MAX_BATCH_RECORDS, MAX_BATCH_BYTES))?;
    let mut state = log.state.lock();
    let Some(group) = state.groups.get_mut(group) else {
        return Ok(Step::Gone);
    };
    group.deliver(member, records);
    Ok(Step::Told {
        any: true,
        unsaved: group.has_unsaved(),
    })
}
