//! How a command that knows a store's directory finds the daemon that holds it: a file in there
//! that names the daemon's socket.
//!
//! The UUID, after which sockets are named, stands in the store, which cannot be read while the
//! daemon holds it. The file may be left over from a daemon that was killed, or be missing where the
//! directory cannot be written: it says only where to ask.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::store::Location;

/// The file's name in the store's directory.
const NAME: &str = "kfs.daemon";

/// The file while the daemon lives.
#[derive(Debug)]
pub struct Beacon(PathBuf);

impl Beacon {
    /// Names the socket to whoever looks into the store's directory; `None` for a store without
    /// one, or if it cannot be written.
    pub(super) fn light(location: &Location, socket: &Path) -> Option<Self> {
        let path = path(location)?;
        match write(&path, socket) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                // As on a read-only disk; it takes longer, and that is all.
                tracing::debug!(path = %path.display(), %error, "commands have to search for this daemon");
                None
            }
        }
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "removing the pointer to the socket");
        }
    }
}

fn path(location: &Location) -> Option<PathBuf> {
    match location {
        Location::Embedded(directory) => Some(directory.join(NAME)),
        Location::Memory(_) => None,
    }
}

fn write(path: &Path, socket: &Path) -> io::Result<()> {
    let new = path.with_extension("daemon.new");
    fs::write(&new, socket.as_os_str().as_bytes())?;
    fs::rename(&new, path)
}

/// The socket of the daemon that holds, or once held, a store.
pub(super) fn socket(location: &Location) -> Option<PathBuf> {
    let socket = fs::read(path(location)?).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(socket))).filter(|socket| socket.is_absolute())
}

/// Removes what a killed daemon has left, from a store that is no more.
pub(super) fn remove(location: &Location) {
    if let Some(path) = path(location)
        && let Some(directory) = path.parent()
    {
        let _missing = fs::remove_file(&path);
        // It stays if anything of anyone else is in it.
        let _not_empty = fs::remove_dir(directory);
    }
}
