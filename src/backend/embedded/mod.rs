//! The default storage: an embedded log-structured merge tree in a directory, nothing to set up.
//!
//! ```text
//! DIR/kfs.lock          held (flock) by the process that has the store open, with its number
//! DIR/engine/identity   what this is, written last
//! DIR/engine/log/       every write until it is in a table: a journal
//! DIR/engine/packs/     large blobs, each written once: see [`pack`]
//! DIR/engine/tree/      the tables (lsm-tree)
//! ```
//!
//! A write is appended to the log (one write(2), so it survives the process) and put into the
//! memtable; [`sync`](super::Backend::sync) syncs the log. When the memtable has grown to 8 MiB it becomes a
//! table, in the background, and that part of the log is removed. Opening reads the log again.
//! Of a blob of 8 KiB or more the log and the tables have only a pointer into a pack file, where it
//! is appended before.
//!
//! Everything on disk is checked before it is believed: the log by the journal's rules, the
//! engine's blocks by its checksums, its manifest here before the engine sees it, a blob in a pack
//! by its pointer (a part of one, read by [`get_range`](super::Backend::get_range), is not). No call
//! waits in the engine without a deadline, and none panics.
//!
//! # Why this engine
//!
//! 1 000 000 records of 200 bytes under random addresses, on 2 cores of a virtual machine that
//! did other work too (median CPU time; best of three or four for the rest). In the pairings with
//! a journal, records are acknowledged there and folded into the engine in groups of 4096, each
//! made durable; all figures include the background work until it is idle.
//!
//! | | put/s | CPU µs, put | CPU µs, overwrite | put + sync /s | get/s | reopen after a kill | disk MB | memory MB |
//! |---|---|---|---|---|---|---|---|---|
//! | **this** | 108 k | 7.6 | 9.1 | 8.1 k | 107 k | 0.12 s | 277 | 42 |
//! | a journal, then this | 169 k | 7.5 | 10 | 6.7 k | 132 k | 0.16 s | 287 | 41 |
//! | fjall 3.1 | 97 k | 9.0 | 13 | 5.3 k | 140 k | 0.5 s | 430–660 | 65 |
//! | a journal, then fjall | 154 k | 10 | 16 | 9.0 k | 128 k | 0.6 s | 484 | 53 |
//! | a journal, then LMDB | 54 k | 13 | 17 | 8.4 k | 600 k | 0.2 s | 386 | 23, and 380 mapped |
//!
//! All kept every record. Blobs of 64 KiB: 580 MB/s in 40 MB of memory; fjall 540 MB/s in 100 MB.
//!
//! What decided was damage. One bit was flipped in a file of a closed storage, which was then
//! opened and read from end to end:
//!
//! | | flips | noticed, or no difference | other content | blobs gone | process killed |
//! |---|---|---|---|---|---|
//! | **this**, small, all in the log | 4000 | 4000 | | | |
//! | **this**, mostly in tables | 2500 | 2500 | | | |
//! | fjall 3.1, small | 2000 | 1979 | 16 | 3 | 2 |
//! | LMDB | 3000 | 1413 | 1457 | 106 | 24 |
//!
//! LMDB has no checksums, so a flipped bit in a branch page hides part of the tree. fjall is the
//! same tree as here, but takes damage in the middle of its log for the log's end, so that every
//! later write is gone without a word, and believes its manifest. A checksum in each blob would
//! show the other content, but nothing above would notice the missing blobs.

mod archive;
mod check;
mod failure;
mod leftovers;
mod manifest;
mod mirror;
mod ops;
mod pack;
mod record;
mod salvage;
mod tree;
mod worker;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::identity::Kind;
use super::log::from_log;
pub use super::{Access, LOCK_FILE};
use super::{BackendError, Lock, Operation, Result, identity, replace::sync_dir};
use crate::journal::{Journal, JournalRecord, Recovery};
pub use check::verify_closed;
use pack::{Change, Packs};
use record::Write;
pub use salvage::rebuild;
use tree::Tree;
use worker::Workers;

const NAME: &str = "embedded";

