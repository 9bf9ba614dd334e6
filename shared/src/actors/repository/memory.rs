//! What this process wrote a moment ago, so that the next round over it need not read it.
//!
//! An order is written, announced and validated within milliseconds; to read it in between costs a
//! round trip of each order's latency. Hazard: another instance may have written meanwhile. Hence the
//! rule that the rounds keep: *what a decision rests on was either read for it, or is written by it
//! under the guard of its version*. A decision that would break the rule is made again on what is read.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mongodb::bson::RawDocumentBuf;
use tokio::time::Instant;

use crate::document_store::{DocumentKey, Mark, Write, without_events};

/// Older ones are read: whoever corrects a document by hand is not overruled by what we remember.
const KEEP: Duration = Duration::from_secs(1);
/// As many as a busy second writes.
const MOST: usize = 10_000;
/// Larger ones are read, so that all together stay below 40 MB.
const LARGEST: usize = 4 * 1024;

/// The documents that were written last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    documents: BTreeMap<DocumentKey, Remembered>,
    /// Each with when it was written, oldest first; one that was written again stands here twice.
    by_age: VecDeque<(Instant, DocumentKey)>,
    /// The database has failed and not answered since.
    in_doubt: bool,
}

#[derive(Debug)]
struct Remembered {
    document: RawDocumentBuf,
    since: Instant,
}

impl Memory {
    /// The document as we wrote it.
    pub fn recall(&self, key: &DocumentKey) -> Option<&RawDocumentBuf> {
        let remembered = self.documents.get(key)?;
        (remembered.since.elapsed() < KEEP).then_some(&remembered.document)
    }

    /// This was written.
    pub fn remember(&mut self, write: Write) {
        let now = Instant::now();
        self.forget_old(now);
        if write.document.as_bytes().len() > LARGEST {
            return self.forget(&write.key);
        }
        self.by_age.push_back((now, write.key));
        let remembered = Remembered {
            document: write.document,
            since: now,
        };
        self.documents.insert(write.key, remembered);
    }

    /// Events were taken out of its outbox where it stands.
    pub fn marked(&mut self, mark: &Mark) {
        if let Some(remembered) = self.documents.get_mut(&mark.key) {
            match without_events(&remembered.document, |event| mark.events.contains(&event)) {
                Ok(Some(document)) => remembered.document = document,
                Ok(None) => {}
                Err(_) => self.forget(&mark.key),
            }
        }
    }

    /// Somebody else has written it, or may have.
    pub fn forget(&mut self, key: &DocumentKey) {
        self.documents.remove(key);
    }

    /// Nobody knows what was written.
    pub fn forget_all(&mut self) {
        self.documents.clear();
        self.by_age.clear();
        self.in_doubt = true;
    }

    /// Whether a round may rest on it. Not while the database fails: a read that fails tells for sure
    /// that nothing was stored, a write that fails often does not.
    pub fn is_sound(&self) -> bool {
        !self.in_doubt
    }

    /// The database has written something.
    pub fn answered(&mut self) {
        self.in_doubt = false;
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, key)) = self.by_age.front()
            && (now.duration_since(*since) >= KEEP || self.by_age.len() >= MOST)
        {
            if self
                .documents
                .get(key)
                .is_some_and(|remembered| remembered.since == *since)
            {
                self.documents.remove(key);
            }
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Binary, rawdoc, spec::BinarySubtype};
    use uuid::Uuid;

    use super::*;
    use crate::contracts::EventId;

    fn binary(number: u128) -> Binary {
        Binary {
            subtype: BinarySubtype::Uuid,
            bytes: Uuid::from_u128(number).as_bytes().to_vec(),
        }
    }

    fn key(number: u128) -> DocumentKey {
        DocumentKey {
            collection: "orders",
            id: Uuid::from_u128(number),
        }
    }

    fn write(number: u128, expected_version: Option<i64>) -> Write {
        Write {
            key: key(number),
            expected_version,
            document: rawdoc! { "number": number as i64, "outbox": [{ "_id": binary(7) }, { "_id": binary(8) }] },
            carried: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_is_remembered_for_a_while() {
        let mut memory = Memory::default();
        memory.remember(write(1, None));
        assert!(memory.recall(&key(1)).is_some());
        assert!(memory.recall(&key(2)).is_none());
        tokio::time::advance(KEEP).await;
        assert!(memory.recall(&key(1)).is_none());
        memory.remember(write(2, None));
        assert_eq!((memory.documents.len(), memory.by_age.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_again_stays_as_long_as_if_written_now() {
        let mut memory = Memory::default();
        memory.remember(write(1, None));
        tokio::time::advance(KEEP / 2).await;
        memory.remember(write(1, Some(1)));
        tokio::time::advance(KEEP / 2).await;
        memory.remember(write(2, None));
        assert!(memory.recall(&key(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_takes_its_events_out_of_the_remembered_document() {
        let mut memory = Memory::default();
        memory.remember(write(1, Some(4)));
        let mut mark = |event| {
            memory.marked(&Mark {
                key: key(1),
                events: vec![EventId(Uuid::from_u128(event))],
            });
            memory.recall(&key(1)).cloned().unwrap()
        };
        assert_eq!(mark(9), write(1, None).document);
        assert_eq!(
            mark(7),
            rawdoc! { "number": 1_i64, "outbox": [{ "_id": binary(8) }] }
        );
        assert_eq!(mark(8), rawdoc! { "number": 1_i64 });
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_rests_on_it_while_the_database_fails() {
        let mut memory = Memory::default();
        memory.remember(write(1, None));
        assert!(memory.is_sound());
        memory.forget_all();
        assert!(!memory.is_sound() && memory.recall(&key(1)).is_none());
        memory.answered();
        assert!(memory.is_sound());
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow_without_end() {
        let mut memory = Memory::default();
        (0..MOST as u128 + 10).for_each(|number| memory.remember(write(number, None)));
        assert_eq!((memory.documents.len(), memory.by_age.len()), (MOST, MOST));
        let mut large = write(5, None);
        large
            .document
            .append(mongodb::bson::cstr!("text"), "x".repeat(LARGEST));
        memory.remember(large);
        assert!(memory.recall(&key(5)).is_none());
    }
}
