//! One round of the group commit: read, decide, write, hand over, answer.
//!
//! Promise: a command is answered only when everything it decided is durable, and its events are
//! handed over before it is answered. A round that cannot reach the database keeps its commands, in
//! their order, until it can; only those with a deadline give up.
//!
//! The first try of a round does not look for documents that its commands are going to create: the
//! insert tells whether there is one after all. What that does not settle is tried on what is read.
//!
//! A round ends with the first try that the database answers. Commands that met a conflict, or of
//! which one is refused for good, are left over, in groups: each becomes a round of its own, so that
//! the contested document, or the command that will never be taken, is soon alone and delays nobody.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use actix::Recipient;
use tokio::{sync::mpsc, time::Instant};

use super::{
    RepositoryError, Workspace,
    command::Task,
    groups::{Group, pause},
    held::{Held, Waiting},
    outbox_ledger::OutboxLedger,
    workspace::Change,
};
use crate::{
    actors::publisher::{Publish, Settlement},
    document_store::{Commit, DocumentKey, DocumentStore, Outcome, StoreError, Write, id},
    envelope::OutboxEvent,
    environment::Environment,
    events::EventId,
    metrics::Metrics,
};

/// A request is refused by a document of which so many events are not published yet. Each is about
/// 600 bytes, and a document is written whole.
const MOST_UNPUBLISHED: usize = 1_000;

/// What a round works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub store: Arc<dyn DocumentStore>,
    pub publisher: Recipient<Publish>,
    pub ledger: Rc<RefCell<OutboxLedger>>,
    pub held: Rc<RefCell<Held>>,
    /// The database has failed and not answered since.
    pub is_failing: Rc<Cell<bool>>,
    pub environment: Environment,
    pub metrics: Metrics,
}

/// What is to be awaited after a round.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Events handed over.
    pub handed_over: Vec<HandOver>,
}

/// Events on their way into the log.
pub(super) struct HandOver {
    pub events: Vec<EventId>,
    pub settled: mpsc::UnboundedReceiver<Vec<Settlement>>,
}

/// How a round ended.
pub(super) struct Ended<W> {
    pub aftermath: Aftermath,
    /// Not done yet: each is to be a round of its own, one after the other.
    pub left: Vec<Group<W>>,
}

pub(super) async fn run<W: Workspace>(tools: Tools, group: Group<W>) -> Ended<W> {
    // Once a commit may have happened, no later failure makes that certain either way.
    let Group {
        mut tasks,
        conflicts,
        mut in_doubt,
    } = group;
    let mut aftermath = Aftermath::default();
    let mut failures = 0;
    let mut left = Vec::new();
    // Not while the database fails: a read that fails tells for sure that nothing was stored, a write
    // that fails often does not.
    let assumes = conflicts == 0 && !tools.is_failing.get();
    let mut grounds = if assumes { Grounds::Assumed } else { Grounds::Read };
    while !tasks.is_empty() {
        let attempted = attempt(&tools, grounds, in_doubt, &mut tasks, &mut aftermath).await;
        grounds = Grounds::Read;
        match attempted {
            Ok(Attempted::Unsettled) => continue,
            Ok(Attempted::Written) => {
                left = Group {
                    tasks,
                    conflicts,
                    in_doubt,
                }
                .contested();
                break;
            }
            Err(StoreError::Rejected(why)) => {
                tools.is_failing.set(false);
                left = Group {
                    tasks,
                    conflicts,
                    in_doubt,
                }
                .rejected(&why);
                break;
            }
            Err(error) => {
                if failures == 0 {
                    log::warn!(target: "RepositoryActor", commands = tasks.len(); "waiting for the database: {error}");
                }
                tools.is_failing.set(true);
                failures += 1;
                in_doubt |= matches!(error, StoreError::OutcomeUnknown(_));
                let now = Instant::now();
                give_up(
                    &mut tasks,
                    |task| task.is_expired(now),
                    || match RepositoryError::from(error.clone()) {
                        RepositoryError::Unavailable(reason) => failure(reason, in_doubt),
                        other => other,
                    },
                );
            }
        }
        if !tasks.is_empty() {
            tokio::time::sleep(tools.environment.jitter(pause(failures))).await;
        }
    }
    Ended { aftermath, left }
}

/// Why a command is given up: nothing was changed, or nobody knows.
pub(super) fn failure(reason: String, in_doubt: bool) -> RepositoryError {
    if in_doubt {
        RepositoryError::OutcomeUnknown(reason)
    } else {
        RepositoryError::Unavailable(reason)
    }
}

