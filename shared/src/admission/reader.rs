//! Reads documents for requests.

use actix::Recipient;
use uuid::Uuid;

use super::{Admission, AskError};
use crate::{
    actors::repository::{Find, Found, List},
    document_store::{Document, IndexValue, PageQuery},
};

/// Reads the documents of one collection, as many at a time as are let in.
pub struct Reader<D: Document + Send> {
    pub(crate) admission: Admission,
    pub(crate) find: Recipient<Find<D>>,
    pub(crate) list: Recipient<List<D>>,
}

impl<D: Document + Send> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Reader {
            admission: self.admission.clone(),
            find: self.find.clone(),
            list: self.list.clone(),
        }
    }
}

impl<D: Document + Send> Reader<D> {
    /// One document.
    pub async fn find(&self, id: impl Into<Uuid>) -> Result<Found<D>, AskError> {
        self.admission.ask(&self.find, Find::new([id.into()])).await
    }

    /// A page of documents, the newest first. `matching`: for each field of an index, the values that
    /// it may have; empty for all.
    pub async fn page(
        &self,
        page: PageQuery,
        matching: Vec<(&'static str, Vec<IndexValue>)>,
    ) -> Result<Found<D>, AskError> {
        let query = page.query(D::COLLECTION.name, matching);
        self.admission.ask(&self.list, List::new(query)).await
    }

    /// See [`Admission::look_up`].
    pub async fn look_up(&self, id: impl Into<Uuid>) -> Result<Option<D>, AskError> {
        self.admission.look_up(&self.find, id.into()).await
    }
}
