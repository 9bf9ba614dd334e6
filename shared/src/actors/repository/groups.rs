//! Commands of one round, and what becomes of them when the round does not get through as a whole.
//!
//! Cut in halves after a conflict or a refusal, again and again, until what makes trouble is alone.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    RepositoryError, Workspace,
    command::Task,
    round::{Tools, failure, give_up},
};
use crate::document_store::DocumentKey;

/// First pause after a failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A command from a request whose documents others keep changing is given up after so many tries.
const MAX_CONFLICTS: u32 = 20;

/// Commands of one round.
pub(super) struct Group<W> {
    pub tasks: Vec<Box<dyn Task<W>>>,
    /// How often they met a conflict.
    pub conflicts: u32,
    /// What it decided may have been written all the same.
    pub in_doubt: bool,
}

impl<W: Workspace> Group<W> {
    pub fn new(tasks: Vec<Box<dyn Task<W>>>) -> Group<W> {
        Group {
            tasks,
            conflicts: 0,
            in_doubt: false,
        }
    }

    /// How long it rests before it is tried again; not at all after its first conflict, which may well
    /// have been with a document that it took for not there.
    pub fn rest(&self, tools: &Tools) -> Option<Duration> {
        (self.conflicts > 1).then(|| tools.environment.jitter(pause(self.conflicts - 1)))
    }

    /// It met a conflict. Commands that share a document stay together, in their order.
    pub fn contested(self) -> Vec<Group<W>> {
        let conflicts = self.conflicts + 1;
        let (mut tasks, in_doubt) = (self.tasks, self.in_doubt);
        if conflicts >= MAX_CONFLICTS {
            let error = || failure("its documents keep changing".into(), in_doubt);
            give_up(&mut tasks, |task| task.is_expired(Instant::now()), error);
        }
        // What was only assumed may have been wrong: read it together first.
        let apart = if conflicts > 1 { halves(tasks) } else { vec![tasks] };
        let group = |tasks: Vec<_>| Group {
            tasks,
            conflicts,
            in_doubt,
        };
        let groups = apart.into_iter().map(group);
        groups.filter(|group| !group.tasks.is_empty()).collect()
    }

    /// The database refuses one of its documents for good.
    pub fn rejected(self, why: &str) -> Vec<Group<W>> {
        let Group {
            mut tasks,
            conflicts,
            in_doubt,
        } = self;
        if tasks.len() == 1 {
            log::error!(target: "RepositoryActor", "a command cannot be written and fails: {why}");
            give_up(&mut tasks, |_| true, || RepositoryError::Unfit(why.to_owned()));
            return Vec::new();
        }
        // One document's commands are decided one after the other, so any cut keeps their order, as
        // long as the first part is done before the second begins.
        let later = tasks.split_off(tasks.len() / 2);
        let group = |tasks| Group {
            tasks,
            conflicts,
            in_doubt,
        };
        [tasks, later].map(group).into()
    }
}

/// Groups that share no document each by itself; those that do one behind the other.
pub(super) fn apart<W: Workspace>(groups: Vec<Group<W>>) -> Vec<Vec<Group<W>>> {
    let mut sets: Vec<(BTreeSet<DocumentKey>, Vec<Group<W>>)> = Vec::new();
    for group in groups {
        let documents = group.tasks.iter().flat_map(|task| task.documents()).copied();
        let mut joined = (documents.collect::<BTreeSet<_>>(), Vec::new());
        let touching: Vec<_> = sets
            .extract_if(.., |(documents, _)| !documents.is_disjoint(&joined.0))
            .collect();
        for (documents, earlier) in touching {
            joined.0.extend(documents);
            joined.1.extend(earlier);
        }
        joined.1.push(group);
        sets.push(joined);
    }
    sets.into_iter().map(|(_, groups)| groups).collect()
}

/// About two halves that share no claim; one where all hang together.
fn halves<W: Workspace>(tasks: Vec<Box<dyn Task<W>>>) -> Vec<Vec<Box<dyn Task<W>>>> {
    let mut sets: Vec<(BTreeSet<DocumentKey>, Vec<usize>)> = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let mut joined = (
            task.documents().iter().copied().collect::<BTreeSet<_>>(),
            vec![index],
        );
        let touching: Vec<_> = sets
            .extract_if(.., |(documents, _)| !documents.is_disjoint(&joined.0))
            .collect();
        for (documents, members) in touching {
            joined.0.extend(documents);
            joined.1.extend(members);
        }
        sets.push(joined);
    }
    let (all, mut first) = (tasks.len(), BTreeSet::new());
    for (_, members) in &sets {
        // The last set never joins the first half, or there would be no second.
        if first.len() + members.len() <= all / 2 || first.is_empty() && sets.len() > 1 {
            first.extend(members.iter().copied());
        }
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (index, task) in tasks.into_iter().enumerate() {
        if first.contains(&index) {
            one.push(task);
        } else {
            other.push(task);
        }
    }
    vec![one, other]
}

pub(super) fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.min(16))
        .min(LONGEST_PAUSE)
}
