//! The replay of all records that failed for one reason.
//!
//! A job is a document, so it outlives the request that asked for it and the instance that works on
//! it: another instance goes on where the last page ended. What has become of its records is counted
//! in the records themselves, which name their job.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{JobId, ParkedId};
use crate::{
    document_store::{CollectionSettings, Document, Index, IndexValue},
    environment::Timestamp,
};

/// An instance that works on a job says so this often at least; after twice that time another one
/// goes on.
pub const JOB_LEASE: Duration = Duration::from_secs(10);

/// A replay of many records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayJob {
    /// Made by the instance that was asked.
    #[serde(rename = "_id")]
    pub id: JobId,
    /// 0 while records are still to be asked for, 1 afterwards.
    pub finished: i32,
    /// The reason for which the records failed.
    pub reason: String,
    /// The request behind it.
    pub correlation_id: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it went on last.
    pub updated_at: Timestamp,
    /// All records up to this one were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ParkedId>,
    /// Until then an instance works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_until: Option<Timestamp>,
}

impl Document for ReplayJob {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "replayJobs",
        indexes: &[Index {
            fields: &["finished"],
        }],
    };
    fn id(&self) -> Uuid {
        self.id.0
    }
}

/// What an index is searched by for jobs that are not finished.
pub const UNFINISHED: IndexValue = IndexValue::Int(0);

/// Something that happens to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobChange {
    /// An operator asks for it.
    Create {
        /// The reason for which the records failed.
        reason: String,
        /// The request behind it.
        correlation_id: String,
    },
    /// An instance wants to work on it.
    Claim,
    /// Records up to this one were asked for.
    Advance(ParkedId),
    /// All were.
    Finish,
}

/// Decides what a change makes of a job; `None`: nothing changes.
pub fn decide_job(
    id: JobId,
    known: Option<&ReplayJob>,
    change: &JobChange,
    now: Timestamp,
) -> Option<ReplayJob> {
    let leased = Some(now.after(JOB_LEASE * 2));
    let Some(known) = known else {
        let JobChange::Create {
            reason,
            correlation_id,
        } = change
        else {
            return None;
        };
        return Some(ReplayJob {
            id,
            finished: 0,
            reason: reason.clone(),
            correlation_id: correlation_id.clone(),
            created_at: now,
            updated_at: now,
            after: None,
            leased_until: None,
        });
    };
    let mut job = ReplayJob {
        updated_at: now,
        ..known.clone()
    };
    // A lease of the far future is of another clock.
    let is_free = known
        .leased_until
        .is_none_or(|until| until <= now || until.since(now) > JOB_LEASE * 2);
    match change {
        JobChange::Create { .. } => return None,
        _ if known.finished != 0 => return None,
        JobChange::Claim if !is_free => return None,
        JobChange::Claim => job.leased_until = leased,
        JobChange::Advance(after) => (job.after, job.leased_until) = (Some(*after), leased),
        JobChange::Finish => (job.finished, job.leased_until) = (1, None),
    }
    Some(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(known: Option<&ReplayJob>, change: &JobChange, at: i64) -> Option<ReplayJob> {
        decide_job(JobId(Uuid::from_u128(1)), known, change, Timestamp(at))
    }

    #[test]
    fn one_instance_works_on_a_job_and_another_goes_on_when_it_is_gone() {
        let create = JobChange::Create {
            reason: "unknown-parcel".into(),
            correlation_id: "c".into(),
        };
        let job = decide(None, &create, 0).expect("it is new");
        assert_eq!(decide(Some(&job), &create, 1), None, "asked for twice, it is one");
        let claimed = decide(Some(&job), &JobChange::Claim, 2).expect("it is free");
        assert_eq!(decide(Some(&claimed), &JobChange::Claim, 3), None);
        let after = ParkedId::of("t", 0, 9);
        let advanced = decide(Some(&claimed), &JobChange::Advance(after), 4).expect("it goes on");
        let later = decide(Some(&advanced), &JobChange::Claim, 20_004).expect("its instance is gone");
        assert_eq!(later.after, Some(after), "nothing is asked for twice");
        let finished = decide(Some(&later), &JobChange::Finish, 20_005).expect("it ends");
        assert_eq!(decide(Some(&finished), &JobChange::Claim, 99_999), None);
    }
}
