//! Storages that a database library keeps: [`Library::Lmdb`] and [`Library::RocksDb`]. Each is
//! behind a feature of this crate, `lmdb` and `rocksdb`, and neither is in a build by default.
//!
//! ```text
//! DIR/kfs.lock           held (flock) by the process that has the store open
//! DIR/LIBRARY/identity   what this is; LIBRARY is `lmdb` or `rocksdb`
//! DIR/LIBRARY/db/        the library's own files
//! DIR/LIBRARY/new/       the same, while the storage is being made
//! ```
//!
//! The library is not relied on for what it may not notice: every blob has a checksum bound to its
//! address and to this storage behind it (see `seal`), and the lock is this crate's. What is wrong
//! with the library's own structures is the library's to notice:
//!
//! * LMDB has no checksums and believes its file. A changed branch of its tree hides blobs, which are
//!   then absent without a word; a file that was cut or damaged, or a disk that fails under the map,
//!   may end the process. Its file takes again the space of what was deleted and does not shrink.
//! * RocksDB's log cannot tell damage from the end that a power loss leaves: a blob that was written
//!   after the last sync may be gone without a word. Damage that it has no check for may end the
//!   process.
//!
//! Where that matters, [`embedded`](super::embedded) is the one to take: it is the default for this.

#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(any(feature = "lmdb", feature = "rocksdb"))]
mod seal;
#[cfg(any(feature = "lmdb", feature = "rocksdb"))]
mod stored;
#[cfg(feature = "rocksdb")]
mod synced;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Access, Backend, BackendError, LOCK_FILE, Operation, Result, identity};
#[cfg(feature = "lmdb")]
use lmdb::Lmdb;
#[cfg(feature = "rocksdb")]
use rocks::RocksDb;
#[cfg(any(feature = "lmdb", feature = "rocksdb"))]
use stored::Stored;

/// The library's files.
const DATA_DIR: &str = "db";

/// A library that keeps blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// A B-tree in one file that is mapped into memory.
    Lmdb,
    /// A log-structured merge tree.
    RocksDb,
}

impl Library {
    /// All of them, built in or not.
    pub const ALL: [Self; 2] = [Self::Lmdb, Self::RocksDb];

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Lmdb => cfg!(feature = "lmdb"),
            Self::RocksDb => cfg!(feature = "rocksdb"),
        }
    }

    /// Its name, which is that of the feature, of the directory and of the location's scheme, too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lmdb => "lmdb",
            Self::RocksDb => "rocksdb",
        }
    }

    /// Whether `dir` holds such a storage, which needs no library to be found out. One whose
    /// creation was cut short is none.
    ///
    /// # Errors
    /// That it cannot be found out, as without permission.
    pub fn exists(self, dir: &Path) -> Result<bool> {
        let root = self.root(dir);
        let identity = identity::exists(&root).map_err(|error| {
            BackendError::io(Operation::Open, root.as_os_str().as_encoded_bytes(), error)
        })?;
        // The files get their name after the identity: they alone are a storage that lost its own.
        Ok(identity || root.join(DATA_DIR).exists())
    }

    /// The directories and files that belong to the storage in `dir`.
    #[must_use]
    pub fn files(self, dir: &Path) -> [PathBuf; 2] {
        [self.root(dir), dir.join(LOCK_FILE)]
    }

    /// Makes a new storage in `dir`, which is made if need be. What a creation that was cut short
    /// has left is removed first. Waits up to `wait` for another process that holds `dir`.
    ///
    /// # Errors
    /// [`BackendError::Exists`] if there is one, [`BackendError::LockHeld`],
    /// [`BackendError::NotBuilt`], or a failure of the system.
    pub fn create(self, dir: &Path, wait: Duration) -> Result<Arc<dyn Backend>> {
        match self {
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Ok(Arc::new(Stored::<Lmdb>::create(self, dir, wait)?)),
            #[cfg(not(feature = "lmdb"))]
            Self::Lmdb => Err(self.not_built((dir, wait))),
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Ok(Arc::new(Stored::<RocksDb>::create(self, dir, wait)?)),
            #[cfg(not(feature = "rocksdb"))]
            Self::RocksDb => Err(self.not_built((dir, wait))),
        }
    }

    /// Opens the storage in `dir`, waiting up to `wait` for another holder to let go.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] if there is none, [`BackendError::LockHeld`],
    /// [`BackendError::NotBuilt`], [`BackendError::Damage`], or a failure of the system.
    pub fn open(self, dir: &Path, access: Access, wait: Duration) -> Result<Arc<dyn Backend>> {
        match self {
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Ok(Arc::new(Stored::<Lmdb>::open(self, dir, access, wait)?)),
            #[cfg(not(feature = "lmdb"))]
            Self::Lmdb => Err(self.not_built((dir, access, wait))),
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Ok(Arc::new(Stored::<RocksDb>::open(self, dir, access, wait)?)),
            #[cfg(not(feature = "rocksdb"))]
            Self::RocksDb => Err(self.not_built((dir, access, wait))),
        }
    }

    #[cfg(not(all(feature = "lmdb", feature = "rocksdb")))]
    fn not_built<T>(self, _unused: T) -> BackendError {
        BackendError::NotBuilt {
            backend: self.name(),
        }
    }

    fn root(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}
