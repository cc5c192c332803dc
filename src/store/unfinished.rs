//! What a creation leaves that was cut short, by a kill or a full disk. The next [`Store::create`]
//! takes it up or away, so that it need not be removed by hand.
//!
//! [`Store::create`]: super::Store::create

use std::path::Path;
use std::time::Duration;

use super::StoreError;
use super::lifecycle::JOURNAL;
use crate::backend::embedded::{Access, Embedded, LOCK_FILE};
use crate::backend::{Backend, Deadline};
use crate::tree::PATIENCE;

/// The storage in `dir`, if it is whole and nothing was ever put into it: the header comes first.
pub(super) fn blank(dir: &Path) -> Result<Option<Embedded>, StoreError> {
    if !Embedded::exists(dir)? || dir.join(JOURNAL).exists() {
        return Ok(None);
    }
    // Whoever holds it is not cut short, and what is damaged is not blank.
    let Ok(found) = Embedded::open(dir, Access::Read, Duration::ZERO) else {
        return Ok(None);
    };
    let blobs = found.list(b"", None, 1, Deadline::after(PATIENCE))?;
    drop(found);
    if !blobs.is_empty() {
        return Ok(None);
    }
    Ok(Some(Embedded::open(
        dir,
        Access::ReadWrite,
        Duration::ZERO,
    )?))
}

/// Whether `dir` holds the beginnings of a storage and nothing else. The lock is made first.
pub(super) fn is_rest(dir: &Path) -> bool {
    let ours = Embedded::files(dir);
    let Ok(mut entries) = std::fs::read_dir(dir) else {
        return false;
    };
    let only_ours = entries.all(|entry| entry.is_ok_and(|entry| ours.contains(&entry.path())));
    only_ours && dir.join(LOCK_FILE).is_file()
}
