//! The default storage: an embedded log-structured merge tree in a directory, nothing to set up.
//!
//! ```text
//! DIR/kfs.lock   held (flock) by the one process that has the store open, with its number inside
//! DIR/engine/    the engine's own files (fjall)
//! ```
//!
//! A put is one write to the engine's log, so it survives the process; [`Backend::sync`] makes
//! the log durable.

mod engine;
mod failure;
mod lock;

use std::fs;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, MAX_BLOB, Operation, Precondition,
    Result, Sharing, Written, check_address, check_size,
};
use engine::Engine;
pub use lock::{LOCK_FILE, Lock};

const NAME: &str = "embedded";

/// The engine's directory in the store's.
const ENGINE_DIR: &str = "engine";

/// The file that the engine writes last when it makes a new set of files.
const ENGINE_MARKER: &str = "version";

/// What an open storage may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; every write is [`BackendError::ReadOnly`].
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// The embedded storage. Closed, and the lock released, when dropped.
#[derive(Debug)]
pub struct Embedded {
    engine: Engine,
    /// Writers one at a time, so that a precondition and its write are one step. Also what a
    /// writer can wait for with a deadline, unlike the engine's own lock.
    writer: Mutex<()>,
    access: Access,
    _lock: Lock,
}

impl Embedded {
    /// Whether `dir` holds a whole storage.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join(ENGINE_DIR).join(ENGINE_MARKER).exists()
    }

    /// Makes a new storage in `dir`, which is made if need be. What a creation that was cut short
    /// has left is removed first.
    ///
    /// # Errors
    /// [`BackendError::Exists`] if there is one, [`BackendError::LockHeld`] if another process is
    /// at it, or a failure of the system.
    pub fn create(dir: &Path, wait: Duration) -> Result<Self> {
        let failed = |source| {
            BackendError::io(
                Operation::Create,
                dir.as_os_str().as_encoded_bytes(),
                source,
            )
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = Lock::acquire(dir, wait)?;
        if Self::exists(dir) {
            return Err(BackendError::Exists {
                path: dir.to_owned(),
            });
        }
        let engine_dir = dir.join(ENGINE_DIR);
        match fs::remove_dir_all(&engine_dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let engine = Engine::open(Operation::Create, &engine_dir)?;
        sync_dir(dir).map_err(failed)?;
        Ok(Self::new(engine, Access::ReadWrite, lock))
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
        if !Self::exists(dir) {
            return Err(missing());
        }
        let lock = Lock::acquire(dir, wait)?;
        if !Self::exists(dir) {
            return Err(missing());
        }
        let engine = Engine::open(Operation::Open, &dir.join(ENGINE_DIR))?;
        Ok(Self::new(engine, access, lock))
    }

    /// The directories and files that belong to the storage in `dir`.
    #[must_use]
    pub fn files(dir: &Path) -> [PathBuf; 2] {
        [dir.join(ENGINE_DIR), dir.join(LOCK_FILE)]
    }

    fn new(engine: Engine, access: Access, lock: Lock) -> Self {
        Self {
            engine,
            writer: Mutex::new(()),
            access,
            _lock: lock,
        }
    }

    /// The right to write, once everything that a write may wait for is done.
    fn writer(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, ()>> {
        if self.access == Access::Read {
            return Err(BackendError::ReadOnly {
                operation,
                address: address.into(),
            });
        }
        deadline.check(operation, address)?;
        let Some(guard) = self.writer.try_lock_until(deadline.instant()) else {
            return Err(BackendError::Deadline {
                operation,
                address: address.into(),
            });
        };
        self.engine.wait_for_room(operation, address, deadline)?;
        Ok(guard)
    }

    fn require(
        &self,
        operation: Operation,
        address: &[u8],
        precondition: &Precondition,
    ) -> Result<()> {
        if *precondition == Precondition::Any {
            return Ok(());
        }
        let present = self.engine.get(operation, address)?;
        precondition.require(operation, address, present.as_deref())
    }
}

impl Backend for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: true,
            sharing: Sharing::Exclusive,
            max_blob: MAX_BLOB,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        let found = self.engine.get(Operation::Get, address)?;
        Ok(found.map(|bytes| Blob::new(bytes.to_vec())))
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        check_address(Operation::Put, address)?;
        check_size(Operation::Put, address, bytes)?;
        let _writer = self.writer(Operation::Put, address, deadline)?;
        self.require(Operation::Put, address, &precondition)?;
        self.engine.put(address, bytes)?;
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        let _writer = self.writer(Operation::Delete, address, deadline)?;
        self.require(Operation::Delete, address, &precondition)?;
        if !self.engine.contains(Operation::Delete, address)? {
            return Ok(false);
        }
        self.engine.delete(address)?;
        Ok(true)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        deadline.check(Operation::List, prefix)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.engine.list(prefix, start, limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        batch.check()?;
        let _writer = self.writer(Operation::Apply, b"", deadline)?;
        for op in batch.ops() {
            self.require(Operation::Apply, op.address(), op.precondition())?;
        }
        self.engine.apply(batch.into_ops())
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")?;
        self.engine.sync()
    }
}

/// Makes the names in `dir` durable, and its own name in its parent.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}
