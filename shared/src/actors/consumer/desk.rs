//! Whom a consumer asks about parked records, and what it does not give up on.

use std::time::Duration;

use actix::{Message, Recipient};

use super::failure::{Patience, retry_pause};
use crate::{
    actors::repository::{
        ChangeJob, ChangeParked, Changed, Count, List, ListOpen, OpenPage, RepositoryError, Stop,
    },
    document_store::{Direction, Document, IndexValue, Query},
    environment::Environment,
    event_log::ConsumedRecord,
    metrics::Metrics,
    parking::{
        Change, ContentId, JobChange, JobId, LaneId, ParkedId, ParkedRecord, ParkedState, ReplayJob,
        UNFINISHED,
    },
};

/// Records of a lane that are looked at to find out whether an event is parked in it already.
const LOOK_AT: usize = 20;
/// Jobs that are worked on, one after the other, before it is looked again.
const JOBS: usize = 20;

/// Where records are parked: in the service's database, by way of its repository.
#[derive(Clone)]
pub struct ParkingDesk {
    /// The consumer group: dead letters say who gave them up.
    pub group: String,
    /// Reads parked records.
    pub list: Recipient<List<ParkedRecord>>,
    /// Reads ids and states of open records.
    pub open: Recipient<ListOpen>,
    /// Counts open records.
    pub count: Recipient<Count>,
    /// Changes parked records.
    pub change: Recipient<ChangeParked>,
    /// Reads replay jobs.
    pub jobs: Recipient<List<ReplayJob>>,
    /// Changes them.
    pub change_job: Recipient<ChangeJob>,
    /// How long what comes too early is tried.
    pub patience: Duration,
    /// Clock and chance.
    pub environment: Environment,
    /// Where parked records are counted.
    pub metrics: Metrics,
}

/// The service is ending: what is not done will be delivered again.
#[derive(Debug)]
pub(super) struct Ending;

