//! RocksDB: a log-structured merge tree with a log of its own.
//!
//! # Durability
//!
//! A write goes into RocksDB's log with one write(2), so it survives the process;
//! [`sync`](crate::backend::Backend::sync) syncs that log. After a power loss the log counts up to
//! the first record in it that is not whole.
//!
//! # What it does not notice
//!
//! Blocks of the tables have checksums, and so have the blobs here. But the log cannot tell damage
//! from the end that a power loss leaves. So up to which write everything was made durable is
//! written down beside it (see `synced`), and a log that ends before that is damaged; a blob that
//! was written after the last sync may be gone without a word. RocksDB is a C++ library: damage
//! that it has no check for may end the process.
//!
//! # Reading only
//!
//! takes the permission to read and no more, and writes nothing.

use std::fmt;
use std::io;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, DB, DBCompressionType, DBRecoveryMode, Error, ErrorKind, Options,
    ReadOptions, WriteBatch,
};

use super::stored::{Change, Engine};
use super::synced::Synced;
use crate::backend::{Access, BackendError, Deadline, Operation, Result};

/// Bytes that come together in memory before they become a table, and the most of its log.
const MEMTABLE: usize = 16 * 1024 * 1024;
const LOG: u64 = 128 * 1024 * 1024;

/// Files of tables that are open at the same time.
const OPEN_FILES: i32 = 256;

/// What it tells of itself: so many files of this size, in bytes.
const REPORTS: usize = 2;
const REPORT: usize = 1024 * 1024;

/// Bits per address by which a table knows that it does not have it.
const FILTER: f64 = 10.0;

/// Between two looks at the deadline, a listing sees this many addresses.
const GLANCE: usize = 1024;

/// The open storage.
pub struct RocksDb {
    db: DB,
    synced: Synced,
}

impl fmt::Debug for RocksDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksDb").finish_non_exhaustive()
    }
}

fn options() -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(FILTER, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    // What is worth it is compressed before it comes here.
    options.set_compression_type(DBCompressionType::None);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_write_buffer_size(MEMTABLE);
    options.set_max_total_wal_size(LOG);
    options.set_max_open_files(OPEN_FILES);
    options.set_keep_log_file_num(REPORTS);
    options.set_max_log_file_size(REPORT);
    options
}

impl Engine for RocksDb {
    fn create(dir: &Path) -> Result<()> {
        let mut options = options();
        options.create_if_missing(true);
        options.set_error_if_exists(true);
        let address = dir.as_os_str().as_encoded_bytes();
        DB::open(&options, dir).map_err(|error| failed(Operation::Create, address, &error))?;
        Synced::create(dir)
    }

    fn open(dir: &Path, access: Access) -> Result<Self> {
        let address = dir.as_os_str().as_encoded_bytes();
        let (synced, known) = Synced::open(dir, access)?;
        let opened = match access {
            Access::Read => DB::open_for_read_only(&options(), dir, false),
            Access::ReadWrite => DB::open(&options(), dir),
        };
        let db = opened.map_err(|error| match error.kind() {
            // That is how it says that a file is missing, or is none of its.
            ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::NotSupported => {
                damage(Operation::Open, address, error.to_string())
            }
            ErrorKind::IOError if error.as_ref().contains("No such file") => {
                damage(Operation::Open, address, error.to_string())
            }
            _ => failed(Operation::Open, address, &error),
        })?;
        let last = db.latest_sequence_number();
        if last < known {
            let reason = format!("write {known} was made durable, and the last one here is {last}");
            return Err(damage(Operation::Open, address, reason));
        }
        Ok(Self { db, synced })
    }

    fn get(&self, operation: Operation, address: &[u8], _: Deadline) -> Result<Option<Vec<u8>>> {
        let found = self.db.get(address);
        found.map_err(|error| failed(operation, address, &error))
    }

    fn list(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let operation = Operation::List;
        let mut options = ReadOptions::default();
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let mut found = self.db.raw_iterator_opt(options);
        found.seek(start);
        let mut listed = Vec::new();
        while listed.len() < limit
            && let Some(address) = found.key()
        {
            listed.push(address.to_vec());
            if listed.len() % GLANCE == 0 {
                deadline.check(operation, start)?;
            }
            found.next();
        }
        let whole = found.status();
        whole.map_err(|error| failed(operation, start, &error))?;
        Ok(listed)
    }

    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        changes: &[Change<'_>],
        _: Deadline,
    ) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (address, kept) in changes {
            match kept {
                Some(bytes) => batch.put(address, bytes),
                None => batch.delete(address),
            }
        }
        let written = self.db.write(batch);
        written.map_err(|error| failed(operation, address, &error))
    }

    fn sync(&self) -> Result<()> {
        let last = self.db.latest_sequence_number();
        let synced = self.db.flush_wal(true);
        synced.map_err(|error| failed(Operation::Sync, b"", &error))?;
        self.synced.note(last)
    }
}

fn damage(operation: Operation, address: &[u8], reason: String) -> BackendError {
    BackendError::Damage {
        operation,
        address: address.into(),
        reason,
    }
}

fn failed(operation: Operation, address: &[u8], error: &Error) -> BackendError {
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::IOError if reason.contains("No space left") => {
            let source = io::Error::new(io::ErrorKind::StorageFull, reason);
            BackendError::io(operation, address, source)
        }
        ErrorKind::IOError => BackendError::io(operation, address, io::Error::other(reason)),
        ErrorKind::ShutdownInProgress | ErrorKind::Aborted => BackendError::Stopped {
            operation,
            address: address.into(),
            reason,
        },
        // The rest says that the files are not as they were written.
        _ => damage(operation, address, reason),
    }
}
