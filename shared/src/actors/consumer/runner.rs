//! Works a parked lane off: its head first, then the rest in order, as long as they are due.

use std::rc::Rc;

use super::{
    Routes,
    desk::{Ending, ParkingDesk},
    failure::{Diagnosis, classify},
    lanes::RunEnd,
    parking::tell,
    read::{Content, content, traces},
};
use crate::{
    actors::repository::{Changed, Stop, Turn},
    environment::Timestamp,
    parking::{Change, ContentId, Due, LaneId, ParkedId, ParkedRecord, due},
};

/// Records of a lane whose ids are read at a time. A lane is mostly of one aggregate, hence short.
const PAGE: usize = 100;

/// What a run works with.
pub struct Runner {
    pub lane: LaneId,
    pub head: ParkedId,
    /// The head is the only record of the lane.
    pub single: bool,
    pub routes: Rc<Routes>,
    pub desk: ParkingDesk,
    pub stop: Stop,
    /// Records that it has dealt with.
    pub closed: Vec<(ParkedId, ContentId)>,
}

/// How it goes on behind a record.
enum Next {
    /// It is dealt with: it is the next one's turn.
    Further,
    /// It is not due before this moment; without one, an operator has to decide.
    Blocked(Option<Timestamp>),
}

impl Runner {
    /// How far it came, and which records it has dealt with.
    pub async fn run(mut self) -> (RunEnd, Vec<(ParkedId, ContentId)>) {
        let end = self.work_lane_off().await;
        (end, self.closed)
    }

    async fn work_lane_off(&mut self) -> RunEnd {
        let mut ids = vec![self.head];
        loop {
            for id in ids {
                if self.stop.is_set() {
                    return RunEnd::Stopped;
                }
                match self.work_off(id).await {
                    Ok(Next::Further) => {}
                    Ok(Next::Blocked(due)) => return self.blocked(id, due).await,
                    Err(Ending) => return RunEnd::Stopped,
                }
            }
            if self.single {
                return RunEnd::Empty;
            }
            ids = match self.open().await {
                Some(open) if open.is_empty() => return RunEnd::Empty,
                Some(open) => open,
                None => return RunEnd::Stopped,
            };
        }
    }

    async fn blocked(&self, head: ParkedId, due: Option<Timestamp>) -> RunEnd {
        let records = match self.single {
            true => 1,
            false => match self.open().await {
                Some(open) => u32::try_from(open.len()).unwrap_or(u32::MAX),
                None => return RunEnd::Stopped,
            },
        };
        RunEnd::Blocked { head, records, due }
    }

    /// The ids of the lane's open records, at most a page; `None`: the run was told to stop.
    async fn open(&self) -> Option<Vec<ParkedId>> {
        for failures in 1.. {
            match self.desk.page(ParkingDesk::of_lane(self.lane), None, PAGE).await {
                Ok(page) if page.unreadable == 0 => {
                    return Some(page.records.into_iter().map(|record| record.id).collect());
                }
                // Whatever stands behind one that cannot be read waits until it can.
                Ok(_) | Err(_) if self.stop.is_set() => return None,
                answer => {
                    if let Err(error) = answer
                        && failures == 1
                    {
                        log::warn!(target: "KafkaConsumerActor", "parked records cannot be read: {error}");
                    }
                    self.desk.pause(failures).await;
                }
            }
        }
        None
    }

    /// Carries out what is due with a record.
    async fn work_off(&mut self, id: ParkedId) -> Result<Next, Ending> {
        // The record that comes back holds every request that was accepted before this write.
        let begun = self.desk.begin(id, &self.stop).await?;
        let Some(Changed { record, changed }) = begun.filter(|begun| begun.record.state.is_open()) else {
            return Ok(Next::Further);
        };
        let now = self.desk.environment.now();
        let change = match due(&record, now) {
            // It has become due since that write: no attempt is begun.
            Due::Replay if !changed => return Ok(Next::Blocked(Some(now))),
            Due::Discard => Change::Discard,
            Due::At(next) => return Ok(Next::Blocked(Some(next))),
            Due::Never => return Ok(Next::Blocked(None)),
            Due::Replay => self.replay(&record).await?,
        };
        let Some(Changed { record, .. }) = self.desk.change(id, change).await? else {
            return Ok(Next::Further);
        };
        tell(&record, &traces(&self.routes, &record.to_handle()), None);
        self.desk.metrics.replayed(record.state.as_str());
        if record.state.is_open() {
            return Ok(Next::Blocked(record.next_try_at));
        }
        self.closed.extend(record.content.map(|content| (id, content)));
        Ok(Next::Further)
    }

    /// Hands a record over to its handler; what that makes of it.
    async fn replay(&self, record: &ParkedRecord) -> Result<Change, Ending> {
        let (turn, _when_accepted) = Turn::new();
        let answer = match content(&self.routes, &record.to_handle()) {
            Content::Event(event) => event.hand_over(turn).await,
            Content::Nobody(_) => Ok(()),
            Content::Unreadable(error, _) => Err(error),
        };
        let Err(error) = answer else {
            return Ok(Change::Finish {
                begun: record.attempt_since,
            });
        };
        let attempts = u32::try_from(record.attempts).unwrap_or(0) + 1;
        match classify(error, attempts, &self.desk.patience()) {
            Diagnosis::Failed(failure) => Ok(Change::Fail {
                failure,
                begun: record.attempt_since,
            }),
            Diagnosis::Abandoned => Err(Ending),
        }
    }
}
