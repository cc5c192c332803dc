//! LMDB: a B-tree in one file, mapped into memory.
//!
//! # Durability
//!
//! A write is a transaction that is committed with one sync: its pages are durable before the page
//! that makes them count is written (`MDB_NOMETASYNC`), and no page is used again that the last two
//! commits refer to. So a power loss leaves the last commit or the one before it, never something
//! between and never a broken tree; [`sync`](crate::backend::Backend::sync) makes the last one
//! durable. That is also why a single write costs a sync of the disk here: it is the groups of a
//! [`Batch`](crate::backend::Batch) that make it fast.
//!
//! # Space
//!
//! The map is as large as needed: it begins at 64 MiB, or twice the file, and is doubled when it is
//! full, once those who read have let go of it. The file grows with what is in it; it takes again
//! the space of what was deleted and does not shrink.
//!
//! # Reading only
//!
//! takes the permission to read and no more: without writers the library's own lock is not needed.
//!
//! # What it does not notice
//!
//! LMDB has no checksums and believes its file. A changed blob is noticed by the checksum here; but
//! a changed branch of the tree hides blobs, which are then absent without a word, and a file that
//! was cut or damaged, or a disk that fails under the map, may end the process (`SIGBUS`,
//! `SIGSEGV`, an assertion). Nothing else is damaged by that, and the journal of a store keeps what
//! it has. Where that matters, the default storage is the one to take.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use heed::types::{Bytes, DecodeIgnore};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use parking_lot::{Mutex, RwLock};

use super::stored::{Change, Engine};
use crate::backend::{Access, BackendError, Deadline, Operation, Result};
use crate::sys;

/// The file in the directory.
const DATA: &str = "data.mdb";

/// The map is at least this large, in bytes.
const SMALLEST_MAP: u64 = 64 * 1024 * 1024;

/// Who reads at the same time, at most. Others wait.
const READERS: u32 = 1024;
const WAIT_FOR_READER: Duration = Duration::from_millis(1);

/// Between two looks at the deadline, a listing sees this many addresses.
const GLANCE: usize = 1024;

/// The maps that are open for reading, by directory: a process must not map a file twice.
static READING: LazyLock<Mutex<HashMap<PathBuf, Weak<Map>>>> = LazyLock::new(Mutex::default);

/// The open storage.
#[derive(Debug)]
pub struct Lmdb(Arc<Map>);

struct Map {
    blobs: Database<Bytes, Bytes>,
    env: Env<WithoutTls>,
    /// Shared by every transaction. Who has it alone may move the map.
    moving: RwLock<()>,
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

impl Map {
    fn open(dir: &Path, flags: EnvFlags) -> heed::Result<Self> {
        let length = fs::metadata(dir.join(DATA)).map_or(0, |file| file.len());
        let size = length.saturating_mul(2).max(SMALLEST_MAP);
        let size = usize::try_from(size.next_power_of_two()).unwrap_or(usize::MAX);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(size).max_readers(READERS);
        loop {
            match sys::open_lmdb(&mut options, flags, dir) {
                // It is being closed.
                Err(heed::Error::EnvAlreadyOpened) => {
                    if let Some(closing) = heed::env_closing_event(dir) {
                        closing.wait();
                    }
                }
                opened => {
                    let env = opened?;
                    let blobs = if flags.contains(EnvFlags::READ_ONLY) {
                        let transaction = env.read_txn()?;
                        let blobs = env.open_database(&transaction, None)?;
                        transaction.commit()?;
                        blobs.ok_or(MdbError::Invalid)?
                    } else {
                        let mut transaction = env.write_txn()?;
                        let blobs = env.create_database(&mut transaction, None)?;
                        transaction.commit()?;
                        blobs
                    };
                    return Ok(Self {
                        blobs,
                        env,
                        moving: RwLock::new(()),
                    });
                }
            }
        }
    }

    fn write(&self, changes: &[Change<'_>]) -> heed::Result<()> {
        let _not_moved = self.moving.read();
        let mut transaction = self.env.write_txn()?;
        for (address, kept) in changes {
            match kept {
                Some(bytes) => self.blobs.put(&mut transaction, address, bytes)?,
                None => {
                    self.blobs.delete(&mut transaction, address)?;
                }
            }
        }
        transaction.commit()
    }

    /// Doubles the map.
    fn grow(&self, operation: Operation, address: &[u8], deadline: Deadline) -> Result<()> {
        let alone = loop {
            if let Some(alone) = self.moving.try_write_until(deadline.glance()) {
                break alone;
            }
            deadline.check(operation, address)?;
        };
        let size = self.env.info().map_size.saturating_mul(2);
        sys::resize_lmdb(&self.env, size, &alone).map_err(|error| failed(operation, address, error))
    }

    /// Gives what `look` sees in one state of the storage.
    fn read<T>(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
        look: impl FnOnce(&RoTxn<'_, WithoutTls>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let Some(_not_moved) = self.moving.try_read_until(deadline.glance()) else {
                deadline.check(operation, address)?;
                continue;
            };
            match self.env.read_txn() {
                Ok(transaction) => return look(&transaction),
                Err(heed::Error::Mdb(MdbError::ReadersFull)) => {}
                Err(error) => return Err(failed(operation, address, error)),
            }
            deadline.wait(WAIT_FOR_READER, operation, address)?;
        }
    }
}

impl Engine for Lmdb {
    fn create(dir: &Path) -> Result<()> {
        Map::open(dir, EnvFlags::empty())
            .map(drop)
            .map_err(|error| failed(Operation::Create, dir.as_os_str().as_encoded_bytes(), error))
    }

