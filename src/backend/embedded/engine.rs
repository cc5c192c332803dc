//! The engine behind calls that never panic and never wait for ever.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::thread;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::failure::guarded;
use crate::backend::{BatchOp, Deadline, Operation, Result};

/// The only keyspace's name.
const KEYSPACE: &str = "blobs";

const MIB: u64 = 1024 * 1024;

/// A memtable is written to a table when it has grown to this. Up to four may be waiting.
const MEMTABLE: u64 = 8 * MIB;

/// Decompressed blocks kept in memory.
const CACHE: u64 = 8 * MIB;

/// Blobs of this size and larger are kept out of the sorted tables, so that compaction does not
/// copy them.
const SEPARATE: u32 = 4096;

/// Sealed memtables and first-level tables at which a writer waits here, where it has a deadline,
/// rather than inside the engine, where it has none (it would stop at 4 and 30).
const SEALED_LIMIT: usize = 3;
const LEVEL_0_LIMIT: usize = 24;

/// An open engine.
pub struct Engine {
    database: Database,
    blobs: Keyspace,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the engine's files in `dir`, or makes them if there are none.
    pub fn open(operation: Operation, dir: &Path) -> Result<Self> {
        let path = dir.as_os_str().as_encoded_bytes();
        guarded(operation, path, || {
            let database = Database::builder(dir)
                .cache_size(CACHE)
                .max_cached_files(Some(128))
                .max_journaling_size(64 * MIB)
                .worker_threads(2)
                .open()?;
            let blobs = database.keyspace(KEYSPACE, || {
                let separation = KvSeparationOptions::default().separation_threshold(SEPARATE);
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE)
                    .with_kv_separation(Some(separation))
            })?;
            Ok(Self { database, blobs })
        })
    }

    pub fn get(&self, operation: Operation, address: &[u8]) -> Result<Option<fjall::Slice>> {
        guarded(operation, address, || self.blobs.get(address))
    }

    pub fn contains(&self, operation: Operation, address: &[u8]) -> Result<bool> {
        guarded(operation, address, || self.blobs.contains_key(address))
    }

    /// Up to `limit` addresses in `range` that begin with `prefix`, looking at the deadline now
    /// and then.
    pub fn list(
        &self,
        prefix: &[u8],
        start: Bound<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let mut iter = guarded(Operation::List, prefix, || {
            Ok(self.blobs.range::<&[u8], _>((start, Bound::Unbounded)))
        })?;
        let mut addresses = Vec::new();
        while addresses.len() < limit {
            let next = || iter.next().map(fjall::Guard::key).transpose();
            let Some(address) = guarded(Operation::List, prefix, next)? else {
                break;
            };
            if !address.starts_with(prefix) {
                break;
            }
            addresses.push(address.to_vec());
            if addresses.len() % 256 == 0 {
                deadline.check(Operation::List, prefix)?;
            }
        }
        Ok(addresses)
    }

    /// One put. It has reached the operating system when this returns.
    pub fn put(&self, address: &[u8], bytes: &[u8]) -> Result<()> {
        guarded(Operation::Put, address, || {
            self.blobs.insert(address, bytes)
        })
    }

    /// One delete.
    pub fn delete(&self, address: &[u8]) -> Result<()> {
        guarded(Operation::Delete, address, || self.blobs.remove(address))
    }

    /// All of `ops`, in one record of the engine's log.
    pub fn apply(&self, ops: Vec<BatchOp>) -> Result<()> {
        guarded(Operation::Apply, b"", || {
            let mut batch = self.database.batch();
            for op in ops {
                match op {
                    BatchOp::Put { address, bytes, .. } => {
                        batch.insert(&self.blobs, address, bytes)
                    }
                    BatchOp::Delete { address, .. } => batch.remove(&self.blobs, address),
                }
            }
            batch.commit()
        })
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<()> {
        guarded(Operation::Sync, b"", || {
            self.database.persist(PersistMode::SyncData)
        })
    }

    /// Waits until the background work has caught up enough for a write not to wait in it.
    pub fn wait_for_room(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        while self.blobs.sealed_memtable_count() >= SEALED_LIMIT
            || self.blobs.l0_table_count() >= LEVEL_0_LIMIT
        {
            deadline.check(operation, address)?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
