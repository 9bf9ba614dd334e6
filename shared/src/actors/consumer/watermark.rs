//! Up to where a partition is done without a gap.

use std::collections::VecDeque;

use crate::event_log::Offset;

/// The records of one partition that are under way. Offsets may have gaps: a log drops records.
#[derive(Debug, Default)]
pub struct Watermark {
    under_way: VecDeque<(Offset, bool)>,
}

impl Watermark {
    /// A record is taken; in the order of the partition. Where offsets go back, because the log has
    /// lost its tail or somebody has reset the group, what was taken from there on is read again.
    pub fn begin(&mut self, offset: Offset) {
        while self.under_way.back().is_some_and(|(last, _)| *last >= offset) {
            self.under_way.pop_back();
        }
        self.under_way.push_back((offset, false));
    }

    /// A record is done. When by that everything before some offset is done, that offset: it may be
    /// stored.
    pub fn done(&mut self, offset: Offset) -> Option<Offset> {
        if let Ok(index) = self
            .under_way
            .binary_search_by_key(&offset, |(offset, _)| *offset)
        {
            self.under_way[index].1 = true;
        }
        let mut next = None;
        while let Some((offset, true)) = self.under_way.front() {
            next = Some(offset + 1);
            self.under_way.pop_front();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_stored_only_when_all_before_it_are_done() {
        let mut watermark = Watermark::default();
        for offset in [4, 5, 9] {
            watermark.begin(offset);
        }
        assert_eq!(watermark.done(5), None);
        assert_eq!(watermark.done(9), None);
        assert_eq!(watermark.done(4), Some(10));
    }

    #[test]
    fn offsets_that_go_back_do_not_wedge_it() {
        let mut watermark = Watermark::default();
        (5..9).for_each(|offset| watermark.begin(offset));
        assert_eq!(watermark.done(8), None);
        watermark.begin(6);
        assert_eq!(watermark.done(6), None);
        assert_eq!(watermark.done(5), Some(7));
    }

    #[test]
    fn done_twice_is_done_once() {
        let mut watermark = Watermark::default();
        watermark.begin(0);
        watermark.begin(1);
        assert_eq!(watermark.done(0), Some(1));
        assert_eq!(watermark.done(0), None);
        assert_eq!(watermark.done(1), Some(2));
    }
}
