//! Reading documents without deciding anything: asks the database directly, beside the rounds.

use actix::{Context, Handler, Message, ResponseFuture};

use super::{RepositoryActor, RepositoryError, Workspace};
use crate::document_store::{Document, Query, decode};

/// Reads documents; those that do not exist are left out.
#[derive(Message)]
#[rtype(result = "Result<Vec<D>, RepositoryError>")]
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
#[rtype(result = "Result<Vec<D>, RepositoryError>")]
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
    type Result = ResponseFuture<Result<Vec<D>, RepositoryError>>;

    fn handle(&mut self, Find { ids, .. }: Find<D>, _: &mut Context<Self>) -> Self::Result {
        let store = self.tools.store.clone();
        Box::pin(async move { documents(store.find(D::COLLECTION.name, ids).await?) })
    }
}

impl<D: Document, W: Workspace> Handler<List<D>> for RepositoryActor<W> {
    type Result = ResponseFuture<Result<Vec<D>, RepositoryError>>;

    fn handle(&mut self, List { query, .. }: List<D>, _: &mut Context<Self>) -> Self::Result {
        let store = self.tools.store.clone();
        Box::pin(async move { documents(store.list(query).await?) })
    }
}

impl<W: Workspace> Handler<Count> for RepositoryActor<W> {
    type Result = ResponseFuture<Result<usize, RepositoryError>>;

    fn handle(&mut self, Count { query }: Count, _: &mut Context<Self>) -> Self::Result {
        let store = self.tools.store.clone();
        Box::pin(async move { Ok(store.count(query).await?) })
    }
}

fn documents<D: Document>(found: Vec<mongodb::bson::RawDocumentBuf>) -> Result<Vec<D>, RepositoryError> {
    Ok(found
        .iter()
        .map(|raw| decode::<D>(raw).map(|stored| stored.document))
        .collect::<Result<_, _>>()?)
}
