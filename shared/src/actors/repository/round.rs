//! One round of the group commit: read, decide, write, hand over, answer.
//!
//! Promise: a command is answered only when everything it decided is durable, and its events are
//! handed over before it is answered. A round that cannot reach the database keeps its commands, in
//! their order, until it can; only those with a deadline give up.
//!
//! The first try rests on memory (see [`super::memory`] for the rule that makes this safe); what it
//! cannot settle is tried on what is read.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::Recipient;
use mongodb::bson::RawDocumentBuf;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    RepositoryError, Workspace, command::Task, memory::Memory, outbox_ledger::OutboxLedger,
    profile::WriteProfile, workspace::Change,
};
use crate::{
    actors::publisher::Publish,
    contracts::EventId,
    document_store::{Commit, Document, DocumentKey, DocumentStore, Mark, Outcome, StoreError, Write, id},
    envelope::OutboxEvent,
    environment::Environment,
    metrics::Metrics,
    mutants::{self, Mutant},
    parking::ParkedRecord,
};

/// First pause after a failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A command from a request whose documents others keep changing is given up after so many tries.
const MAX_CONFLICTS: u32 = 20;

/// What a round works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub store: Arc<dyn DocumentStore>,
    pub publisher: Recipient<Publish>,
    pub profile: WriteProfile,
    pub ledger: Rc<RefCell<OutboxLedger>>,
    pub memory: Rc<RefCell<Memory>>,
    pub environment: Environment,
    pub metrics: Metrics,
}

/// What is to be awaited after a round.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Events handed over.
    pub handed_over: Vec<HandOver>,
    /// Documents to mark.
    pub marks: Vec<Mark>,
}

/// Events on their way into the log.
pub(super) struct HandOver {
    pub events: BTreeMap<DocumentKey, Vec<EventId>>,
    pub confirmed: oneshot::Receiver<Vec<EventId>>,
    /// Given back when they have arrived.
    pub permits: Vec<OwnedSemaphorePermit>,
}

pub(super) async fn run<W: Workspace>(tools: Tools, mut tasks: Vec<Box<dyn Task<W>>>) -> Aftermath {
    let mut aftermath = Aftermath::default();
    let mut failures = 0;
    let mut conflicts = 0;
    // Once a commit may have happened, no later failure makes that certain either way.
    let mut in_doubt = false;
    let mut grounds = if tools.profile.remembers() && tools.memory.borrow().is_sound() {
        Grounds::Remembered
    } else {
        Grounds::Read
    };
    while !tasks.is_empty() {
        let attempted = attempt(&tools, grounds, &mut tasks, &mut aftermath).await;
        grounds = Grounds::Read;
        match attempted {
            Ok(Attempted::Unsettled) => continue,
            Ok(Attempted::Written) => {
                conflicts += 1;
                if conflicts >= MAX_CONFLICTS {
                    let error = || failure("its documents keep changing".into(), in_doubt);
                    give_up(&mut tasks, |task| task.is_expired(Instant::now()), error);
                }
            }
            Err(error) => {
                if failures == 0 {
                    log::warn!(target: "RepositoryActor", commands = tasks.len(); "waiting for the database: {error}");
                }
                tools.memory.borrow_mut().forget_all();
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
            let pause = FIRST_PAUSE
                .saturating_mul(1 << (failures + conflicts).min(16))
                .min(LONGEST_PAUSE);
            tokio::time::sleep(tools.environment.jitter(pause)).await;
        }
    }
    aftermath
}

/// Why a command is given up: nothing was changed, or nobody knows.
fn failure(reason: String, in_doubt: bool) -> RepositoryError {
    if in_doubt {
        RepositoryError::OutcomeUnknown(reason)
    } else {
        RepositoryError::Unavailable(reason)
    }
}

fn give_up<W>(
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
    /// On what was written a moment ago, and on what new documents are not there yet.
    Remembered,
    /// On what is read for it.
    Read,
}

/// What came of a try that reached the database, or did not need to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempted {
    /// Tasks that are through are taken out; those left met a conflict and are decided again.
    Written,
    /// The memory does not settle it. Nothing has happened.
    Unsettled,
}

