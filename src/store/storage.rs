//! The storage of a store in a directory, by the kind that its location names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Location, StoreError, front, unfinished};
use crate::backend::embedded::Embedded;
use crate::backend::file::Files;
use crate::backend::library::Library;
use crate::backend::{
    Access, Backend, BackendError, LOCK_FILE, Lock, Operation, Result as BackendResult,
};

/// Whether there is one.
pub fn exists(location: &Location, dir: &Path) -> BackendResult<bool> {
    match location {
        Location::Embedded(_) => Embedded::exists(dir),
        Location::File(_) => Files::exists(dir),
        Location::Lmdb(_) => Library::Lmdb.exists(dir),
        Location::RocksDb(_) => Library::RocksDb.exists(dir),
        Location::Custom(custom) => custom.kind.exists(&custom.root()),
        Location::Memory(_) => Ok(false),
    }
}

/// Makes one in a directory that is new or empty, or has the rest of a creation that was cut short.
pub fn create(location: &Location, dir: &Path) -> Result<Arc<dyn Backend>, StoreError> {
    if let Some(blank) = unfinished::blank(location, dir)? {
        return Ok(blank);
    }
    if exists(location, dir)? {
        return Err(StoreError::Exists {
            location: location.to_string(),
        });
    }
    if !unfinished::is_rest(location, dir) {
        refuse_other_content(dir, location)?;
    }
    let wait = Duration::ZERO;
    let created: BackendResult<Arc<dyn Backend>> = match location {
        Location::File(_) => Files::create(dir, wait).map(|files| Arc::new(files) as _),
        Location::Lmdb(_) => Library::Lmdb.create(dir, wait),
        Location::RocksDb(_) => Library::RocksDb.create(dir, wait),
        Location::Custom(custom) => std::fs::create_dir_all(dir)
            .map_err(|e| BackendError::io(Operation::Create, dir.as_os_str().as_encoded_bytes(), e))
            .and_then(|()| Lock::acquire(dir, Access::ReadWrite, wait))
            .and_then(|lock| custom.kind.create(&custom.root(), lock)),
        Location::Embedded(_) | Location::Memory(_) => {
            Embedded::create(dir, wait).map(|embedded| Arc::new(embedded) as _)
        }
    };
    created.map_err(|e| in_use(location, e))
}

/// Opens the one that is there.
pub fn open(
    location: &Location,
    dir: &Path,
    access: Access,
    wait: Duration,
) -> Result<Arc<dyn Backend>, StoreError> {
    if !exists(location, dir)? {
        return Err(missing_or_other(dir, location));
    }
    open_backend(location, dir, access, wait).map_err(|e| in_use(location, e))
}

/// Opens the one that is there, with the storage's own error.
pub fn open_backend(
    location: &Location,
    dir: &Path,
    access: Access,
    wait: Duration,
) -> BackendResult<Arc<dyn Backend>> {
    Ok(match location {
        Location::File(_) => Arc::new(Files::open(dir, access, wait)?),
        Location::Lmdb(_) => Library::Lmdb.open(dir, access, wait)?,
        Location::RocksDb(_) => Library::RocksDb.open(dir, access, wait)?,
        Location::Custom(custom) => {
            let lock = Lock::acquire(dir, access, wait)?;
            custom.kind.open(&custom.root(), access, lock)?
        }
        Location::Embedded(_) | Location::Memory(_) => Arc::new(Embedded::open(dir, access, wait)?),
    })
}

/// The directories and files that belong to it.
pub fn files(location: &Location, dir: &Path) -> [PathBuf; 2] {
    match location {
        Location::File(_) => Files::files(dir),
        Location::Lmdb(_) => Library::Lmdb.files(dir),
        Location::RocksDb(_) => Library::RocksDb.files(dir),
        Location::Custom(custom) => [custom.root(), dir.join(LOCK_FILE)],
        Location::Embedded(_) | Location::Memory(_) => Embedded::files(dir),
    }
}

/// Removes a storage that nobody has open, and what else of the store is beside it.
pub fn remove(location: &Location, dir: &Path, journal: &str) -> Result<(), StoreError> {
    let beside = [journal, front::MARK].map(|name| dir.join(name));
    for path in beside.iter().chain(&files(location, dir)) {
        remove_path(path)?;
    }
    // The directory itself goes if nothing of anyone else is in it.
    let _others = std::fs::remove_dir(dir);
    Ok(())
}

/// The store of another kind in a directory.
fn other_kind(location: &Location, dir: &Path) -> Option<Location> {
    let kinds = Location::DIRECTORIES.iter();
    kinds
        .map(|(_, of_directory)| of_directory(dir.to_owned()))
        .find(|other| other != location && exists(other, dir).unwrap_or(false))
}

pub fn in_use(location: &Location, e: BackendError) -> StoreError {
    match e {
        BackendError::LockHeld { pid, .. } => StoreError::InUse {
            location: location.to_string(),
            pid: pid.map_or_else(|| "(unknown)".to_owned(), |p| p.to_string()),
        },
        BackendError::Damage { reason, .. } => StoreError::NotAStore {
            location: location.to_string(),
            reason,
        },
        other => StoreError::Backend(other),
    }
}

pub fn missing_or_other(dir: &Path, location: &Location) -> StoreError {
    if let Some(other) = other_kind(location, dir) {
        return StoreError::NotAStore {
            location: location.to_string(),
            reason: format!("there is a store of another kind: {other}"),
        };
    }
    let location = location.to_string();
    if front::overlay::is_in(dir) {
        return StoreError::NotAStore {
            location,
            reason: "what was written over a store is there; mount the store with \
                -o front=DIR,overlay"
                .to_owned(),
        };
    }
    match std::fs::symlink_metadata(dir) {
        Ok(m) if m.is_dir() => {
            let empty = std::fs::read_dir(dir).is_ok_and(|mut d| d.next().is_none());
            if empty {
                StoreError::Missing { location }
            } else {
                StoreError::NotAStore {
                    location,
                    reason: "the directory holds other things and no store".to_owned(),
                }
            }
        }
        Ok(_) => StoreError::NotAStore {
            location,
            reason: "it is no directory".to_owned(),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => StoreError::Missing { location },
        Err(source) => StoreError::Io {
            what: format!("looking at {location}"),
            source,
        },
    }
}

fn refuse_other_content(dir: &Path, location: &Location) -> Result<(), StoreError> {
    if let Some(other) = other_kind(location, dir) {
        return Err(StoreError::Exists {
            location: other.to_string(),
        });
    }
    match missing_or_other(dir, location) {
        StoreError::Missing { .. } => Ok(()),
        StoreError::NotAStore { location, .. } => Err(StoreError::NotAStore {
            location,
            reason: "there is something else; a store needs an empty or new directory".to_owned(),
        }),
        other => Err(other),
    }
}

fn remove_path(path: &Path) -> Result<(), StoreError> {
    let done = match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Io {
            what: format!("removing {}", path.display()),
            source,
        }),
        Ok(()) => Ok(()),
    }
}