    fn open(dir: &Path, access: Access) -> Result<Self> {
        let path = dir.join(DATA);
        let address = path.as_os_str().as_encoded_bytes();
        let in_files = |error| match error {
            // That is how it says that the file is no file of its.
            heed::Error::Io(source) if source.kind() == io::ErrorKind::InvalidInput => {
                damage(Operation::Open, address, source.to_string())
            }
            error => failed(Operation::Open, address, error),
        };
        // It would make an empty storage where it finds no file, or an empty one.
        let smallest = 2 * page_size();
        match fs::metadata(&path) {
            Ok(file) if file.len() >= smallest => {}
            Ok(file) => {
                let reason = format!("it has {} bytes, and {smallest} are the least", file.len());
                return Err(damage(Operation::Open, address, reason));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damage(Operation::Open, address, "it is missing".to_owned()));
            }
            Err(error) => return Err(BackendError::io(Operation::Open, address, error)),
        }
        let dir = dir
            .canonicalize()
            .map_err(|error| BackendError::io(Operation::Open, address, error))?;
        if access == Access::ReadWrite {
            let map = Map::open(&dir, EnvFlags::NO_META_SYNC).map_err(in_files)?;
            return Ok(Self(Arc::new(map)));
        }
        let mut reading = READING.lock();
        if let Some(map) = reading.get(&dir).and_then(Weak::upgrade) {
            return Ok(Self(map));
        }
        let flags = EnvFlags::READ_ONLY | EnvFlags::NO_LOCK;
        let map = Arc::new(Map::open(&dir, flags).map_err(in_files)?);
        reading.retain(|_, map| map.strong_count() > 0);
        reading.insert(dir, Arc::downgrade(&map));
        Ok(Self(map))
    }

    fn get(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        self.0.read(operation, address, deadline, |transaction| {
            let found = self.0.blobs.get(transaction, address);
            let found = found.map_err(|error| failed(operation, address, error))?;
            Ok(found.map(<[u8]>::to_vec))
        })
    }

    fn list(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let operation = Operation::List;
        self.0.read(operation, start, deadline, |transaction| {
            let failed = |error| failed(operation, start, error);
            let range = (
                // It has no empty address, and takes none to begin with.
                match start {
                    [] => Bound::Unbounded,
                    _ => Bound::Included(start),
                },
                end.map_or(Bound::Unbounded, Bound::Excluded),
            );
            let addresses = self.0.blobs.remap_data_type::<DecodeIgnore>();
            let found = addresses.range(transaction, &range).map_err(failed)?;
            let mut listed = Vec::new();
            for entry in found.take(limit) {
                let (address, ()) = entry.map_err(failed)?;
                listed.push(address.to_vec());
                if listed.len() % GLANCE == 0 {
                    deadline.check(operation, start)?;
                }
            }
            Ok(listed)
        })
    }

    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        changes: &[Change<'_>],
        deadline: Deadline,
    ) -> Result<()> {
        loop {
            match self.0.write(changes) {
                Ok(()) => return Ok(()),
                Err(heed::Error::Mdb(MdbError::MapFull)) => {
                    self.0.grow(operation, address, deadline)?;
                }
                Err(error) => return Err(failed(operation, address, error)),
            }
        }
    }

    fn sync(&self) -> Result<()> {
        let synced = self.0.env.force_sync();
        synced.map_err(|error| failed(Operation::Sync, b"", error))
    }
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

fn damage(operation: Operation, address: &[u8], reason: String) -> BackendError {
    BackendError::Damage {
        operation,
        address: address.into(),
        reason,
    }
}

fn failed(operation: Operation, address: &[u8], error: heed::Error) -> BackendError {
    match error {
        heed::Error::Io(source) => BackendError::io(operation, address, source),
        heed::Error::Mdb(MdbError::Panic) => BackendError::Stopped {
            operation,
            address: address.into(),
            reason: "LMDB could not write".to_owned(),
        },
        // The rest says that the tree is not as it was written.
        other => damage(operation, address, other.to_string()),
    }
}
