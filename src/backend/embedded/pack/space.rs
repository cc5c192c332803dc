//! Giving space back.

use std::fs;
use std::io;

use tracing::{debug, warn};

use super::{Packs, Pointer};

impl Packs {
    /// The record `seq` lets these blobs die.
    pub fn bury(&self, seq: u64, pointers: impl IntoIterator<Item = Pointer>) {
        let mut state = self.state.lock();
        for pointer in pointers {
            state.dead.push((seq, pointer));
            state.changed.insert(pointer.pack);
            if let Some(pack) = state.packs.get_mut(&pointer.pack) {
                pack.dead += u64::from(pointer.length);
            }
        }
    }

    /// Bytes of dead blobs that still take space.
    pub fn dead_bytes(&self) -> u64 {
        let state = self.state.lock();
        let dead = state.dead.iter();
        dead.map(|(_, pointer)| u64::from(pointer.length)).sum()
    }

    /// Whether dead blobs still take space.
    pub fn has_dead(&self) -> bool {
        !self.state.lock().dead.is_empty()
    }

    /// Whether such blobs died by the record `durable`.
    pub fn has_dead_by(&self, durable: u64) -> bool {
        let state = self.state.lock();
        state.dead.first().is_some_and(|(seq, _)| *seq <= durable)
    }

    /// Gives back the space of the blobs that died by the record `durable`, up to which the log is.
    pub fn punch(&self, durable: u64) {
        let _one_at_a_time = self.punching.lock();
        let mut due: Vec<Pointer> = {
            let mut state = self.state.lock();
            let dead = std::mem::take(&mut state.dead);
            let (due, later) = dead.into_iter().partition(|(seq, _)| *seq <= durable);
            state.dead = later;
            due.into_iter().map(|(_, pointer)| pointer).collect()
        };
        if due.is_empty() {
            return;
        }
        due.sort_unstable();
        for (pack, start, end) in ranges(&due) {
            match self
                .file(pack)
                .and_then(|file| file.punch(start, end - start))
            {
                Ok(()) => {}
                // The space comes back with the whole pack then.
                Err(error) => debug!(pack, "no hole can be punched: {error}"),
            }
        }
        {
            let mut state = self.state.lock();
            for pointer in &due {
                if let Some(pack) = state.packs.get_mut(&pointer.pack) {
                    pack.punched += u64::from(pointer.length);
                }
            }
        }
        self.remove_dead();
    }

    /// Removes the closed packs of which everything is dead.
    pub(super) fn remove_dead(&self) {
        let mut state = self.state.lock();
        let Some(newest) = state.packs.last_key_value().map(|(number, _)| *number) else {
            return;
        };
        let dead: Vec<u64> = state
            .packs
            .range(..newest)
            .filter(|(_, pack)| pack.is_dead())
            .map(|(number, _)| *number)
            .collect();
        for number in &dead {
            match fs::remove_file(self.path(*number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // It is tried again when the storage is opened.
                    warn!("a dead pack could not be removed: {error}");
                    continue;
                }
                _ => {}
            }
            state.packs.remove(number);
            state.unsynced.remove(number);
            state.changed.insert(*number);
        }
        drop(state);
        let mut open = self.open.lock();
        for number in dead {
            open.remove(&number);
        }
    }
}

/// Sorted pointers as ranges, with neighbours joined.
fn ranges(pointers: &[Pointer]) -> Vec<(u64, u64, u64)> {
    let mut ranges: Vec<(u64, u64, u64)> = Vec::new();
    for pointer in pointers {
        match ranges.last_mut() {
            Some((pack, _, end)) if *pack == pointer.pack && *end >= pointer.offset => {
                *end = (*end).max(pointer.end());
            }
            _ => ranges.push((pointer.pack, pointer.offset, pointer.end())),
        }
    }
    ranges
}
