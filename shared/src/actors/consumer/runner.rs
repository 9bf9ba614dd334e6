//! Works a parked lane off: its head first, then the rest in order, as long as they are due.

use std::{cell::Cell, rc::Rc};

use super::{
    Routes,
    desk::{Ending, ParkingDesk},
    dispatch::{Begun, begin},
    failure::{Diagnosis, classify},
};
use crate::{
    actors::repository::{ResumeLane, Turn},
    document_store::IndexValue,
    environment::Timestamp,
    parking::{Change, Due, Fate, LaneId, ParkedRecord, ParkedState, due},
};

/// Records that are read at a time.
const PAGE: usize = 100;

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left in the lane.
    Empty,
    /// The head is not due before this moment; without one, an operator has to decide.
    Blocked(Option<Timestamp>),
    /// The records could not be read.
    Unread,
    /// It was told to stop.
    Stopped,
}

/// What a run works with.
pub struct Runner {
    pub lane: LaneId,
    pub routes: Rc<Routes>,
    pub desk: ParkingDesk,
    pub stop: Rc<Cell<bool>>,
}

impl Runner {
    /// Nothing of the lane may be under way elsewhere in this process.
    pub async fn run(self) -> RunEnd {
        let matching = vec![
            ("lane", vec![IndexValue::Uuid(self.lane.0)]),
            ("state", ParkedState::OPEN.map(ParkedState::index_value).to_vec()),
        ];
        self.desk.resume.do_send(ResumeLane(self.lane));
        loop {
            let page = match self.desk.page(matching.clone(), None, PAGE).await {
                Ok(page) if page.is_empty() => return RunEnd::Empty,
                Ok(page) => page,
                Err(error) => {
                    log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
                    return RunEnd::Unread;
                }
            };
            for record in page {
                if self.stop.get() {
                    return RunEnd::Stopped;
                }
                match self.work_off(record).await {
                    Ok(None) => {}
                    Ok(Some(end)) => return end,
                    Err(Ending) => return RunEnd::Stopped,
                }
            }
        }
    }

    /// Carries out what is due with a record. `None`: it is dealt with, and it is the next one's turn.
    async fn work_off(&self, record: ParkedRecord) -> Result<Option<RunEnd>, Ending> {
        let change = match due(&record, self.desk.environment.now()) {
            Due::Discard => Change::Discard,
            Due::At(next) => return Ok(Some(RunEnd::Blocked(Some(next)))),
            Due::Never => return Ok(Some(RunEnd::Blocked(None))),
            Due::Replay => match self.replay(&record).await? {
                Some(change) => change,
                None => return Ok(Some(RunEnd::Unread)),
            },
        };
        let record = self.desk.change(record.id, change).await?;
        log::info!(target: "KafkaConsumerActor", parked:% = record.id, topic = record.topic.as_str(),
            partition = record.partition, offset = record.offset, attempt = record.attempts;
            "parked record: {}", record.state.as_str());
        self.desk.metrics.replayed(record.state.as_str());
        Ok(match record.state {
            ParkedState::Done | ParkedState::Discarded => None,
            ParkedState::Parked | ParkedState::Waiting | ParkedState::Retrying | ParkedState::Requested => {
                Some(RunEnd::Blocked(record.next_try_at))
            }
        })
    }

    /// Hands a record over. `None`: it has to wait behind another.
    async fn replay(&self, record: &ParkedRecord) -> Result<Option<Change>, Ending> {
        let consumed = record.to_handle();
        let lane = consumed.key.as_ref().map(|_| self.lane);
        let (turn, _when_accepted) = Turn::new(lane);
        let answer = match begin(&self.routes, &consumed, turn) {
            Ok(Begun::Answer(_, answer)) => answer.await,
            Ok(Begun::Skipped { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        let Err(error) = answer else {
            return Ok(Some(Change::Finish));
        };
        let attempts = u32::try_from(record.attempts).unwrap_or(0) + 1;
        match classify(error, attempts, self.desk.patience, &self.desk.environment) {
            Diagnosis::Failed(failure) => {
                if failure.fate == Fate::Final {
                    self.desk.bury(&record.as_it_came(), &failure, attempts).await?;
                }
                Ok(Some(Change::Fail(failure)))
            }
            Diagnosis::Behind => Ok(None),
            Diagnosis::Abandoned => Err(Ending),
        }
    }
}
