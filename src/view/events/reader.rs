//! Reading the lines as a file.
//!
//! The file is a log that only grows: its size is what was told since the beginning, a place in it
//! stays the same line, and reading at the end gives nothing, until there is more. Of what is kept no
//! more only the place is left: whoever reads there gets a line of the kind `lost` and then what is
//! kept, and goes on from there as long as it reads one piece after the other.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Events, line};

/// An open file.
#[derive(Debug)]
pub struct Reader {
    events: Arc<Events>,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// Where the next piece begins, if pieces are read one after the other.
    next: u64,
    /// How far the line that comes at a place is behind that place in the file.
    shift: i64,
    /// What is to come before the rest: of a line that is not in the file.
    extra: Vec<u8>,
}

impl Reader {
    pub(super) fn new(events: Arc<Events>) -> Self {
        Self {
            events,
            place: Mutex::default(),
        }
    }

    /// Up to `want` bytes from a place on; nothing at the end.
    pub fn read(&self, offset: u64, want: usize) -> Vec<u8> {
        let mut place = self.place.lock();
        if offset != place.next {
            *place = Place::default();
        }
        let ring = self.events.begin().lines();
        if place.extra.is_empty()
            && place.of(offset) < ring.start()
            && let Some(gone) = ring.gone()
        {
            place.extra = line::lost(gone, None, ring.time()).into_bytes();
            // So that the first byte after the line is the first that is kept.
            let behind = offset.saturating_add(place.extra.len() as u64);
            place.shift = signed(ring.start()) - signed(behind);
        }
        let held = want.min(place.extra.len());
        let mut out: Vec<u8> = place.extra.drain(..held).collect();
        let from = place.of(offset.saturating_add(out.len() as u64));
        // Else more has gone since the line was made: the next piece begins with another.
        if place.extra.is_empty() && from >= ring.start() {
            out.extend(ring.read(from, want - out.len()));
        }
        place.next = offset.saturating_add(out.len() as u64);
        out
    }

    /// Whether there is something after what was read last.
    pub fn has_more(&self) -> bool {
        let place = self.place.lock();
        !place.extra.is_empty() || place.of(place.next) < self.events.end()
    }
}

impl Place {
    /// What of the file comes at a place of the reader.
    fn of(&self, offset: u64) -> u64 {
        offset.saturating_add_signed(self.shift)
    }
}

fn signed(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}
