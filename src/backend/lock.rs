//! The lock by which one process holds a store's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{BackendError, Deadline, Operation, Result};

/// What an open storage may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; every write is [`BackendError::ReadOnly`]. Nothing on disk changes.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// The lock file's name in the store's directory.
pub const LOCK_FILE: &str = "kfs.lock";

/// How often a holder that is shutting down is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// A held lock. It is the kernel's (`flock`), so that it goes with the process, however that
/// ends; the holder's number in the file is only for messages.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Whether this process's number is in it.
    signed: bool,
}

impl Lock {
    /// Takes the lock of `dir`, waiting up to `wait` for another holder. Readers share it with
    /// other readers, and need nothing but the permission to read.
    ///
    /// # Errors
    /// [`BackendError::LockHeld`] with the holder's number, or a failure of the system.
    pub fn acquire(dir: &Path, access: Access, wait: Duration) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let failed =
            |source| BackendError::io(Operation::Open, path.as_os_str().as_encoded_bytes(), source);
        let give_up = Deadline::after(wait);
        loop {
            let opened = match access {
                Access::Read => open_to_read(dir, &path),
                Access::ReadWrite => open_to_write(dir, &path),
            };
            let mut file = match opened {
                Ok(file) => file,
                Err(TryLockError::WouldBlock) if !give_up.expired() => {
                    thread::sleep(POLL);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = File::open(&path)
                        .ok()
                        .and_then(|mut file| holder(&mut file));
                    return Err(BackendError::LockHeld { pid, path });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            };
            let signed = access == Access::ReadWrite;
            if signed {
                sign(&mut file).map_err(failed)?;
            }
            return Ok(Self { file, signed });
        }
    }
}

impl Drop for Lock {
    /// Closing the file would not do: a process that is just being started has it, too, until it
    /// runs its program.
    fn drop(&mut self) {
        if self.signed {
            // It would be taken for the number of readers, who leave none.
            let _stale = self.file.set_len(0);
        }
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock goes when its file is closed");
        }
    }
}

/// The lock, shared. Where there is no lock file and none may be made, the directory is locked
/// in its place.
fn open_to_read(dir: &Path, path: &Path) -> Result<File, TryLockError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = File::open(dir).map_err(TryLockError::Error)?;
            directory.try_lock_shared()?;
            // A writer may have come in between and made the file: then that is what counts.
            if path.exists() {
                return Err(TryLockError::WouldBlock);
            }
            Ok(directory)
        }
        opened => {
            let file = opened.map_err(TryLockError::Error)?;
            file.try_lock_shared()?;
            Ok(file)
        }
    }
}

/// The lock, alone. Who makes the file makes sure that no reader has locked the directory.
fn open_to_write(dir: &Path, path: &Path) -> Result<File, TryLockError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let _no_reader;
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = File::open(dir).map_err(TryLockError::Error)?;
            directory.try_lock()?;
            _no_reader = directory;
            options.create(true).truncate(false).open(path)
        }
        opened => opened,
    };
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
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