/// What the identity says.
const KIND: Kind = Kind {
    name: "engine",
    format: 3,
};

/// The engine's directory in the store's, and what is in it.
const ENGINE_DIR: &str = "engine";
const LOG_DIR: &str = "log";
const TREE_DIR: &str = "tree";
const PACK_DIR: &str = "packs";

/// A memtable of this size becomes a table.
const MEMTABLE: u64 = 8 * 1024 * 1024;

/// The embedded storage. Closed, and the lock released, when dropped.
#[derive(Debug)]
pub struct Embedded {
    dir: PathBuf,
    id: Uuid,
    tree: Arc<Tree>,
    packs: Arc<Packs>,
    /// `None` if it is open for reading only.
    writing: Option<Writing>,
    /// Released after everything above is gone.
    _lock: Lock,
}

/// What writes need.
#[derive(Debug)]
struct Writing {
    /// The log's last record. Held by the one writer, so that a precondition and its write are
    /// one step.
    last: Mutex<u64>,
    log: Arc<Journal>,
    workers: Workers,
}

impl Embedded {
    /// Whether `dir` holds a storage. One whose creation was cut short is none.
    ///
    /// # Errors
    /// That it cannot be found out, as without permission.
    pub fn exists(dir: &Path) -> Result<bool> {
        let engine = dir.join(ENGINE_DIR);
        let identity = identity::exists(&engine).map_err(|e| {
            BackendError::io(Operation::Open, engine.as_os_str().as_encoded_bytes(), e)
        })?;
        // The log comes after the identity: a log alone is a storage that lost its identity.
        Ok(identity || engine.join(LOG_DIR).exists())
    }

    /// The directories and files that belong to the storage in `dir`.
    #[must_use]
    pub fn files(dir: &Path) -> [PathBuf; 2] {
        [dir.join(ENGINE_DIR), dir.join(LOCK_FILE)]
    }

