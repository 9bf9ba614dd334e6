//! Parked records: changed as any other document, in the rounds; and looked for by id and state.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix::{Context, Handler, Message};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Command, Execute, RepositoryActor, RepositoryError, Workspace};
use crate::{
    actors::Reply,
    document_store::{
        self, Direction, Document, DocumentKey, IndexValue, Query, StoredDocument, key, numbers,
    },
    environment::Timestamp,
    parking::{
        Change, ContentId, JobChange, JobId, LaneId, ParkedId, ParkedRecord, ParkedState, Refusal, ReplayJob,
        decide, decide_job, letter,
    },
};

/// Something happens to a parked record; answered when it is durable.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Result<Changed, Refusal>, RepositoryError>")]
pub struct ChangeParked {
    /// Which record.
    pub id: ParkedId,
    /// What happens.
    pub change: Change,
    /// See [`Execute::deadline`].
    pub deadline: Option<Instant>,
    /// Once this is set, the change is not made any more.
    pub stop: Stop,
}

/// A request to stop. All clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A parked record after a [`ChangeParked`].
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// As it then is.
    pub record: ParkedRecord,
    /// Whether anything was changed.
    pub changed: bool,
}

struct ChangeIn<W> {
    id: ParkedId,
    change: Change,
    stop: Stop,
    _workspace: PhantomData<fn() -> W>,
}

impl<W: Workspace> Command for ChangeIn<W> {
    type Workspace = W;
    type Reply = Result<Changed, Refusal>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<ParkedRecord>(self.id)]
    }

    fn bytes(&self) -> usize {
        match &self.change {
            Change::Park(new) => 1024 + new.record.bytes(),
            _ => 1024,
        }
    }

    fn decide(&self, workspace: &mut W, now: Timestamp) -> Self::Reply {
        let parked = &mut workspace.parked().records;
        let known = parked.get(self.id).cloned();
        // It may have waited long for its round.
        let change = match self.stop.is_set() {
            true => None,
            false => decide(known.as_ref(), &self.change, now)?,
        };
        match change {
            Some(record) => {
                parked.put(record.clone(), letter(&record, &self.change, now));
                Ok(Changed {
                    record,
                    changed: true,
                })
            }
            None => known.ok_or(Refusal::Unknown).map(|record| Changed {
                record,
                changed: false,
            }),
        }
    }

    fn committed(&self, _: &Self::Reply) {}
}

impl<W: Workspace> Handler<ChangeParked> for RepositoryActor<W> {
    type Result = Reply<Result<Result<Changed, Refusal>, RepositoryError>>;

    fn handle(&mut self, message: ChangeParked, ctx: &mut Context<Self>) -> Self::Result {
        let ChangeParked {
            id,
            change,
            deadline,
            stop,
        } = message;
        let command = ChangeIn::<W> {
            id,
            change,
            stop,
            _workspace: PhantomData,
        };
        Handler::<Execute<ChangeIn<W>>>::handle(self, Execute::for_kit(command, deadline), ctx)
    }
}

/// Something happens to a replay job; answered when it is durable, with the job if it was changed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Option<ReplayJob>, RepositoryError>")]
pub struct ChangeJob {
    /// Which job.
    pub id: JobId,
    /// What happens.
    pub change: JobChange,
    /// See [`Execute::deadline`].
    pub deadline: Option<Instant>,
}

struct ChangeJobIn<W> {
    id: JobId,
    change: JobChange,
    _workspace: PhantomData<fn() -> W>,
}

impl<W: Workspace> Command for ChangeJobIn<W> {
    type Workspace = W;
    type Reply = Option<ReplayJob>;

    fn documents(&self) -> Vec<DocumentKey> {
        vec![key::<ReplayJob>(self.id)]
    }

    fn decide(&self, workspace: &mut W, now: Timestamp) -> Self::Reply {
        let jobs = &mut workspace.parked().jobs;
        let changed = decide_job(self.id, jobs.get(self.id), &self.change, now)?;
        jobs.put(changed.clone(), []);
        Some(changed)
    }

    fn committed(&self, _: &Self::Reply) {}
}

impl<W: Workspace> Handler<ChangeJob> for RepositoryActor<W> {
    type Result = Reply<Result<Option<ReplayJob>, RepositoryError>>;

    fn handle(&mut self, message: ChangeJob, ctx: &mut Context<Self>) -> Self::Result {
        let ChangeJob { id, change, deadline } = message;
        let command = ChangeJobIn::<W> {
            id,
            change,
            _workspace: PhantomData,
        };
        Handler::<Execute<ChangeJobIn<W>>>::handle(self, Execute::for_kit(command, deadline), ctx)
    }
}

/// Reads a page of open records, without what stood in the log.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<OpenPage, RepositoryError>")]
pub struct ListOpen {
    /// See [`Query::matching`].
    pub matching: Vec<(&'static str, Vec<IndexValue>)>,
    /// Only records behind this one.
    pub after: Option<ParkedId>,
    /// Up or down the log.
    pub order: Direction,
    /// At most so many.
    pub limit: usize,
}

/// A page of open records.
#[derive(Debug, Default)]
pub struct OpenPage {
    /// Those that can be read.
    pub records: Vec<OpenRecord>,
    /// How many cannot.
    pub unreadable: usize,
    /// Behind which record the next page begins; `None` where this is the last.
    pub next: Option<ParkedId>,
}

/// What an owner has to know of a parked record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRecord {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: ParkedId,
    /// Where it waits.
    pub lane: LaneId,
    /// How it stands.
    pub state: ParkedState,
    /// Where it stood.
    pub topic: String,
    /// Where it stood.
    #[serde(deserialize_with = "numbers::whole")]
    pub partition: i32,
    /// When it is tried again by itself.
    #[serde(default)]
    pub next_try_at: Option<Timestamp>,
    /// Why it failed last.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it says.
    #[serde(default)]
    pub content: Option<ContentId>,
}

