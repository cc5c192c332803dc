//! Large blobs, each written once: appended to a pack file, with only a pointer in the log and in
//! the tables.
//!
//! ```text
//! DIR/engine/packs/00000000000000000001.pack:
//!
//!  0       8        12   16           32       40      56   64
//!  +-------+--------+----+------------+--------+-------+----+------+------+----
//!  | magic | format | 0  | storage    | number | check | 0  | blob | blob | …
//!  | 8 B   | u32: 1 |    | UUID, 16 B | u64    | 16 B  | 8 B|      |      |
//!  +-------+--------+----+------------+--------+-------+----+------+------+----
//!
//!  pointer:
//!  +--------+--------+--------+-------+
//!  | pack   | offset | length | XXH3  |      numbers are little-endian; the check of a header is
//!  | u64    | u64    | u32    | u64   |      BLAKE3 of what stands before it
//!  +--------+--------+--------+-------+
//! ```
//!
//! Blobs follow each other without gaps. A place is never used again, so a pointer that was once
//! written stays true or points at nothing; a pack that has grown to 64 MiB is closed and the next
//! number taken.
//!
//! # What a crash leaves
//!
//! A blob is appended before the record of the log that points to it. A sync makes the packs
//! durable, then the log; so does, in the background, every 16 MiB. What a power loss leaves of
//! blobs that were never synced is any part of them, while their records may be whole. So opening
//! looks at every blob that a record after the log's durable mark points to, and gives up the log
//! from the first record on that lacks one: nobody was promised more. A blob that a later record
//! has replaced or deleted need not be there. What pointers do not reach at a pack's end is cut
//! off. A blob that was synced and is gone or changed is damage, noticed when it is read.
//!
//! # Space
//!
//! A blob that was replaced or deleted is dead at once, but its space is given back only when the
//! log says so durably: then a hole is punched (where neighbours die together it covers them
//! whole), and a closed pack of which everything is dead is removed. The log has the replacing
//! record until that is done, so that a crash in between only does it again. How much of each pack
//! is dead stands in the tree, with the state that it counts. The newest pack is never removed:
//! its number says which numbers have been used.

mod file;
mod pointer;
mod recover;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::sync_dir;
use crate::backend::{BackendError, Operation, Result};
use crate::journal::faults;
pub use file::path;
use file::{HEADER, PackFile};
pub use pointer::{POINTER, Pointer};
pub use recover::Change;

/// Blobs of this size and larger go into packs.
pub const SMALLEST: usize = 8 * 1024;

/// A pack is closed when it is as long as this.
const LONGEST: u64 = 64 * 1024 * 1024;

/// So many bytes may wait for a sync before one is made in the background, and before writers wait
/// for it. The latter also bounds what opening after a crash looks at.
pub const SYNC_AT: u64 = 16 * 1024 * 1024;
pub const SYNC_MOST: u64 = 64 * 1024 * 1024;

/// Pack files kept open.
const OPEN_FILES: usize = 64;

/// All packs of a storage.
#[derive(Debug)]
pub struct Packs {
    dir: PathBuf,
    id: Uuid,
    open: Mutex<BTreeMap<u64, Arc<PackFile>>>,
    state: Mutex<State>,
    /// One sync at a time: who comes meanwhile waits, for its blobs may be among them.
    syncing: Mutex<()>,
    /// One giving back of space at a time.
    punching: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    packs: BTreeMap<u64, Pack>,
    /// Packs whose entry in the tree is out of date.
    changed: BTreeSet<u64>,
    /// Packs with blobs that are not known to be durable.
    unsynced: BTreeMap<u64, Arc<PackFile>>,
    unsynced_bytes: u64,
    /// Dead blobs whose space is not given back yet, with the record that let them die.
    dead: Vec<(u64, Pointer)>,
    /// Why nothing can be written any more.
    failed: Option<String>,
}

/// What is known of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Where its last blob ends.
    pub end: u64,
    /// The bytes of dead blobs.
    pub dead: u64,
    /// The bytes of those whose space was given back.
    punched: u64,
}

impl Pack {
    /// A pack as the tree has it.
    pub fn new(end: u64, dead: u64) -> Self {
        Self {
            end: end.max(HEADER),
            dead,
            punched: dead,
        }
    }

    fn is_dead(&self) -> bool {
        self.punched >= self.end.saturating_sub(HEADER)
    }
}

impl Packs {
    /// The packs in `dir`, of which the tree knows `known`. Nothing is changed.
    pub fn open(dir: &Path, id: Uuid, known: BTreeMap<u64, Pack>) -> Result<Self> {
        let mut state = State {
            packs: known,
            ..State::default()
        };
        for number in file::list(dir).map_err(|e| failed(Operation::Open, dir, e))? {
            state.packs.entry(number).or_insert(Pack::new(HEADER, 0));
        }
        Ok(Self {
            dir: dir.to_owned(),
            id,
            open: Mutex::default(),
            state: Mutex::new(state),
            syncing: Mutex::default(),
            punching: Mutex::default(),
        })
    }