pub(super) fn give_up<W>(
    tasks: &mut Vec<Box<dyn Task<W>>>,
    which: impl Fn(&dyn Task<W>) -> bool,
    error: impl Fn() -> RepositoryError,
) {
    for task in tasks.extract_if(.., |task| which(&**task)) {
        task.fail(error());
    }
}

/// On what a try decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grounds {
    /// New documents are taken for not there; all others are read.
    Assumed,
    /// All are read.
    Read,
}

/// What came of a try that reached the database, or did not need to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempted {
    /// Tasks that are through are taken out; those left met a conflict and are decided again.
    Written,
    /// What was assumed does not settle it. Nothing has happened.
    Unsettled,
}

/// One try.
async fn attempt<W: Workspace>(
    tools: &Tools,
    grounds: Grounds,
    in_doubt: bool,
    tasks: &mut Vec<Box<dyn Task<W>>>,
    aftermath: &mut Aftermath,
) -> Result<Attempted, StoreError> {
    let mut workspace = W::default();
    let Loaded { unreadable, assumed } = load(tools, grounds, tasks, &mut workspace).await?;
    let touches = |task: &dyn Task<W>, keys: &BTreeSet<DocumentKey>| {
        task.documents().iter().any(|key| keys.contains(key))
    };
    for (key, error) in &unreadable {
        log::error!(target: "RepositoryActor", document:% = key.id, collection = key.collection; "{error}");
        give_up(
            tasks,
            |task| task.documents().contains(key),
            || RepositoryError::from(error.clone()),
        );
    }

    let crowded = crowded(&mut workspace);
    let too_many = || failure("too many events of it are not published yet".into(), in_doubt);
    give_up(
        tasks,
        |task| task.can_be_refused() && touches(task, &crowded),
        too_many,
    );

    let now = tools.environment.now();
    let mut unsettled = false;
    // By task, in their order.
    let mut announced: Vec<Vec<EventId>> = Vec::new();
    for mut task in std::mem::take(tasks) {
        match task.decide(&mut workspace, now) {
            Ok(()) => {
                tasks.push(task);
                announced.push(newly_announced(&mut workspace));
            }
            // A failure has effects beyond this round, so it has to be certain.
            Err(_) if !assumed.is_empty() => {
                tasks.push(task);
                announced.push(newly_announced(&mut workspace));
                unsettled = true;
            }
            Err(error) => task.fail(error),
        }
    }

    let commit_id = tools.environment.new_id();
    let (mut writes, mut changes) = (Vec::new(), Vec::new());
    for copies in workspace.collections() {
        for (write, change) in copies.changes(commit_id)? {
            writes.push(write);
            changes.push(change);
        }
    }
    let written: BTreeSet<_> = changes.iter().map(|change| change.key).collect();
    let unproved = assumed.difference(&written).next().is_some();
    if unsettled || unproved {
        return Ok(Attempted::Unsettled);
    }
    let conflicting = write::<W>(tools, commit_id, writes).await?;
    tools.metrics.round(tasks.len(), changes.len(), conflicting.len());
    changes.retain(|change| !conflicting.contains(&change.key));
    aftermath.handed_over.extend(hand_over(tools, changes));
    for (task, events) in std::mem::take(tasks).into_iter().zip(announced) {
        if touches(&*task, &conflicting) {
            tasks.push(task);
        } else if let Some(permit) = task.succeed() {
            tools.ledger.borrow_mut().holds_permit(permit, &events);
        }
    }
    Ok(Attempted::Written)
}

fn newly_announced<W: Workspace>(workspace: &mut W) -> Vec<EventId> {
    let collections = workspace.collections().into_iter();
    collections.flat_map(|copies| copies.announced()).collect()
}

fn crowded<W: Workspace>(workspace: &mut W) -> BTreeSet<DocumentKey> {
    let collections = workspace.collections().into_iter();
    collections
        .flat_map(|copies| copies.crowded(MOST_UNPUBLISHED))
        .collect()
}

/// What a try rests on, beside the workspace.
struct Loaded {
    /// Documents that cannot be read.
    unreadable: Vec<(DocumentKey, StoreError)>,
    /// Documents that were not looked for: nobody has made them, as far as we know.
    assumed: BTreeSet<DocumentKey>,
}

