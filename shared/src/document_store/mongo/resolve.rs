//! Whose write is it? Read back after a refusal or an unknown outcome.
//!
//! A document bears the version and the commit id of the write that made it, so what the majority
//! has tells our own write from another's. Hazard, and accepted: if another writer has already
//! replaced what we wrote, ours cannot be seen any more and is told as a conflict. The caller then
//! reads again and decides again, as after every conflict.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::future::try_join_all;
use mongodb::{
    bson::{RawDocument, doc, spec::BinarySubtype},
    options::FindOptions,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    super::{Commit, numbers},
    MongoStore,
    errors::Fault,
    queries::{any_of, binary, fetch},
};

/// What reading back found in the place of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Our write.
    Ours,
    /// What was there when the write was decided: it has not happened, and still can.
    Before,
    /// What can no longer become our write.
    Others,
}

/// Reads back some writes of a commit.
pub(super) async fn read_back(
    store: &MongoStore,
    commit: &Commit,
    writes: &[usize],
    within: Duration,
) -> Result<Vec<(usize, Found)>, Fault> {
    let mut by_collection: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for index in writes {
        by_collection
            .entry(commit.writes[*index].key.collection)
            .or_default()
            .push(*index);
    }
    let reads = by_collection.into_iter().map(|(collection, indices)| async move {
        let ids = indices
            .iter()
            .map(|index| binary(commit.writes[*index].key.id))
            .collect();
        let options = FindOptions::builder()
            .projection(doc! { "version": 1, "commitId": 1 })
            .limit(indices.len() as i64)
            .build();
        let documents = fetch(store, collection, doc! { "_id": any_of(ids) }, options, within).await?;
        let there: HashMap<Uuid, (i64, Option<Uuid>)> = documents
            .iter()
            .filter_map(|document| {
                let version = document.get("version").ok().flatten();
                let version = version.and_then(|version| numbers::whole_of(version).ok());
                let version = version.unwrap_or_default();
                Some((uuid(document, "_id")?, (version, uuid(document, "commitId"))))
            })
            .collect();
        let compare = |index: usize| {
            let write = &commit.writes[index];
            compare(
                write.expected_version,
                commit.id,
                there.get(&write.key.id).copied(),
            )
        };
        Ok::<_, Fault>(
            indices
                .into_iter()
                .map(|index| (index, compare(index)))
                .collect::<Vec<_>>(),
        )
    });
    Ok(try_join_all(reads).await?.concat())
}

fn compare(expected: Option<i64>, commit: Uuid, there: Option<(i64, Option<Uuid>)>) -> Found {
    let ours = (expected.map_or(1, |version| version + 1), Some(commit));
    match (expected, there) {
        (_, Some(there)) if there == ours => Found::Ours,
        (None, None) => Found::Before,
        (Some(expected), Some((version, _))) if version == expected => Found::Before,
        (None | Some(_), Some(_)) | (Some(_), None) => Found::Others,
    }
}

fn uuid(document: &RawDocument, field: &str) -> Option<Uuid> {
    let binary = document.get_binary(field).ok()?;
    (binary.subtype == BinarySubtype::Uuid).then(|| Uuid::from_slice(binary.bytes).ok())?
}

/// The time a commit has, and the pauses between its attempts.
#[derive(Debug)]
pub(super) struct Patience {
    deadline: Instant,
    call_timeout: Duration,
    attempt: u32,
}

/// The first pause after a failed attempt; it doubles up to [`LONGEST_PAUSE`]. A restarted server
/// takes 1.5 s to be writable again, two transactions on one document are apart after this one.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// An attempt gets at least so long, even at the very end.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(100);

impl Patience {
    pub(super) fn new(store: &MongoStore) -> Patience {
        Patience {
            deadline: Instant::now() + store.settings.commit_deadline,
            call_timeout: store.settings.call_timeout,
            attempt: 0,
        }
    }

    /// The deadline of the next call.
    pub(super) fn next_call(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.call_timeout).max(SHORTEST_ATTEMPT)
    }

    /// Pauses, with jitter so that two who met do not meet again; `false` when the time is up.
    pub(super) async fn pause(&mut self) -> bool {
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.attempt.min(10))
            .min(LONGEST_PAUSE);
        self.attempt += 1;
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_commit_id_together_tell_our_write_from_anothers() {
        let (us, them) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(compare(None, us, Some((1, Some(us)))), Found::Ours);
        assert_eq!(compare(None, us, Some((1, Some(them)))), Found::Others);
        assert_eq!(compare(None, us, Some((2, Some(us)))), Found::Others);
        assert_eq!(compare(None, us, None), Found::Before);
        assert_eq!(compare(Some(4), us, Some((5, Some(us)))), Found::Ours);
        assert_eq!(compare(Some(4), us, Some((4, Some(them)))), Found::Before);
        assert_eq!(compare(Some(4), us, Some((5, Some(them)))), Found::Others);
        assert_eq!(compare(Some(4), us, Some((5, None))), Found::Others);
        assert_eq!(compare(Some(4), us, None), Found::Others);
    }
}
