//! The records that were parked and are dealt with, the last ones in the log. They are delivered again
//! where a crash came between that and the next commit of offsets, or while their lane is worked off.

use std::collections::BTreeMap;

use super::lanes::InOrder;
use crate::parking::{ContentId, ParkedId};

/// How many records are remembered.
const MOST: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Closed(BTreeMap<ParkedId, ContentId>);

impl Closed {
    /// Remembers these records.
    pub fn remember(&mut self, closed: Vec<(ParkedId, ContentId)>) {
        self.0.extend(closed);
        while self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// Whether this record was dealt with. Another record at a reused offset was not.
    pub fn holds(&self, record: &impl InOrder) -> bool {
        // Mostly none is remembered, and an id costs a digest.
        !self.0.is_empty()
            && (self.0.get(&record.parked_id())).is_some_and(|content| *content == record.content_id())
    }
}