    /// Makes a new storage in `dir`, which is made if need be. What a creation that was cut short
    /// has left is removed first. Waits up to `wait` for another process that holds `dir`.
    ///
    /// # Errors
    /// [`BackendError::Exists`] if there is one, [`BackendError::LockHeld`], or a failure of the
    /// system.
    pub fn create(dir: &Path, wait: Duration) -> Result<Self> {
        let failed = |source| {
            BackendError::io(
                Operation::Create,
                dir.as_os_str().as_encoded_bytes(),
                source,
            )
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = Lock::acquire(dir, Access::ReadWrite, wait)?;
        if Self::exists(dir)? {
            return Err(BackendError::Exists {
                path: dir.to_owned(),
            });
        }
        let engine = dir.join(ENGINE_DIR);
        match fs::remove_dir_all(&engine) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // With a lock in the directory, what else a power loss leaves of this is known for what it is.
        sync_dir(dir).map_err(failed)?;
        fs::create_dir(&engine).map_err(failed)?;
        let tree = Tree::create(&engine.join(TREE_DIR))?;
        let id = Uuid::new_v4();
        identity::create(&engine, KIND, id).map_err(failed)?;
        sync_dir(dir).map_err(failed)?;
        Self::start(dir, id, tree, Access::ReadWrite, lock)
    }

    /// Opens the storage in `dir`, waiting up to `wait` for another holder to let go.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is none, [`BackendError::LockHeld`],
    /// [`BackendError::Damage`], or a failure of the system.
    pub fn open(dir: &Path, access: Access, wait: Duration) -> Result<Self> {
        let missing = || BackendError::NotFound {
            path: dir.to_owned(),
            backend: NAME,
        };
        if !Self::exists(dir)? {
            return Err(missing());
        }
        let lock = Lock::acquire(dir, access, wait)?;
        if !Self::exists(dir)? {
            return Err(missing());
        }
        let engine = dir.join(ENGINE_DIR);
        let id = identity::read(&engine, KIND)?;
        let tree = Tree::open(&engine.join(TREE_DIR), access)?;
        Self::start(dir, id, tree, access, lock)
    }

    /// Brings the tree up to the end of the log.
    fn start(store: &Path, id: Uuid, tree: Tree, access: Access, lock: Lock) -> Result<Self> {
        let engine = store.join(ENGINE_DIR);
        let dir = engine.join(LOG_DIR);
        let address = dir.as_os_str().as_encoded_bytes();
        let tree = Arc::new(tree);
        let flushed = tree.flushed()?;
        let packs = Packs::open(&engine.join(PACK_DIR), id, tree.packs()?)?;
        let packs = Arc::new(packs);
        let in_log = |error| from_log(Operation::Open, address, error);
        let mut log = Recovery::read(&dir, &id, flushed).map_err(in_log)?;
        let durable = log.durable().max(flushed);
        let records = log.take_records();
        let mut changes = records
            .iter()
            .map(|record| decode(address, record))
            .collect::<Result<Vec<Change<'_>>>>()?;
        let last = packs.last_whole(&changes, durable, flushed)?;
        changes.retain(|(seq, _)| *seq <= last);
        if access == Access::Read {
            for (_, writes) in &changes {
                tree.write(Operation::Open, writes)?;
            }
            return Ok(Self {
                dir: store.to_owned(),
                id,
                tree,
                packs,
                writing: None,
                _lock: lock,
            });
        }
        packs.write_again(&changes, durable, last)?;
        let log = Arc::new(log.open(last).map_err(in_log)?);
        let workers = Workers::start(Arc::clone(&tree), Arc::clone(&packs), Arc::clone(&log))
            .map_err(|error| BackendError::io(Operation::Open, address, error))?;
        let writing = Writing {
            last: Mutex::new(last),
            log,
            workers,
        };
        // All of them first: a pack counts as dead until it is known what points into it.
        for write in changes.iter().flat_map(|(_, writes)| writes) {
            if let Write::Point { pointer, .. } = write {
                packs.found(pointer);
            }
        }
        for (seq, writes) in changes {
            let replaced = ops::replaced(&tree, Operation::Open, &writes)?;
            tree.write(Operation::Open, &writes)?;
            packs.bury(seq, replaced);
            writing.seal_if_full(&tree, &packs, seq)?;
        }
        packs.tidy()?;
        writing.workers.look_at_packs();
        Ok(Self {
            dir: store.to_owned(),
            id,
            tree,
            packs,
            writing: Some(writing),
            _lock: lock,
        })
    }
}

impl Embedded {
    /// Brings everything from the log into tables, which happens by itself when enough has come
    /// together.
    ///
    /// # Errors
    /// A failure of the storage.
    pub fn checkpoint(&self) -> Result<()> {
        let Some(writing) = &self.writing else {
            return Ok(());
        };
        let last = writing.last.lock();
        writing.seal(&self.tree, &self.packs, *last)?;
        self.tree.flush()?;
        let released = writing.log.release(*last);
        released.map_err(|error| from_log(Operation::Sync, b"", error))
    }
}

impl Writing {
    /// Seals the memtable if it is full; `logged` is the last record in it.
    fn seal_if_full(&self, tree: &Tree, packs: &Packs, logged: u64) -> Result<()> {
        if tree.is_full(MEMTABLE)? {
            self.seal(tree, packs, logged)?;
        }
        Ok(())
    }

    /// Seals the memtable.
    fn seal(&self, tree: &Tree, packs: &Packs, logged: u64) -> Result<()> {
        // A table must not be durable before the blobs that it points to, nor, for then the log no
        // longer tells of them, before the space of the dead ones is given back.
        packs.sync()?;
        if packs.has_dead() {
            ops::sync(packs, &self.log)?;
            packs.punch(logged);
        }
        tree.seal(logged, &packs.take_changed())?;
        self.workers.sealed(logged);
        Ok(())
    }
}

/// The writes of a record of the log.
fn decode<'r>(log: &[u8], record: &'r JournalRecord) -> Result<Change<'r>> {
    match record::decode(&record.payload) {
        Some(writes) => Ok((record.seq, writes)),
        None => Err(BackendError::Damage {
            operation: Operation::Open,
            address: log.into(),
            reason: format!("record {} has no valid content", record.seq),
        }),
    }
}
#[cfg(test)]
mod tests;
