//! Repairing what is beside the blobs: the identity, the mark of what is in files, and the log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::disk::Disk;
use super::{FILES_DIR, KIND, LOG_DIR, failed};
use crate::backend::log::record::{self, Write};
use crate::backend::log::{applied as mark, from_log};
use crate::backend::replace::{replace_dir, sync_dir};
use crate::backend::{Access, BackendError, Flaw, Lock, Operation, Result, identity};
use crate::journal::{self, Recovery};

/// Makes anew what is damaged beside the blobs of the storage in `dir`: what is whole in the log goes
/// into files, and a log that has damage is moved to `aside`. Gives what was wrong.
///
/// # Errors
/// [`BackendError::LockHeld`], [`BackendError::Format`], [`BackendError::Damage`] if nothing says any
/// more which storage it is, or a failure of the system. It can be done again.
pub fn repair(dir: &Path, aside: &Path) -> Result<Vec<Flaw>> {
    let _lock = Lock::acquire(dir, Access::ReadWrite, Duration::ZERO)?;
    let root = dir.join(FILES_DIR);
    let log = root.join(LOG_DIR);
    let mut lost = Vec::new();
    let mut lose = |path: &Path, reason: String| {
        let place = path.strip_prefix(dir).unwrap_or(path);
        lost.push(Flaw {
            place: place.display().to_string(),
            reason,
            harmless: false,
        });
    };
    let in_log = |error| from_log(Operation::Open, log.as_os_str().as_encoded_bytes(), error);
    let io = |error| failed(Operation::Create, &root, error);

    let id = match identity::read(&root, KIND) {
        Ok(id) => id,
        Err(error @ BackendError::Damage { .. }) => {
            // The segments of the log name it, too.
            let Some(id) = journal::owner(&log) else {
                return Err(error);
            };
            lose(&root.join(identity::IDENTITY_FILE), error.reason());
            identity::create(&root, KIND, id).map_err(io)?;
            id
        }
        Err(error) => return Err(error),
    };
    let disk = Disk::new(&root, id);
    disk.remove_unfinished()?;
    let (applied, known) = match mark::read(&root) {
        Ok(applied) => (applied, true),
        Err(error @ BackendError::Damage { .. }) => {
            lose(&root.join(mark::NAME), error.reason());
            // What is in files already comes again from the log, in the same order.
            (0, false)
        }
        Err(error) => return Err(error),
    };
    if known && Recovery::read(&log, &id, applied).is_ok() {
        return Ok(lost);
    }
    if known {
        let inspection = journal::inspect(&log, &id, Some(applied)).map_err(in_log)?;
        for flaw in inspection.flaws.iter().filter(|flaw| !flaw.harmless) {
            lose(
                &flaw.path,
                format!("at byte {}: {}", flaw.offset, flaw.reason),
            );
        }
    }
    let records = journal::salvage(&log, &id, applied).map_err(in_log)?;
    let last = records.last().map_or(applied, |record| record.seq);
    let mut writes = Vec::new();
    for record in &records {
        match record::decode(&record.payload) {
            Some(more) => writes.extend(more),
            None => lose(&log, format!("record {} has no valid content", record.seq)),
        }
    }
    disk.write(writes.iter().map(|write| match write {
        Write::Put { address, bytes } => (*address, Some(*bytes)),
        Write::Delete { address } => (*address, None),
    }))?;
    mark::write(&root, last)?;
    move_aside(&root, aside).map_err(io)?;
    Ok(lost)
}

/// An empty log comes into the place of the damaged one.
fn move_aside(root: &Path, aside: &Path) -> std::io::Result<()> {
    let fresh = root.join("log.new");
    match fs::create_dir(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    replace_dir(&root.join(LOG_DIR), &fresh, &aside.join(LOG_DIR))?;
    sync_dir(root)
}
