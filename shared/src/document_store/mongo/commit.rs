//! A commit whose writes stand for themselves.
//!
//! One command per collection and kind, all at once; where every answer is as expected that is one
//! round trip. What an answer leaves open is read back, what nobody answered is asked for again:
//! the version guard and the duplicate `_id` make that harmless, even if an attempt that was given
//! up reaches the server later than the one that followed it. Each write gets its own outcome.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    super::{Commit, Outcome, StoreError},
    MongoStore,
    commands::{Verdict, batches, durable, judge, write_command},
    errors::{Fate, Fault},
    resolve::{Found, Patience, read_back},
};

/// What one attempt left behind for one write, beside the outcomes.
#[derive(Debug, Default)]
struct Left {
    /// To be read back.
    refused: Vec<usize>,
    /// Why others have to be asked for again, if any.
    doubt: Option<String>,
    /// Whether anything may have left this process.
    sent: bool,
}

/// See [`super::super::DocumentStore::commit`].
pub(super) async fn commit(store: &MongoStore, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; commit.writes.len()];
    let mut patience = Patience::new(store);
    let mut sent = false;
    loop {
        let mut left = attempt(store, &commit, &mut outcomes, patience.next_call()).await?;
        sent |= left.sent;
        if !left.refused.is_empty() {
            match read_back(store, &commit, &left.refused, patience.next_call()).await {
                Ok(found) => {
                    for (index, found) in found {
                        match found {
                            Found::Ours => outcomes[index] = Some(Outcome::Applied),
                            Found::Others => outcomes[index] = Some(Outcome::Conflict),
                            // Refused, and yet as before: another's write is on its way to the
                            // majority, or one of ours is. Asking again tells.
                            Found::Before => {
                                left.doubt
                                    .get_or_insert_with(|| "a write is not on the majority yet".into());
                            }
                        }
                    }
                }
                Err(Fault {
                    fate: Fate::Unfit,
                    reason,
                }) => return Err(StoreError::Unfit(reason)),
                Err(fault) => left.doubt = Some(fault.reason),
            }
        }
        let Some(reason) = left.doubt else {
            return Ok(outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap_or(Outcome::Conflict))
                .collect());
        };
        if !sent {
            return Err(StoreError::Unavailable(reason));
        }
        if !patience.pause().await {
            return Err(StoreError::OutcomeUnknown(reason));
        }
    }
}

/// Sends every write that has no outcome yet.
async fn attempt(
    store: &MongoStore,
    commit: &Commit,
    outcomes: &mut [Option<Outcome>],
    within: Duration,
) -> Result<Left, StoreError> {
    let pending = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| outcome.is_none())
        .map(|(index, _)| index);
    let batches = batches(&commit.writes, pending);
    // The server gives up waiting for the majority before we give up waiting for the server.
    let write_concern = durable(within.mul_f64(0.8));
    let started = Instant::now();
    let replies = join_all(batches.iter().map(|batch| {
        let command = write_command(batch, &commit.writes, Some(write_concern.clone()));
        let database = store.database.clone();
        store.call(within, async move { database.run_raw_command(command).await })
    }))
    .await;
    log::trace!(target: "mongo", "{} writes answered in {:?}", commit.writes.len(), started.elapsed());

    let mut left = Left::default();
    for (batch, reply) in batches.iter().zip(replies) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(fault) => {
                match fault.fate {
                    Fate::NotSent => {}
                    Fate::Unknown | Fate::WriteConflict => left.sent = true,
                    Fate::Unfit => return Err(StoreError::Unfit(fault.reason)),
                }
                left.doubt = Some(fault.reason);
                continue;
            }
        };
        left.sent = true;
        for (index, verdict) in batch.writes.iter().zip(judge(batch, &reply)) {
            match verdict {
                Verdict::Applied => outcomes[*index] = Some(Outcome::Applied),
                Verdict::Refused => left.refused.push(*index),
                Verdict::Unknown(reason) => left.doubt = Some(reason),
                Verdict::Unfit(reason) => return Err(StoreError::Unfit(reason)),
                Verdict::Rejected(reason) => return Err(StoreError::Rejected(reason)),
            }
        }
    }
    Ok(left)
}