impl ParkingDesk {
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience {
            group: &self.group,
            patience: self.patience,
            environment: &self.environment,
        }
    }

    /// A page of open records, in the order of the log.
    pub(super) async fn page(
        &self,
        matching: Vec<(&'static str, Vec<IndexValue>)>,
        after: Option<ParkedId>,
        limit: usize,
    ) -> Result<OpenPage, String> {
        let order = Direction::Ascending;
        self.ids(ListOpen {
            matching,
            after,
            order,
            limit,
        })
        .await
    }

    /// Records of these partitions that were dealt with, the last ones in the log.
    pub(super) async fn closed(
        &self,
        partitions: impl Iterator<Item = i32>,
        limit: usize,
    ) -> Result<Vec<(ParkedId, ContentId)>, String> {
        let closed = ListOpen {
            matching: Self::of_partitions(partitions, &[ParkedState::Done, ParkedState::Discarded]),
            after: None,
            order: Direction::Descending,
            limit,
        };
        let page = self.ids(closed).await?;
        let records = page.records.into_iter();
        Ok(records
            .filter_map(|record| Some((record.id, record.content?)))
            .collect())
    }

    async fn ids(&self, message: ListOpen) -> Result<OpenPage, String> {
        let answer = self.open.send(message).await;
        answer
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    /// Whether this event, the same to the byte, is open in the lane already. Without a header, two
    /// records may be equal and yet two events.
    pub(super) async fn holds(&self, lane: LaneId, record: &ConsumedRecord) -> Result<bool, Ending> {
        if record.headers.is_empty() {
            return Ok(false);
        }
        let query = || Query {
            collection: ParkedRecord::COLLECTION.name,
            matching: Self::of_lane(lane),
            after: None,
            order: Direction::Ascending,
            limit: LOOK_AT,
        };
        let failed = |error| {
            log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
        };
        let found = self.insist(&self.list, || List::new(query()), failed).await?;
        Ok(found.documents.iter().any(|parked| {
            let came = parked.as_it_came();
            came.position != record.position && came.value == record.value && came.headers == record.headers
        }))
    }

    /// The jobs that are not finished; none where they cannot be read, for a later look will.
    pub(super) async fn unfinished_jobs(&self) -> Vec<ReplayJob> {
        let query = Query {
            collection: ReplayJob::COLLECTION.name,
            matching: vec![("finished", vec![UNFINISHED])],
            after: None,
            order: Direction::Ascending,
            limit: JOBS,
        };
        let found = self.jobs.send(List::new(query)).await;
        let found = found.ok().and_then(Result::ok);
        found.map(|found| found.documents).unwrap_or_default()
    }

    /// Changes a job, however long that takes; the job, if it was changed.
    pub(super) async fn change_job(&self, id: JobId, change: JobChange) -> Result<Option<ReplayJob>, Ending> {
        let message = || ChangeJob {
            id,
            change: change.clone(),
            deadline: None,
        };
        let failed = |error| {
            log::warn!(target: "KafkaConsumerActor", job:% = id; "not changed yet: {error}");
        };
        self.insist(&self.change_job, message, failed).await
    }

    /// How many records match, at most `limit`.
    pub(super) async fn count(
        &self,
        matching: Vec<(&'static str, Vec<IndexValue>)>,
        limit: usize,
    ) -> Option<usize> {
        let query = Query {
            collection: ParkedRecord::COLLECTION.name,
            matching,
            after: None,
            order: Direction::Ascending,
            limit,
        };
        self.count.send(Count::new(query)).await.ok()?.ok()
    }

    /// Changes a parked record, however long that takes; the record as it then is, or
    /// none where there is no such record (any more).
    pub(super) async fn change(&self, id: ParkedId, change: Change) -> Result<Option<Changed>, Ending> {
        self.change_unless(id, change, &Stop::default()).await
    }

    /// Begins to carry out what is due with a parked record. `Ending` once `stop` is set: then the
    /// record is another owner's.
    pub(super) async fn begin(&self, id: ParkedId, stop: &Stop) -> Result<Option<Changed>, Ending> {
        let begun = self.change_unless(id, Change::Begin, stop).await?;
        if stop.is_set() { Err(Ending) } else { Ok(begun) }
    }

    async fn change_unless(
        &self,
        id: ParkedId,
        change: Change,
        stop: &Stop,
    ) -> Result<Option<Changed>, Ending> {
        let message = || ChangeParked {
            id,
            change: change.clone(),
            deadline: None,
            stop: stop.clone(),
        };
        let failed = |error| {
            log::error!(target: "KafkaConsumerActor", parked:% = id; "not parked yet: {error}");
        };
        let changed = self.insist(&self.change, message, failed).await?;
        Ok(changed
            .inspect_err(|refusal| {
                log::warn!(target: "KafkaConsumerActor", parked:% = id; "not changed: {refusal:?}");
            })
            .ok())
    }

    /// Asks until there is an answer, however long that takes.
    async fn insist<M, T>(
        &self,
        whom: &Recipient<M>,
        message: impl Fn() -> M,
        failed: impl Fn(RepositoryError),
    ) -> Result<T, Ending>
    where
        M: Message<Result = Result<T, RepositoryError>> + Send,
        T: Send + 'static,
    {
        for failures in 1.. {
            match whom.send(message()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(RepositoryError::Stopping)) | Err(_) => return Err(Ending),
                Ok(Err(error)) => failed(error),
            }
            self.pause(failures).await;
        }
        Err(Ending)
    }

    /// Open records of a lane.
    pub(super) fn of_lane(lane: LaneId) -> Vec<(&'static str, Vec<IndexValue>)> {
        vec![
            ("lane", vec![IndexValue::Uuid(lane.0)]),
            ("state", ParkedState::OPEN.map(ParkedState::index_value).to_vec()),
        ]
    }

    /// Records that failed, of all partitions.
    pub(super) fn failed() -> Vec<(&'static str, Vec<IndexValue>)> {
        let states = [ParkedState::Parked, ParkedState::Retrying];
        vec![("state", states.map(ParkedState::index_value).to_vec())]
    }

    /// Open records in these states, of these partitions.
    pub(super) fn of_partitions(
        partitions: impl Iterator<Item = i32>,
        states: &[ParkedState],
    ) -> Vec<(&'static str, Vec<IndexValue>)> {
        vec![
            ("partition", partitions.map(IndexValue::Int).collect()),
            ("state", states.iter().map(|state| state.index_value()).collect()),
        ]
    }

    pub(super) async fn pause(&self, failures: u32) {
        tokio::time::sleep(self.environment.jitter(retry_pause(failures))).await;
    }
}
