//! Reading documents without deciding anything: asks the database directly, beside the rounds.
//!
//! A document that cannot be read is left out, and told: in the answer, in a line of the log, and in
//! a metric. The others are found as if it were not there.

use std::{cell::RefCell, collections::BTreeMap, ops::Deref, rc::Rc};

use actix::{Context, Handler, Message};
use uuid::Uuid;

use super::{RepositoryActor, RepositoryError, Workspace};
use crate::{
    actors::Reply,
    document_store::{Direction, Document, Query, StoredDocument, decode, id, id_as_text},
    logging::NowAndThen,
    metrics::Metrics,
};

/// Documents that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<D> {
    /// Those that can be read.
    pub documents: Vec<D>,
    /// The ids of those that cannot.
    pub unreadable: Vec<String>,
    /// Of a page: behind which id the next one begins; `None` where this is the last.
    pub next: Option<Uuid>,
}

impl<D> Default for Found<D> {
    fn default() -> Self {
        Found {
            documents: Vec::new(),
            unreadable: Vec::new(),
            next: None,
        }
    }
}

impl<D> Deref for Found<D> {
    type Target = [D];

    fn deref(&self) -> &[D] {
        &self.documents
    }
}

impl<D> IntoIterator for Found<D> {
    type Item = D;
    type IntoIter = std::vec::IntoIter<D>;

    fn into_iter(self) -> Self::IntoIter {
        self.documents.into_iter()
    }
}

/// Reads documents; those that do not exist are left out.
#[derive(Message)]
#[rtype(result = "Result<Found<D>, RepositoryError>")]
pub struct Find<D: Document> {
    ids: Vec<uuid::Uuid>,
    _type: std::marker::PhantomData<fn() -> D>,
}

impl<D: Document> Find<D> {
    /// The documents of these ids.
    pub fn new(ids: impl IntoIterator<Item = impl Into<uuid::Uuid>>) -> Find<D> {
        Find {
            ids: ids.into_iter().map(Into::into).collect(),
            _type: std::marker::PhantomData,
        }
    }

    /// Which documents.
    pub fn ids(&self) -> &[uuid::Uuid] {
        &self.ids
    }
}

/// Reads a page of documents.
#[derive(Message)]
#[rtype(result = "Result<Found<D>, RepositoryError>")]
pub struct List<D: Document> {
    query: Query,
    _type: std::marker::PhantomData<fn() -> D>,
}

impl<D: Document> List<D> {
    /// The documents that the query finds.
    pub fn new(query: Query) -> List<D> {
        List {
            query,
            _type: std::marker::PhantomData,
        }
    }

    /// What is asked for.
    pub fn query(&self) -> &Query {
        &self.query
    }
}

/// Counts the documents that a page would have.
#[derive(Message)]
#[rtype(result = "Result<usize, RepositoryError>")]
pub struct Count {
    query: Query,
}

impl Count {
    /// The documents that the query finds, at most its limit.
    pub fn new(query: Query) -> Count {
        Count { query }
    }
}

impl<D: Document, W: Workspace> Handler<Find<D>> for RepositoryActor<W> {
    type Result = Reply<Result<Found<D>, RepositoryError>>;

    fn handle(&mut self, Find { ids, .. }: Find<D>, _: &mut Context<Self>) -> Self::Result {
        let (store, telling) = (self.tools.store.clone(), self.telling.clone());
        let metrics = self.tools.metrics.clone();
        Reply::by(async move {
            let raw = store.find(D::COLLECTION.name, ids).await?;
            Ok(telling.read(&raw, &metrics))
        })
    }
}

impl<D: Document, W: Workspace> Handler<List<D>> for RepositoryActor<W> {
    type Result = Reply<Result<Found<D>, RepositoryError>>;

    fn handle(&mut self, List { query, .. }: List<D>, _: &mut Context<Self>) -> Self::Result {
        let (store, telling) = (self.tools.store.clone(), self.telling.clone());
        let metrics = self.tools.metrics.clone();
        Reply::by(async move {
            let (limit, order) = (query.limit, query.order);
            // One more tells whether there is a next page.
            let asked = Query {
                limit: limit.saturating_add(1),
                ..query
            };
            let mut raw = store.list(asked).await?;
            let more = raw.len() > limit;
            raw.truncate(limit);
            Ok(Found {
                next: more.then(|| behind(&raw, order)),
                ..telling.read(&raw, &metrics)
            })
        })
    }
}

impl<W: Workspace> Handler<Count> for RepositoryActor<W> {
    type Result = Reply<Result<usize, RepositoryError>>;

    fn handle(&mut self, Count { query }: Count, _: &mut Context<Self>) -> Self::Result {
        let store = self.tools.store.clone();
        Reply::by(async move { Ok(store.count(query).await?) })
    }
}

/// Where a page ends. Documents of others may have an `_id` that is no UUID; MongoDB lists those of
/// one type together, so behind a page that has no UUID at all the UUIDs begin.
fn behind(page: &[StoredDocument], order: Direction) -> Uuid {
    let last = page.iter().rev().find_map(|raw| id(raw).ok());
    last.unwrap_or(match order {
        Direction::Ascending => Uuid::nil(),
        Direction::Descending => Uuid::max(),
    })
}

/// Tells of documents that cannot be read: each collection now and then.
#[derive(Debug, Clone, Default)]
pub(super) struct Telling(Rc<RefCell<BTreeMap<&'static str, NowAndThen>>>);

impl Telling {
    fn read<D: Document>(&self, raw: &[StoredDocument], metrics: &Metrics) -> Found<D> {
        let mut found = Found::default();
        let mut first = None;
        for raw in raw {
            match decode::<D>(raw) {
                Ok(stored) => found.documents.push(stored.document),
                Err(error) => {
                    found.unreadable.push(id_as_text(raw));
                    first.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first {
            let (collection, count) = (D::COLLECTION.name, found.unreadable.len());
            metrics.unreadable(collection, count);
            if self.0.borrow_mut().entry(collection).or_default().speaks() {
                log::error!(target: "RepositoryActor", collection, documents = count; "left out: {error}");
            }
        }
        found
    }
}