/// One try.
async fn attempt<W: Workspace>(
    tools: &Tools,
    grounds: Grounds,
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

    let now = tools.environment.now();
    let mut unsettled = false;
    for mut task in std::mem::take(tasks) {
        match task.decide(&mut workspace, now) {
            Ok(()) => tasks.push(task),
            // A failure has effects beyond this round, so it has to be certain.
            Err(_) if !assumed.is_empty() => {
                tasks.push(task);
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
    if unsettled || unproved && !mutants::is_active(Mutant::TrustMemory) {
        return Ok(Attempted::Unsettled);
    }
    if mutants::is_active(Mutant::PublishBeforeCommit) {
        let announced = changes.iter().map(|change| (change.key, change.outbox.clone()));
        HandOver::to(&tools.publisher, announced.collect());
    }
    let conflicting = write::<W>(tools, commit_id, writes).await?;
    tools.metrics.round(tasks.len(), changes.len(), conflicting.len());
    changes.retain(|change| !conflicting.contains(&change.key));
    if !tools.profile.hands_over() {
        changes.clear();
    }

    let mut through: Vec<_> = tasks
        .extract_if(.., |task| !touches(&**task, &conflicting))
        .collect();
    let handed_over = hand_over(tools, changes, aftermath);
    let permits = through.drain(..).filter_map(Task::succeed).collect();
    if let Some(handed_over) = handed_over {
        aftermath.handed_over.push(HandOver {
            permits,
            ..handed_over
        });
    }
    Ok(Attempted::Written)
}

/// What a try rests on, beside the workspace.
struct Loaded {
    /// Documents that cannot be read.
    unreadable: Vec<(DocumentKey, StoreError)>,
    /// Documents that were not looked for: they are as remembered, or not there, as far as we know.
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
        if grounds == Grounds::Remembered {
            assumed.extend(task.expects_to_create());
        }
    }
    let mut remembered: BTreeMap<&'static str, Vec<RawDocumentBuf>> = BTreeMap::new();
    if grounds == Grounds::Remembered {
        let memory = tools.memory.borrow();
        for key in &keys {
            if let Some(document) = memory.recall(key) {
                remembered
                    .entry(key.collection)
                    .or_default()
                    .push(document.clone());
                assumed.insert(*key);
            }
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
        let remembered = remembered.get(collection).into_iter().flatten();
        for raw in found.get(collection).into_iter().flatten().chain(remembered) {
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
    let to_remember = tools.profile.remembers().then(|| writes.clone());
    let parked = |key: &DocumentKey| key.collection == ParkedRecord::COLLECTION.name;
    let commit = Commit {
        id: commit_id,
        // One document is all or nothing by itself.
        atomic: tools.profile.always_atomic() || keys.len() > 1 && W::ATOMIC,
        writes,
    };
    let outcomes = tools.store.commit(commit).await?;
    let mut memory = tools.memory.borrow_mut();
    memory.answered();
    for (write, outcome) in to_remember.into_iter().flatten().zip(&outcomes) {
        match outcome {
            Outcome::Applied if !parked(&write.key) => memory.remember(write),
            Outcome::Applied | Outcome::Conflict => memory.forget(&write.key),
        }
    }
    let conflicts = keys
        .into_iter()
        .zip(outcomes)
        .filter(|(_, outcome)| *outcome == Outcome::Conflict);
    Ok(conflicts.map(|(key, _)| key).collect())
}

/// Hands the events of written documents over to the publisher, if there are any.
fn hand_over(tools: &Tools, changes: Vec<Change>, aftermath: &mut Aftermath) -> Option<HandOver> {
    let mut ledger = tools.ledger.borrow_mut();
    let mut documents = Vec::new();
    for Change { key, version, outbox } in changes {
        let found = ledger.found(key, version, outbox);
        aftermath.marks.extend(found.mark);
        documents.push((key, found.hand_over));
    }
    HandOver::to(&tools.publisher, documents)
}

impl HandOver {
    /// Hands the events of these documents over, if there are any.
    pub fn to(
        publisher: &Recipient<Publish>,
        documents: Vec<(DocumentKey, Vec<OutboxEvent>)>,
    ) -> Option<HandOver> {
        let mut ids = BTreeMap::new();
        let mut events = Vec::new();
        for (key, found) in documents.into_iter().filter(|(_, found)| !found.is_empty()) {
            ids.insert(key, found.iter().map(|event| event.id).collect());
            events.extend(found);
        }
        if events.is_empty() {
            return None;
        }
        if mutants::is_active(Mutant::SkipOutboxEvent) {
            events.pop();
        }
        let (told, confirmed) = oneshot::channel();
        // Were the publisher gone, `told` would be dropped and the sweep would find the events.
        publisher.do_send(Publish {
            events,
            confirmed: told,
        });
        Some(HandOver {
            events: ids,
            confirmed,
            permits: Vec::new(),
        })
    }
}