/// Gathers every document that the tasks touch; reads with one query for each collection.
async fn load<W: Workspace>(
    tools: &Tools,
    grounds: Grounds,
    tasks: &[Box<dyn Task<W>>],
    workspace: &mut W,
) -> Result<Loaded, StoreError> {
    let mut keys: BTreeSet<DocumentKey> = BTreeSet::new();
    let mut assumed = BTreeSet::new();
    for task in tasks {
        keys.extend(task.documents());
        if grounds == Grounds::Assumed {
            assumed.extend(task.expects_to_create());
        }
    }
    let mut wanted: BTreeMap<&'static str, Vec<uuid::Uuid>> = BTreeMap::new();
    for key in keys.difference(&assumed) {
        wanted.entry(key.collection).or_default().push(key.id);
    }
    let queries = wanted.into_iter().map(|(collection, ids)| async move {
        let found = tools.store.find(collection, ids).await?;
        Ok::<_, StoreError>((collection, found))
    });
    let found: BTreeMap<_, _> = futures_util::future::try_join_all(queries)
        .await?
        .into_iter()
        .collect();
    let ledger = tools.ledger.borrow();
    let mut unreadable = Vec::new();
    for copies in workspace.collections() {
        let collection = copies.collection();
        for raw in found.get(collection).into_iter().flatten() {
            if let Err(error) = copies.load(raw, &ledger) {
                unreadable.push((
                    DocumentKey {
                        collection,
                        id: id(raw)?,
                    },
                    error,
                ));
            }
        }
    }
    Ok(Loaded { unreadable, assumed })
}

/// Writes documents; those that somebody else has changed meanwhile.
async fn write<W: Workspace>(
    tools: &Tools,
    commit_id: uuid::Uuid,
    writes: Vec<Write>,
) -> Result<BTreeSet<DocumentKey>, StoreError> {
    if writes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let keys: Vec<_> = writes.iter().map(|write| write.key).collect();
    let commit = Commit {
        id: commit_id,
        // One document is all or nothing by itself.
        atomic: keys.len() > 1 && W::ATOMIC,
        writes,
    };
    let outcomes = tools.store.commit(commit).await?;
    tools.is_failing.set(false);
    let conflicts = keys
        .into_iter()
        .zip(outcomes)
        .filter(|(_, outcome)| *outcome == Outcome::Conflict);
    Ok(conflicts.map(|(key, _)| key).collect())
}

/// Hands over what written documents announce, and nothing else: what was found in them is its
/// owner's to publish, or the sweep's.
///
/// An event that was caused by a record of the log goes at once, since what it rests on is there. One
/// that a request caused may rest on events of others that its document still holds: it is held until
/// they are gone.
fn hand_over(tools: &Tools, changes: Vec<Change>) -> Option<HandOver> {
    let mut held = tools.held.borrow_mut();
    let mut documents = Vec::new();
    for change in changes {
        let Change {
            key,
            carried,
            announced,
            left_out,
        } = change;
        let mut ledger = tools.ledger.borrow_mut();
        left_out.into_iter().for_each(|event| ledger.left_out(event));
        if announced.is_empty() {
            continue;
        }
        let at_once = announced.iter().all(OutboxEvent::rests_on_log);
        let foreign = carried.into_iter().filter(|event| !ledger.knows(event.id));
        let foreign: Vec<_> = foreign.filter(|_| !at_once).collect();
        if held.is_waiting(&key) || !foreign.is_empty() {
            announced.iter().for_each(|event| ledger.held(key, event.id));
            held.wait(
                key,
                Waiting {
                    behind: foreign,
                    events: announced,
                    since: Instant::now(),
                },
            );
        } else {
            documents.push((key, announced));
        }
    }
    HandOver::to(tools, documents)
}

impl HandOver {
    /// Hands the events of these documents over, if there are any that are not on their way already.
    pub fn to(tools: &Tools, documents: Vec<(DocumentKey, Vec<OutboxEvent>)>) -> Option<HandOver> {
        let mut ledger = tools.ledger.borrow_mut();
        let mut events: Vec<OutboxEvent> = Vec::new();
        for (key, mut found) in documents {
            found.retain(|event| ledger.handed_over(key, event.id));
            events.extend(found);
        }
        if events.is_empty() {
            return None;
        }
        let ids = events.iter().map(|event| event.id).collect();
        let (tell, settled) = mpsc::unbounded_channel();
        // Were the publisher gone, `tell` would be dropped and the sweep would find the events.
        tools.publisher.do_send(Publish {
            events,
            settled: tell,
        });
        Some(HandOver { events: ids, settled })
    }
}
