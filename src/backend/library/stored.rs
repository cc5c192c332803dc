//! The storage around a library: the lock, the identity, preconditions, checksums.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::seal::Seal;
use super::{DATA_DIR, Library};
use crate::backend::identity::Kind;
use crate::backend::replace::sync_dir;
use crate::backend::{
    Access, Backend, BackendError, Batch, BatchOp, Blob, Capabilities, Deadline, Lock, MAX_ADDRESS,
    MAX_BATCH, MAX_BLOB, Operation, Precondition, Result, Sharing, Written, check_address,
    check_size, end_of_prefix, identity,
};

/// Where the library's files are until they are complete.
const NEW_DIR: &str = "new";

/// A write as the library does it: the address, and what is to stand there.
pub type Change<'a> = (&'a [u8], Option<Vec<u8>>);

/// What is asked of a library.
pub trait Engine: Sized + Send + Sync + fmt::Debug {
    /// Makes the files of an empty storage in a new directory, durably.
    fn create(dir: &Path) -> Result<()>;

    /// Opens what [`Engine::create`] made. Nobody else has it open to write.
    fn open(dir: &Path, access: Access) -> Result<Self>;

    /// What stands at an address.
    fn get(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>>;

    /// Up to `limit` addresses from `start` on and before `end`, in order.
    fn list(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>>;

    /// Does all of the changes in this order, or none. One writer at a time calls it.
    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        changes: &[Change<'_>],
        deadline: Deadline,
    ) -> Result<()>;

    /// Makes everything that was written durable.
    fn sync(&self) -> Result<()>;
}

/// The storage. Closed, and the lock released, when dropped.
#[derive(Debug)]
pub struct Stored<E> {
    library: Library,
    engine: E,
    seal: Seal,
    access: Access,
    /// Held by the one writer, so that a precondition and its write are one step.
    writer: Mutex<Writer>,
    /// Released after the library has closed its files.
    _lock: Lock,
}

/// What the writer knows.
#[derive(Debug, Default)]
struct Writer {
    /// Why nothing is written any more: what of the earlier writes is durable is not known.
    failure: Option<String>,
}

impl<E: Engine> Stored<E> {
    pub fn create(library: Library, dir: &Path, wait: Duration) -> Result<Self> {
        let failed = |source| {
            let address = dir.as_os_str().as_encoded_bytes();
            BackendError::io(Operation::Create, address, source)
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = Lock::acquire(dir, Access::ReadWrite, wait)?;
        if library.exists(dir)? {
            return Err(BackendError::Exists {
                path: dir.to_owned(),
            });
        }
        let root = library.root(dir);
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // With a lock in the directory, what else a power loss leaves of this is known for what it is.
        let new = root.join(NEW_DIR);
        sync_dir(dir)
            .and_then(|()| fs::create_dir_all(&new))
            .map_err(failed)?;
        E::create(&new)?;
        let id = Uuid::new_v4();
        sync_dir(&new)
            .and_then(|()| identity::create(&root, kind(library), id))
            .and_then(|()| sync_dir(dir))
            .map_err(failed)?;
        Self::start(library, dir, id, Access::ReadWrite, lock)
    }

    pub fn open(library: Library, dir: &Path, access: Access, wait: Duration) -> Result<Self> {
        let missing = || BackendError::NotFound {
            path: dir.to_owned(),
            backend: library.name(),
        };
        if !library.exists(dir)? {
            return Err(missing());
        }
        let lock = Lock::acquire(dir, access, wait)?;
        if !library.exists(dir)? {
            return Err(missing());
        }
        let id = identity::read(&library.root(dir), kind(library))?;
        Self::start(library, dir, id, access, lock)
    }

    fn start(library: Library, dir: &Path, id: Uuid, access: Access, lock: Lock) -> Result<Self> {
        let root = library.root(dir);
        let (mut data, new) = (root.join(DATA_DIR), root.join(NEW_DIR));
        if !data.exists() && new.exists() {
            // The creation was cut short behind the identity: what is there is complete.
            match access {
                Access::Read => data = new,
                Access::ReadWrite => fs::rename(&new, &data)
                    .and_then(|()| sync_dir(&root))
                    .map_err(|error| {
                        let address = root.as_os_str().as_encoded_bytes();
                        BackendError::io(Operation::Open, address, error)
                    })?,
            }
        }
        Ok(Self {
            library,
            engine: E::open(&data, access)?,
            seal: Seal::new(id),
            access,
            writer: Mutex::default(),
            _lock: lock,
        })
    }

    /// The right to write.
    fn writer(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Writer>> {
        if self.access == Access::Read {
            return Err(BackendError::ReadOnly {
                operation,
                address: address.into(),
            });
        }
        self.exclusive(operation, address, deadline)
    }

    fn exclusive(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Writer>> {
        deadline.check(operation, address)?;
        let writer = deadline.lock(&self.writer, operation, address)?;
        match &writer.failure {
            None => Ok(writer),
            Some(reason) => Err(BackendError::Stopped {
                operation,
                address: address.into(),
                reason: reason.clone(),
            }),
        }
    }

    fn read(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let Some(kept) = self.engine.get(operation, address, deadline)? else {
            return Ok(None);
        };
        let content = self.seal.open(address, kept);
        content.map(Some).ok_or_else(|| BackendError::Damage {
            operation,
            address: address.into(),
            reason: "the checksum of the blob does not match".to_owned(),
        })
    }

    fn require(
        &self,
        operation: Operation,
        address: &[u8],
        precondition: &Precondition,
        deadline: Deadline,
    ) -> Result<()> {
        if *precondition == Precondition::Any {
            return Ok(());
        }
        let present = self.read(operation, address, deadline)?;
        precondition.require(operation, address, present.as_deref())
    }

    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        writer: &mut Writer,
        changes: &[Change<'_>],
        deadline: Deadline,
    ) -> Result<()> {
        let done = self.engine.write(operation, address, changes, deadline);
        writer.note(done)
    }
}

/// What the identity says.
fn kind(library: Library) -> Kind {
    Kind {
        name: library.name(),
        format: 1,
    }
}

impl Writer {
    /// Stops everything after a failure that may have been one of making things durable.
    fn note(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error @ BackendError::Io { .. }) = &outcome {
            self.failure = Some(error.to_string());
        }
        outcome
    }
}

impl<E: Engine> Backend for Stored<E> {
    fn name(&self) -> &'static str {
        self.library.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: true,
            sharing: Sharing::Exclusive,
            max_address: MAX_ADDRESS,
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        let content = self.read(Operation::Get, address, deadline)?;
        Ok(content.map(Blob::new))
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let operation = Operation::Put;
        check_address(operation, address)?;
        check_size(operation, address, bytes)?;
        let mut writer = self.writer(operation, address, deadline)?;
        self.require(operation, address, &precondition, deadline)?;
        let change = (address, Some(self.seal.close(address, bytes)));
        self.write(operation, address, &mut writer, &[change], deadline)?;
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let operation = Operation::Delete;
        check_address(operation, address)?;
        let mut writer = self.writer(operation, address, deadline)?;
        self.require(operation, address, &precondition, deadline)?;
        if self.engine.get(operation, address, deadline)?.is_none() {
            return Ok(false);
        }
        self.write(
            operation,
            address,
            &mut writer,
            &[(address, None)],
            deadline,
        )?;
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
        // The address next to `after` is the one with a zero at its end.
        let mut start = match after {
            Some(after) if after >= prefix => [after, &[0]].concat(),
            _ => prefix.to_vec(),
        };
        let end = end_of_prefix(prefix);
        if end.as_deref().is_some_and(|end| end <= start.as_slice()) {
            return Ok(Vec::new());
        }
        // What is longer than every address can be cut off: it comes behind the same ones.
        start.truncate(MAX_ADDRESS + 1);
        self.engine.list(&start, end.as_deref(), limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        let operation = Operation::Apply;
        batch.check()?;
        let mut writer = self.writer(operation, b"", deadline)?;
        for op in batch.ops() {
            self.require(operation, op.address(), op.precondition(), deadline)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let changes: Vec<Change<'_>> = batch
            .ops()
            .iter()
            .map(|op| match op {
                BatchOp::Put { address, bytes, .. } => {
                    (address.as_slice(), Some(self.seal.close(address, bytes)))
                }
                BatchOp::Delete { address, .. } => (address.as_slice(), None),
            })
            .collect();
        self.write(operation, b"", &mut writer, &changes, deadline)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        let mut writer = self.exclusive(Operation::Sync, b"", deadline)?;
        match self.access {
            Access::Read => Ok(()),
            Access::ReadWrite => {
                let synced = self.engine.sync();
                // Whatever failed: a later sync that works says nothing of what this one should have
                // made durable.
                if let Err(error) = &synced {
                    writer.failure = Some(error.to_string());
                }
                synced
            }
        }
    }
}