/// The fields of [`OpenRecord`].
const FIELDS: &[&str] = &[
    "_id",
    "lane",
    "state",
    "topic",
    "partition",
    "nextTryAt",
    "reason",
    "content",
];

impl<W: Workspace> Handler<ListOpen> for RepositoryActor<W> {
    type Result = Reply<Result<OpenPage, RepositoryError>>;

    fn handle(&mut self, message: ListOpen, _: &mut Context<Self>) -> Self::Result {
        let store = self.tools.store.clone();
        let ListOpen {
            matching,
            after,
            order,
            limit,
        } = message;
        let query = Query {
            collection: ParkedRecord::COLLECTION.name,
            matching,
            after: after.map(Into::into),
            order,
            limit,
        };
        Reply::by(async move {
            let found = store.list_fields(query, FIELDS).await?;
            open_page(&found, limit)
        })
    }
}

/// Reads a page. One that cannot be read must not keep the others from being worked off; nor is a page
/// that is full of such ones the last.
fn open_page(found: &[StoredDocument], limit: usize) -> Result<OpenPage, RepositoryError> {
    let read = |raw: &StoredDocument| {
        let record = raw.fields();
        let told = |error| {
            let id = document_store::id_as_text(raw);
            log::error!(target: "RepositoryActor", document = id, collection = ParkedRecord::COLLECTION.name;
                "left out, it cannot be read: {error}");
        };
        record.map_err(told).ok()
    };
    let records: Vec<_> = found.iter().filter_map(read).collect();
    let last = found.last().filter(|_| found.len() >= limit);
    let next = last.map(document_store::id).transpose()?;
    Ok(OpenPage {
        unreadable: found.len() - records.len(),
        next: next.map(ParkedId),
        records,
    })
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawDocumentBuf, Uuid, doc};

    use super::*;
    use crate::{
        actors::repository::{Copies, Parking},
        document_store::CollectionSettings,
        event_log::{ConsumedRecord, Position},
        parking::NewParked,
    };

    fn document(offset: i64, partition: Bson) -> StoredDocument {
        let id = ParkedId::of("t", 3, offset).0;
        let document = doc! {
            "_id": Uuid::from_bytes(id.into_bytes()),
            "lane": Uuid::from_bytes([7; 16]),
            "state": 1,
            "topic": "t",
            "partition": partition,
        };
        RawDocumentBuf::try_from(&document).unwrap().into()
    }

    #[test]
    fn a_page_that_is_full_of_records_that_cannot_be_read_is_not_the_last() {
        let found = [document(1, Bson::Int32(3)), document(2, Bson::Boolean(true))];
        let page = open_page(&found, 2).unwrap();
        assert_eq!((page.records.len(), page.unreadable), (1, 1));
        assert_eq!(page.next, Some(ParkedId::of("t", 3, 2)));
        assert_eq!(open_page(&found, 3).unwrap().next, None);
    }

    #[test]
    fn a_partition_is_read_in_every_type_that_tools_write() {
        for partition in [Bson::Int32(3), Bson::Int64(3), Bson::Double(3.0)] {
            let page = open_page(&[document(1, partition)], 9).unwrap();
            assert_eq!(page.records[0].partition, 3);
        }
    }

    #[derive(Default)]
    struct OnlyParked(Parking);

    impl Workspace for OnlyParked {
        const ATOMIC: bool = false;
        const COLLECTIONS: &'static [CollectionSettings] = &[];
        fn collections(&mut self) -> Vec<&mut dyn Copies> {
            self.0.collections().into()
        }
        fn parked(&mut self) -> &mut Parking {
            &mut self.0
        }
    }

    #[test]
    fn a_begin_that_comes_to_its_round_after_the_run_was_stopped_changes_nothing() {
        let position = Position {
            topic: "t".into(),
            partition: 3,
            offset: 7,
        };
        let new = NewParked {
            lane: LaneId::alone(&position),
            record: ConsumedRecord {
                position,
                generation: 1,
                key: None,
                value: None,
                headers: Vec::new(),
            },
            failure: None,
        };
        let mut workspace = OnlyParked::default();
        let mut decide = |change, stop: &Stop| {
            let command = ChangeIn::<OnlyParked> {
                id: ParkedId::of("t", 3, 7),
                change,
                stop: stop.clone(),
                _workspace: PhantomData,
            };
            command.decide(&mut workspace, Timestamp(1)).unwrap()
        };
        let stop = Stop::default();
        assert!(decide(Change::Park(Box::new(new)), &stop).changed);
        stop.set();
        let begun = decide(Change::Begin, &stop);
        assert_eq!((begun.changed, begun.record.attempt_since), (false, None));
        let begun = decide(Change::Begin, &Stop::default());
        assert_eq!(
            (begun.changed, begun.record.attempt_since),
            (true, Some(Timestamp(1)))
        );
    }
}
