//! How often to free pages without being asked.

use std::time::{Duration, Instant};

use super::Reclaimed;
use crate::store::Store;

/// Bytes of pages written below which a round is not worth its while.
const FLOOR: u64 = 256 << 20;

/// After a round, one for what dropped snapshots needed comes no earlier than this.
const REST: Duration = Duration::from_secs(600);

/// Decides when the next round is due: when as much has been written since the last one as could
/// be half of what was in use then. So at most about a third of the pages is garbage, and marking
/// costs less than what was written. A snapshot that was dropped makes one due as well.
#[derive(Debug, Default)]
pub struct Pace {
    live: u64,
    last: Option<Instant>,
}

impl Pace {
    /// Whether a round is due, which is about to begin then.
    pub fn is_due(&mut self, store: &Store) -> bool {
        let rested = self.last.is_none_or(|last| last.elapsed() >= REST);
        let dropped = rested && store.has_dropped();
        if dropped {
            // One that fails is not tried again at once.
            self.last = Some(Instant::now());
        }
        dropped || store.written_since_round() >= FLOOR.max(self.live / 2)
    }

    /// Notes what a round has found.
    pub fn note(&mut self, done: &Reclaimed) {
        self.live = done.live_bytes;
        self.last = Some(Instant::now());
    }
}
