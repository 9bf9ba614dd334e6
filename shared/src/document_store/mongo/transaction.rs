//! A commit of all writes or none: one transaction, bounded in every way.
//!
//! Replacements first, then inserts, then `commitTransaction` on the majority and in the journal. A
//! guard that does not hold or an `_id` that exists aborts it. What was undone for certain is tried
//! again; what may have been committed is read back first, and since all documents are written or
//! none, one that bears our commit id proves the whole.
//!
//! Hazard: an attempt that timed out goes on running in the driver. It and we agree by one atomic
//! step on whether it may still send its `commitTransaction`, so "given up" and "perhaps committed"
//! are never confused. What was given up or is in doubt is also ended on the server: a transaction left
//! open would stand in the way of the next attempt until the server's own limit, a minute.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use mongodb::{
    ClientSession, Database,
    bson::{Document, RawDocumentBuf, doc},
    error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT},
    options::{Acknowledgment, ReadConcern, TransactionOptions, WriteConcern},
};
use tokio::time::{Instant, timeout};

use super::{
    super::{Commit, Outcome, StoreError},
    MongoStore,
    commands::{Batch, Verdict, batches, judge, write_command},
    errors::{Fate, Fault, classify},
    resolve::{Found, Patience, read_back},
};

/// After so many write conflicts on end the caller does better to read again.
const MOST_WRITE_CONFLICTS: u32 = 8;

/// Ending a lost transaction on the server may take so long.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The attempt may still be given up.
const RUNNING: u8 = 0;
/// It has been given up: it will not commit.
const GIVEN_UP: u8 = 1;
/// Its `commitTransaction` is on its way.
const COMMITTING: u8 = 2;

/// How an attempt ended.
#[derive(Debug)]
enum Ended {
    /// Committed, durably.
    Committed,
    /// A guard did not hold or an `_id` exists; nothing was written.
    Refused,
    /// Another transaction was at the same documents; nothing was written.
    WriteConflict(String),
    /// Nothing left this process.
    NotSent(String),
    /// It broke off before its commit was sent; nothing was written.
    BrokenOff(String),
    /// Its commit was sent and not answered for certain.
    InDoubt(String),
    /// No repetition will heal it; nothing was written.
    Unfit(String),
    /// One of the documents will never be taken; nothing was written.
    Rejected(String),
}

/// See [`super::super::DocumentStore::commit`].
pub(super) async fn commit(store: &MongoStore, commit: Commit) -> Result<Vec<Outcome>, StoreError> {
    let all = |outcome: Outcome| Ok(vec![outcome; commit.writes.len()]);
    let every: Vec<usize> = (0..commit.writes.len()).collect();
    let mut patience = Patience::new(store);
    let mut write_conflicts = 0;
    let (mut sent, mut in_doubt) = (false, false);
    loop {
        let ended = attempt(store, &commit, patience.next_call()).await;
        let (reason, refused) = match ended {
            Ended::Committed => return all(Outcome::Applied),
            Ended::Refused => ("a write is not on the majority yet".to_owned(), true),
            Ended::WriteConflict(reason) => {
                write_conflicts += 1;
                if write_conflicts >= MOST_WRITE_CONFLICTS && !in_doubt {
                    return all(Outcome::Conflict);
                }
                (reason, false)
            }
            Ended::NotSent(reason) if !sent => return Err(StoreError::Unavailable(reason)),
            Ended::NotSent(reason) | Ended::BrokenOff(reason) => (reason, false),
            Ended::InDoubt(reason) => {
                in_doubt = true;
                (reason, false)
            }
            Ended::Unfit(reason) if !in_doubt => return Err(StoreError::Unfit(reason)),
            Ended::Rejected(reason) if !in_doubt => return Err(StoreError::Rejected(reason)),
            Ended::Unfit(reason) | Ended::Rejected(reason) => (reason, false),
        };
        sent = true;
        if refused || in_doubt {
            // What cannot be read back now is asked for again.
            let found = read_back(store, &commit, &every, patience.next_call())
                .await
                .unwrap_or_default();
            if found.iter().any(|(_, found)| *found == Found::Ours) {
                return all(Outcome::Applied);
            }
            // A guard that can never hold again dooms every attempt of ours, the lost ones too.
            if found.iter().any(|(_, found)| *found == Found::Others) {
                return all(Outcome::Conflict);
            }
        }
        if !patience.pause().await {
            return if in_doubt {
                Err(StoreError::OutcomeUnknown(reason))
            } else if refused || write_conflicts > 0 {
                all(Outcome::Conflict)
            } else {
                Err(StoreError::Unavailable(reason))
            };
        }
    }
}

