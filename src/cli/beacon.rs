//! How a command that knows a store's directory finds the daemon that holds it: a file in there
//! that names the daemon's socket. A daemon that only reads changes nothing in there; its file is
//! beside the sockets, and its name is made of the directory's.
//!
//! The UUID, after which sockets are named, stands in the store, which cannot be read while the
//! daemon holds it. The file may be left over from a daemon that was killed: it says only where to
//! ask.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::places;
use crate::store::Location;

/// The file's name in the store's directory.
const NAME: &str = "kfs.daemon";

/// The file while the daemon lives.
#[derive(Debug)]
pub struct Beacon(PathBuf);

impl Beacon {
    /// Names the socket to whoever looks for the daemon of a store; `None` for a store in memory,
    /// or if it cannot be written.
    pub(super) fn light(location: &Location, socket: &Path, read_only: bool) -> Option<Self> {
        let directory = location.directory()?;
        let path = if read_only {
            places::beacon(directory)
        } else {
            directory.join(NAME)
        };
        match write(&path, socket) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                // It takes longer, and that is all.
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

fn write(path: &Path, socket: &Path) -> io::Result<()> {
    let new = path.with_extension("daemon.new");
    fs::write(&new, socket.as_os_str().as_bytes())?;
    fs::rename(&new, path)
}

/// The socket of the daemon that holds, or once held, a store.
pub(super) fn socket(location: &Location) -> Option<PathBuf> {
    let directory = location.directory()?;
    std::iter::once(directory.join(NAME))
        .chain(places::beacons(directory))
        .filter_map(|path| fs::read(path).ok())
        .map(|socket| PathBuf::from(std::ffi::OsString::from_vec(socket)))
        .find(|socket| socket.is_absolute())
}

/// Removes what a killed daemon has left, from a store that is no more.
pub(super) fn remove(location: &Location) {
    if let Some(directory) = location.directory() {
        let _missing = fs::remove_file(directory.join(NAME));
        let _missing = fs::remove_file(places::beacon(directory));
        // It stays if anything of anyone else is in it.
        let _not_empty = fs::remove_dir(directory);
    }
}