    /// Appends blobs, one after the other. Only one caller at a time; nothing points to them yet.
    pub fn append(
        &self,
        operation: Operation,
        address: &[u8],
        blobs: &[&[u8]],
    ) -> Result<Vec<Pointer>> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        self.check_failed(operation, address)?;
        let io = |error| BackendError::io(operation, address, error);
        let (number, file, start) = self.current().map_err(io)?;
        let mut end = start;
        let mut pointers = Vec::with_capacity(blobs.len());
        for blob in blobs {
            // No blob is longer than `MAX_BLOB`.
            let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
            pointers.push(Pointer {
                pack: number,
                offset: end,
                length,
                check: xxh3_64(blob),
            });
            end += u64::from(length);
        }
        if let Err(error) = file.write_at(blobs, start) {
            // What was written of them takes space that may be what is missing.
            drop(file.set_length(start));
            return Err(io(error));
        }
        let mut state = self.state.lock();
        state.packs.entry(number).and_modify(|pack| pack.end = end);
        state.changed.insert(number);
        state.unsynced.insert(number, file);
        state.unsynced_bytes += end - start;
        Ok(pointers)
    }

    /// Takes an append back that no record points to: the next one goes to the same place.
    pub fn take_back(&self, pointers: &[Pointer]) {
        let Some(first) = pointers.first() else {
            return;
        };
        let mut state = self.state.lock();
        if let Some(pack) = state.packs.get_mut(&first.pack) {
            pack.end = first.offset;
        }
    }

    /// The blob that a pointer points to, or damage.
    pub fn read(&self, operation: Operation, address: &[u8], pointer: &Pointer) -> Result<Vec<u8>> {
        let length = usize::try_from(pointer.length).unwrap_or(usize::MAX);
        let bytes = self.read_part(operation, address, pointer, 0, length)?;
        if xxh3_64(&bytes) != pointer.check {
            let reason = format!(
                "what {} has at {} is not what was written there",
                self.path(pointer.pack).display(),
                pointer.offset
            );
            return Err(damage(operation, address, reason));
        }
        Ok(bytes)
    }

    /// `length` bytes of a blob, from its byte `from`. They are not checked.
    pub fn read_part(
        &self,
        operation: Operation,
        address: &[u8],
        pointer: &Pointer,
        from: u64,
        length: usize,
    ) -> Result<Vec<u8>> {
        let offset = pointer.offset.saturating_add(from);
        let mut bytes = vec![0; length];
        self.file(pointer.pack)
            .and_then(|file| file.read_at(&mut bytes, offset))
            .map_err(|error| {
                if is_damage(&error) {
                    let path = self.path(pointer.pack);
                    return damage(operation, address, format!("{}: {error}", path.display()));
                }
                BackendError::io(operation, address, error)
            })?;
        Ok(bytes)
    }

    /// Makes everything appended before the call durable.
    pub fn sync(&self) -> Result<()> {
        let _one_at_a_time = self.syncing.lock();
        self.check_failed(Operation::Sync, b"")?;
        let files = {
            let mut state = self.state.lock();
            state.unsynced_bytes = 0;
            std::mem::take(&mut state.unsynced)
        };
        for file in files.values() {
            if let Err(error) = faults::sync().and_then(|()| file.sync()) {
                // Asking again would get a false "yes" from the kernel.
                self.state.lock().failed = Some(error.to_string());
                return Err(failed(Operation::Sync, &self.dir, error));
            }
        }
        Ok(())
    }

    /// The bytes that wait for a sync.
    pub fn unsynced(&self) -> u64 {
        self.state.lock().unsynced_bytes
    }

    /// What has changed since the last call: a pack's state, or that it is gone.
    pub fn take_changed(&self) -> Vec<(u64, Option<Pack>)> {
        let mut state = self.state.lock();
        let changed = std::mem::take(&mut state.changed);
        changed
            .into_iter()
            .map(|number| (number, state.packs.get(&number).copied()))
            .collect()
    }

    /// The pack that is being filled: its number, file, and end.
    fn current(&self) -> io::Result<(u64, Arc<PackFile>, u64)> {
        let newest = {
            let state = self.state.lock();
            state.packs.last_key_value().map(|(n, pack)| (*n, *pack))
        };
        let next = match newest {
            Some((number, pack)) if pack.end < LONGEST => match self.file(number) {
                Ok(file) => return Ok((number, file, pack.end)),
                // What pointed into it is lost, and what is new goes elsewhere.
                Err(error) if is_damage(&error) => number + 1,
                Err(error) => return Err(error),
            },
            Some((number, _)) => number + 1,
            None => 1,
        };
        if !self.dir.is_dir() {
            fs::create_dir_all(&self.dir)?;
            sync_dir(&self.dir)?;
        }
        let file = Arc::new(PackFile::create(&self.dir, &self.id, next)?);
        self.keep_open(next, &file);
        self.state.lock().packs.insert(next, Pack::new(HEADER, 0));
        Ok((next, file, HEADER))
    }

    fn file(&self, number: u64) -> io::Result<Arc<PackFile>> {
        if let Some(file) = self.open.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(PackFile::open(&self.dir, &self.id, number)?);
        self.keep_open(number, &file);
        Ok(file)
    }

    fn keep_open(&self, number: u64, file: &Arc<PackFile>) {
        let mut open = self.open.lock();
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert(number, Arc::clone(file));
    }

    fn path(&self, number: u64) -> PathBuf {
        path(&self.dir, number)
    }

    fn check_failed(&self, operation: Operation, address: &[u8]) -> Result<()> {
        match &self.state.lock().failed {
            Some(reason) => Err(BackendError::Stopped {
                operation,
                address: address.into(),
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Whether a failure speaks of a pack's content rather than of the system.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
    )
}

fn damage(operation: Operation, address: &[u8], reason: String) -> BackendError {
    BackendError::Damage {
        operation,
        address: address.into(),
        reason,
    }
}

fn failed(operation: Operation, path: &Path, error: io::Error) -> BackendError {
    BackendError::io(operation, path.as_os_str().as_encoded_bytes(), error)
}
