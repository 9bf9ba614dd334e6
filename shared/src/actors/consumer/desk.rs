//! Whom a consumer asks about parked records, and what it does not give up on.

use std::time::Duration;

use actix::{MailboxError, Recipient};

use super::{
    dead_letter::{Verdict, dead_letter},
    failure::retry_pause,
};
use crate::{
    actors::{
        publisher::PublishRecord,
        repository::{ChangeParked, List, RepositoryError, ResumeLane},
    },
    document_store::{Document, IndexValue, Order, Query},
    environment::Environment,
    event_log::ConsumedRecord,
    metrics::Metrics,
    parking::{Change, Failure, ParkedId, ParkedRecord, ParkedState},
};

/// Where records are parked: the repository for the records, the publisher for the dead letters.
#[derive(Clone)]
pub struct ParkingDesk {
    /// The consumer group: dead letters say who gave them up.
    pub group: String,
    /// Reads parked records.
    pub list: Recipient<List<ParkedRecord>>,
    /// Changes them.
    pub change: Recipient<ChangeParked>,
    /// Lets events of a key be decided again.
    pub resume: Recipient<ResumeLane>,
    /// Takes dead letters.
    pub publisher: Recipient<PublishRecord>,
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
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// A page of parked records, in the order of the log.
    pub(super) async fn page(
        &self,
        matching: Vec<(&'static str, Vec<IndexValue>)>,
        after: Option<ParkedId>,
        limit: usize,
    ) -> Result<Vec<ParkedRecord>, String> {
        let query = Query {
            collection: ParkedRecord::COLLECTION.name,
            matching,
            after: after.map(Into::into),
            order: Order::Ascending,
            limit,
        };
        let answer = self.list.send(List::new(query)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer
            .map(|found| found.documents)
            .map_err(|error| error.to_string())
    }

    /// Changes a parked record, however long that takes; the record as it then is.
    pub(super) async fn change(&self, id: ParkedId, change: Change) -> Result<ParkedRecord, Ending> {
        for failures in 1.. {
            let message = ChangeParked {
                id,
                change: change.clone(),
                deadline: None,
            };
            match self.change.send(message).await {
                Ok(Ok(Ok(record))) => return Ok(record),
                Err(MailboxError::Closed | MailboxError::Timeout) | Ok(Err(RepositoryError::Stopping)) => {
                    return Err(Ending);
                }
                Ok(Ok(Err(refusal))) => {
                    log::error!(target: "KafkaConsumerActor", parked:% = id; "cannot be changed: {refusal:?}")
                }
                Ok(Err(error)) => {
                    log::error!(target: "KafkaConsumerActor", parked:% = id; "not parked yet: {error}")
                }
            }
            self.pause(failures).await;
        }
        Err(Ending)
    }

    /// Puts a copy of a record that has failed for good on the dead-letter topic, however long that
    /// takes.
    ///
    /// Before that is written down in the parked record: a crash in between costs a second copy, not
    /// the only one.
    pub(super) async fn bury(
        &self,
        record: &ConsumedRecord,
        failure: &Failure,
        attempts: u32,
    ) -> Result<(), Ending> {
        let verdict = Verdict {
            group: &self.group,
            reason: &failure.reason,
            error: &failure.error,
            attempts,
            time: self.environment.now(),
        };
        let letter = dead_letter(record, &verdict);
        for failures in 1.. {
            match self.publisher.send(PublishRecord(letter.clone())).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => {
                    log::error!(target: "KafkaConsumerActor", "the dead letter is not written: {error}")
                }
                Err(_) => return Err(Ending),
            }
            self.pause(failures).await;
        }
        self.metrics.dead_letter(&failure.reason);
        Ok(())
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

    async fn pause(&self, failures: u32) {
        tokio::time::sleep(self.environment.jitter(retry_pause(failures))).await;
    }
}
