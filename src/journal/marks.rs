//! How much of a segment is still needed.

use super::frame::FRAMES_AT;

/// A segment remembers a record every so many bytes.
const MARK_EVERY: u64 = 64 * 1024;

/// Where some of a segment's records begin.
#[derive(Debug)]
pub struct Marks {
    /// Sequence number and offset, every [`MARK_EVERY`] bytes.
    places: Vec<(u64, u64)>,
    released_to: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            released_to: FRAMES_AT,
        }
    }
}

impl Marks {
    /// The record `seq` begins at `offset`.
    pub fn add(&mut self, seq: u64, offset: u64) {
        let due = self
            .places
            .last()
            .is_none_or(|&(_, last)| offset >= last + MARK_EVERY);
        if due {
            self.places.push((seq, offset));
        }
    }

    /// Everything up to and including the record `folded` is not needed any more, in a segment
    /// with the record `last` before its end at `end`.
    pub fn release(&mut self, folded: u64, last: Option<u64>, end: u64) {
        if last.is_some_and(|last| last <= folded) {
            self.released_to = end;
            return;
        }
        let known = self
            .places
            .partition_point(|&(seq, _)| seq <= folded.saturating_add(1));
        let place = known
            .checked_sub(1)
            .and_then(|index| self.places.get(index));
        if let Some(&(_, offset)) = place {
            self.released_to = self.released_to.max(offset);
        }
    }

    /// The bytes still needed of a segment that ends at `end`.
    pub fn live(&self, end: u64) -> u64 {
        end.saturating_sub(self.released_to)
    }
}