/// One transaction, in a task of its own.
async fn attempt(store: &MongoStore, commit: &Commit, within: Duration) -> Ended {
    let commands: Vec<(Batch, RawDocumentBuf)> = batches(&commit.writes, 0..commit.writes.len())
        .into_iter()
        .map(|batch| {
            let command = write_command(&batch, &commit.writes, None);
            (batch, command)
        })
        .collect();
    let stage = Arc::new(AtomicU8::new(RUNNING));
    let session_id = Arc::new(OnceLock::new());
    let (client, database, watch) = (store.client.clone(), store.database.clone(), store.watch.clone());
    let until = Instant::now() + within;
    let task = store.runtime.spawn({
        let (stage, session_id) = (stage.clone(), session_id.clone());
        async move {
            match client.start_session().await {
                Ok(session) => {
                    let _ = session_id.set(session.id().clone());
                    run(session, database, commands, &stage, until).await
                }
                Err(error) => Err(error),
            }
            .unwrap_or_else(|error| before_commit(classify(&error, watch.whereabouts())))
        }
    });
    let (ended, heard) = match timeout(within, task).await {
        Ok(Ok(ended)) => (ended, true),
        Ok(Err(join)) => (
            lost(&stage, format!("the transaction was broken off: {join}")),
            false,
        ),
        Err(_) => (lost(&stage, store.no_answer(within).reason), false),
    };
    let may_stand_open = matches!(ended, Ended::InDoubt(_)) || !heard;
    if let (true, Some(session)) = (may_stand_open, session_id.get()) {
        end_on_server(store, session.clone()).await;
    }
    match &ended {
        Ended::Committed | Ended::Refused | Ended::WriteConflict(_) => store.watch.answered(),
        Ended::NotSent(reason) | Ended::BrokenOff(reason) | Ended::InDoubt(reason) => {
            store.watch.unanswered(reason);
        }
        Ended::Unfit(_) | Ended::Rejected(_) => {}
    }
    ended
}

/// Ends the transaction of an attempt that was given up or is in doubt, if the server can be reached.
/// One that is committed already stays so; one that is not will never be, even if its
/// `commitTransaction` is still on the way.
async fn end_on_server(store: &MongoStore, session: Document) {
    let admin = store.client.database("admin");
    let command = doc! { "killSessions": [session] };
    // In vain where the server is away; then nothing is in the way either.
    let _ = store
        .call(END_TIMEOUT, async move { admin.run_command(command).await })
        .await;
}

/// We no longer hear of the attempt: may it still commit?
fn lost(stage: &AtomicU8, reason: String) -> Ended {
    match stage.compare_exchange(RUNNING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) | Err(GIVEN_UP) => Ended::BrokenOff(reason),
        Err(_) => Ended::InDoubt(reason),
    }
}

/// Nothing is written by a transaction whose commit was not asked for, whatever happened to it.
fn before_commit(Fault { fate, reason }: Fault) -> Ended {
    match fate {
        Fate::NotSent => Ended::NotSent(reason),
        Fate::Unknown => Ended::BrokenOff(reason),
        Fate::WriteConflict => Ended::WriteConflict(reason),
        Fate::Unfit => Ended::Unfit(reason),
    }
}

/// The statements. An error returned is one from before the commit. Where a session is dropped with
/// its transaction open, the driver aborts that in the background.
async fn run(
    mut session: ClientSession,
    database: Database,
    commands: Vec<(Batch, RawDocumentBuf)>,
    stage: &AtomicU8,
    until: Instant,
) -> Result<Ended, Error> {
    let within = until.saturating_duration_since(Instant::now());
    let write_concern = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(within.mul_f64(0.8))
        .build();
    let options = TransactionOptions::builder()
        .read_concern(ReadConcern::snapshot())
        .write_concern(write_concern)
        .max_commit_time(within)
        .build();
    session.start_transaction().with_options(options).await?;
    for (batch, command) in commands {
        let reply = database.run_raw_command(command).session(&mut session).await?;
        let refusal = judge(&batch, &reply)
            .into_iter()
            .find_map(|verdict| match verdict {
                Verdict::Applied => None,
                Verdict::Refused => Some(Ended::Refused),
                Verdict::Unknown(reason) => Some(Ended::BrokenOff(reason)),
                Verdict::Unfit(reason) => Some(Ended::Unfit(reason)),
                Verdict::Rejected(reason) => Some(Ended::Rejected(reason)),
            });
        if let Some(refusal) = refusal {
            session.abort_transaction().await?;
            return Ok(refusal);
        }
    }
    if stage
        .compare_exchange(RUNNING, COMMITTING, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        return Ok(Ended::BrokenOff("given up before its commit".into()));
    }
    Ok(finish(session, until).await)
}

/// The commit, asked for again while its outcome is unknown and there is time.
async fn finish(mut session: ClientSession, until: Instant) -> Ended {
    let mut pause = Duration::from_millis(5);
    let mut doubted = false;
    loop {
        let Err(error) = session.commit_transaction().await else {
            return Ended::Committed;
        };
        let Fault { fate, reason } = classify(&error, None);
        if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
            doubted = true;
            if Instant::now() + pause < until {
                tokio::time::sleep(pause).await;
                pause *= 2;
                continue;
            }
        }
        // "No such transaction" after a doubt may mean that it was committed and forgotten.
        return match fate {
            Fate::WriteConflict if !doubted => Ended::WriteConflict(reason),
            _ if !doubted && error.contains_label(TRANSIENT_TRANSACTION_ERROR) => Ended::BrokenOff(reason),
            Fate::NotSent | Fate::Unknown | Fate::WriteConflict | Fate::Unfit => Ended::InDoubt(reason),
        };
    }
}
