//! The lock by which one process holds a store's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::Access;
use crate::backend::{BackendError, Deadline, Operation, Result};

/// The lock file's name in the store's directory.
pub const LOCK_FILE: &str = "kfs.lock";

/// How often a holder that is shutting down is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// A held lock. It is the kernel's (`flock`), so that it goes with the process, however that
/// ends; the holder's number in the file is only for messages.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `dir`, waiting up to `wait` for another holder. A reader that may not
    /// write the lock file shares it with other such readers.
    ///
    /// # Errors
    /// [`BackendError::LockHeld`] with the holder's number, or a failure of the system.
    pub fn acquire(dir: &Path, access: Access, wait: Duration) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let failed =
            |source| BackendError::io(Operation::Open, path.as_os_str().as_encoded_bytes(), source);
        let give_up = Deadline::after(wait);
        let (mut file, shared) = open(dir, &path, access).map_err(failed)?;
        loop {
            match if shared {
                file.try_lock_shared()
            } else {
                file.try_lock()
            } {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if !give_up.expired() => thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    return Err(BackendError::LockHeld {
                        pid: holder(&mut file),
                        path,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        if !shared {
            sign(&mut file).map_err(failed)?;
        }
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Closing the file would not do: a process that is just being started has it, too, until it
    /// runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock goes when its file is closed");
        }
    }
}

/// The lock file, and whether it can only be shared.
fn open(dir: &Path, path: &Path, access: Access) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let refused = match options.open(path) {
        Err(error) if access == Access::Read && may_not_write(&error) => error,
        opened => return Ok((opened?, false)),
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // On a read-only disk nobody can make one, to write or to read. Elsewhere others can.
            if refused.kind() != io::ErrorKind::ReadOnlyFilesystem {
                return Err(refused);
            }
            File::open(dir)?
        }
        opened => opened?,
    };
    Ok((file, true))
}

fn may_not_write(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Leaves this process's number in the file.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The number that the holder left. Readers that share the lock leave none: then it is that of
/// somebody who is gone, or says nothing.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok()?;
    Path::new("/proc")
        .join(u32::to_string(&pid))
        .exists()
        .then_some(pid)
}
