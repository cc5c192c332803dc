//! Listing a directory: by key, so that entries that stay are listed once whatever else happens.

use std::collections::VecDeque;

use crate::value::Key;

/// Offsets of `.` and `..`; entries follow.
pub const DOT: u64 = 1;
/// See [`DOT`].
pub const DOT_DOT: u64 = 2;
/// Recent offsets that are remembered exactly.
const RECENT: usize = 8192;
/// Of older ones, each that many is.
const EVERY: u64 = 1024;

/// How far a listing is, and where it can go on.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The keys at the offsets given last, in order.
    recent: VecDeque<(u64, Key)>,
    /// Some older ones.
    marks: Vec<(u64, Key)>,
}

impl Cursor {
    /// Forgets everything: the listing starts anew.
    pub fn rewind(&mut self) {
        self.recent.clear();
        self.marks.clear();
    }

    /// An entry was given with this offset.
    pub fn given(&mut self, offset: u64, key: &Key) {
        while self.recent.back().is_some_and(|(o, _)| *o >= offset) {
            self.recent.pop_back();
        }
        self.recent.push_back((offset, key.clone()));
        if self.recent.len() > RECENT
            && let Some((o, k)) = self.recent.pop_front()
            && o.is_multiple_of(EVERY)
        {
            self.marks.push((o, k));
        }
    }

    /// The nearest known key at or before an offset, and how many entries lie between.
    pub fn resume(&self, offset: u64) -> (Option<Key>, u64) {
        let recent = self.recent.front().is_some_and(|(o, _)| *o <= offset);
        let at = if recent {
            let i = self.recent.partition_point(|(o, _)| *o <= offset);
            i.checked_sub(1).and_then(|i| self.recent.get(i))
        } else {
            let i = self.marks.partition_point(|(o, _)| *o <= offset);
            i.checked_sub(1).and_then(|i| self.marks.get(i))
        };
        match at {
            Some((o, k)) => (Some(k.clone()), offset - o),
            None => (None, offset.saturating_sub(DOT_DOT)),
        }
    }
}
