//! What a creation leaves that was cut short, by a kill or a full disk. The next [`Store::create`]
//! takes it up or away, so that it need not be removed by hand.
//!
//! [`Store::create`]: super::Store::create

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::lifecycle::JOURNAL;
use super::{Location, StoreError, storage};
use crate::backend::{Access, Backend, Deadline, LOCK_FILE};
use crate::crypt::slots;
use crate::tree::PATIENCE;

/// The storage in `dir`, if it is whole and nothing was ever put into it but the slots of an encrypted
/// store: then comes the header.
pub fn blank(location: &Location, dir: &Path) -> Result<Option<Arc<dyn Backend>>, StoreError> {
    if !storage::exists(location, dir)? || dir.join(JOURNAL).exists() {
        return Ok(None);
    }
    // Whoever holds it is not cut short, and what is damaged is not blank.
    let Ok(found) = storage::open(location, dir, Access::Read, Duration::ZERO) else {
        return Ok(None);
    };
    let blobs = found.list(b"", None, 2, Deadline::after(PATIENCE))?;
    drop(found);
    if blobs.iter().any(|address| address != slots::ADDRESS) {
        return Ok(None);
    }
    storage::open(location, dir, Access::ReadWrite, Duration::ZERO).map(Some)
}

/// Whether `dir` holds the beginnings of a storage and nothing else. The lock is made first.
pub fn is_rest(location: &Location, dir: &Path) -> bool {
    let ours = storage::files(location, dir);
    let Ok(mut entries) = std::fs::read_dir(dir) else {
        return false;
    };
    let only_ours = entries.all(|entry| entry.is_ok_and(|entry| ours.contains(&entry.path())));
    only_ours && dir.join(LOCK_FILE).is_file()
}
