//! Finds parked records for operators.

use uuid::Uuid;

use super::{LOOK_AT, PAGE, PATIENCE, ParkedApi};
use crate::{
    actors::repository::{Find, List},
    admission::read,
    document_store::{Direction, Document, IndexValue, Query},
    http::Problem,
    parking::{KeyId, LaneId, ParkedId, ParkedRecord, ParkedState},
};

/// What a scan found, and where the next one goes on.
pub(super) struct Scanned {
    pub records: Vec<ParkedRecord>,
    pub cursor: Option<ParkedId>,
}

impl ParkedApi {
    pub(super) async fn get(&self, id: Uuid) -> Result<ParkedRecord, Problem> {
        let found = read(&self.find, Find::new([id]), PATIENCE, ()).await?;
        let found = found.into_iter().next();
        found.ok_or_else(|| Problem::not_found("parked record", id))
    }

    /// The records of a key. Those that earlier versions parked are found by their lane, which was
    /// that of the key.
    pub(super) async fn of_key(
        &self,
        key: &str,
        states: &[ParkedState],
        after: Option<Uuid>,
        limit: usize,
        wanted: impl Fn(&ParkedRecord) -> bool,
    ) -> Result<Scanned, Problem> {
        let id = KeyId::of(&self.topic, key.as_bytes());
        let by = |field| matching(field, id.0, states);
        let now = self.scan(by("keyId"), after, limit, &wanted).await?;
        let earlier = |record: &ParkedRecord| record.key_id.is_none() && wanted(record);
        let earlier = self.scan(by("lane"), after, limit, earlier).await?;
        let mut records = [now.records, earlier.records].concat();
        records.sort_by_key(|record| record.id);
        let more = records.len() > limit;
        records.truncate(limit);
        let last = records.last().map(|record| record.id);
        let cursor = match more {
            true => last,
            false => now.cursor.into_iter().chain(earlier.cursor).min(),
        };
        Ok(Scanned { records, cursor })
    }

    /// The records that are wanted, in the order of the log, at most `limit`.
    pub(super) async fn scan(
        &self,
        matching: Vec<(&'static str, Vec<IndexValue>)>,
        mut after: Option<Uuid>,
        limit: usize,
        wanted: impl Fn(&ParkedRecord) -> bool,
    ) -> Result<Scanned, Problem> {
        let mut records: Vec<ParkedRecord> = Vec::new();
        for _ in 0..LOOK_AT.div_ceil(PAGE) {
            let query = Query {
                collection: ParkedRecord::COLLECTION.name,
                matching: matching.clone(),
                after,
                order: Direction::Ascending,
                limit: PAGE,
            };
            let page = read(&self.list, List::<ParkedRecord>::new(query), PATIENCE, ()).await?;
            let is_last = page.next.is_none();
            after = page.next;
            for record in page.into_iter().filter(|record| wanted(record)) {
                if records.len() == limit {
                    let cursor = records.last().map(|record| record.id);
                    return Ok(Scanned { records, cursor });
                }
                records.push(record);
            }
            if is_last {
                return Ok(Scanned {
                    records,
                    cursor: None,
                });
            }
        }
        let cursor = after.map(ParkedId);
        Ok(Scanned { records, cursor })
    }

    /// How many records stand behind this one.
    pub(super) async fn behind(&self, record: &ParkedRecord) -> Result<usize, Problem> {
        if !record.state.is_open() || record.lane.is_alone() {
            return Ok(0);
        }
        let after = Some(record.id.0);
        let open = of_lane(record.lane, &ParkedState::OPEN);
        Ok(self.scan(open, after, LOOK_AT, |_| true).await?.records.len())
    }
}

pub(super) fn of_states(states: &[ParkedState]) -> Vec<(&'static str, Vec<IndexValue>)> {
    vec![("state", states.iter().map(|state| state.index_value()).collect())]
}

fn of_lane(lane: LaneId, states: &[ParkedState]) -> Vec<(&'static str, Vec<IndexValue>)> {
    matching("lane", lane.0, states)
}

pub(super) fn matching(
    field: &'static str,
    id: Uuid,
    states: &[ParkedState],
) -> Vec<(&'static str, Vec<IndexValue>)> {
    let mut matching = vec![(field, vec![IndexValue::Uuid(id)])];
    matching.extend(of_states(states));
    matching
}
