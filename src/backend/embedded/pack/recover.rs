//! What a crash left of the packs.

use std::collections::HashSet;

use super::file::HEADER;
use super::{Pack, Packs, Pointer, failed, is_damage};
use crate::backend::embedded::record::Write;
use crate::backend::{BackendError, Operation, Result};

/// A record of the log: its number and its writes.
pub type Change<'a> = (u64, Vec<Write<'a>>);

impl Packs {
    /// The last of `changes`, which follow the record `folded`, up to which no blob is missing. Those
    /// up to `durable` are not looked at: what is missing of them is damage.
    pub fn last_whole(&self, changes: &[Change<'_>], durable: u64, folded: u64) -> Result<u64> {
        let mut last = changes.last().map_or(folded, |(seq, _)| *seq);
        loop {
            let mut first_missing = None;
            for (seq, pointer) in alive(changes, durable, last) {
                if self.load(&pointer)?.is_none() {
                    first_missing = Some(seq);
                }
            }
            match first_missing {
                // Without the records that are given up, earlier blobs may be alive again.
                Some(seq) => last = seq - 1,
                None => return Ok(last),
            }
        }
    }

    /// Writes the blobs of the records after `durable` once more and makes them durable, because a
    /// page whose writing failed counts as clean.
    pub fn write_again(&self, changes: &[Change<'_>], durable: u64, last: u64) -> Result<()> {
        for (_, pointer) in alive(changes, durable, last) {
            let io = |error| failed(Operation::Open, &self.path(pointer.pack), error);
            if let Some(bytes) = self.load(&pointer)? {
                let file = self.file(pointer.pack).map_err(io)?;
                file.write_at(&[&bytes], pointer.offset).map_err(io)?;
                self.state.lock().unsynced.insert(pointer.pack, file);
            }
        }
        self.sync()
    }

    /// A record of the log points here.
    pub fn found(&self, pointer: &Pointer) {
        let mut state = self.state.lock();
        let pack = state.packs.entry(pointer.pack);
        let pack = pack.or_insert(Pack::new(HEADER, 0));
        if pack.end < pointer.end() {
            pack.end = pointer.end();
            state.changed.insert(pointer.pack);
        }
    }

    /// Cuts off what nothing points to at the end of the newest pack, and removes the packs that
    /// are dead.
    pub fn tidy(&self) -> Result<()> {
        let newest = {
            let state = self.state.lock();
            state.packs.last_key_value().map(|(n, pack)| (*n, pack.end))
        };
        if let Some((number, end)) = newest {
            let cut = self.file(number).and_then(|file| {
                if file.length()? > end {
                    file.set_length(end)?;
                }
                Ok(())
            });
            match cut {
                // Reading will tell.
                Err(error) if is_damage(&error) => {}
                other => other.map_err(|e| failed(Operation::Open, &self.path(number), e))?,
            }
        }
        self.remove_dead();
        Ok(())
    }

    /// A blob, unless it is missing or changed.
    fn load(&self, pointer: &Pointer) -> Result<Option<Vec<u8>>> {
        match self.read(Operation::Open, b"", pointer) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BackendError::Damage { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the records from after `durable` to `last` point to and no later one of them replaces,
/// beginning with the last.
fn alive(changes: &[Change<'_>], durable: u64, last: u64) -> Vec<(u64, Pointer)> {
    let mut replaced = HashSet::new();
    let mut alive = Vec::new();
    let looked_at = changes
        .iter()
        .rev()
        .filter(|(seq, _)| *seq > durable && *seq <= last);
    for (seq, writes) in looked_at {
        for write in writes.iter().rev() {
            let is_last = replaced.insert(write.address());
            if let Write::Point { pointer, .. } = write
                && is_last
            {
                alive.push((*seq, *pointer));
            }
        }
    }
    alive
}
