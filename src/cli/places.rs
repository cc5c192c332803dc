//! Where a daemon's socket and log are.
//!
//! | | root | everybody else |
//! |---|---|---|
//! | socket | `/run/kfs/UUID.sock` | `$XDG_RUNTIME_DIR/kfs/UUID.sock`, without it `/tmp/kfs-UID/UUID.sock` |
//! | a store open for reading only | `BLAKE3.at` there, 32 hex digits of its directory's path | likewise |
//! | log | `/var/log/kfs/UUID.log` | `$XDG_STATE_HOME/kfs/UUID.log`, without it `~/.local/state/kfs/UUID.log` |

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use uuid::Uuid;

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A directory is missing and cannot be made, or cannot be looked at.
    #[error("directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory belongs to someone else: what is in it is not to be trusted.
    #[error("directory {} belongs to user {uid}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// There is no home directory.
    #[error("neither XDG_STATE_HOME nor HOME is set: name a log file with --log")]
    NoHome,
}

/// Where the socket of the daemon that holds store `id` is, if this user runs it.
#[must_use]
pub fn socket(id: &Uuid) -> PathBuf {
    runtime_dir().join(format!("{id}.sock"))
}

/// Where it can be besides that: root finds the daemons of all users.
#[must_use]
pub fn sockets_of_others(id: &Uuid) -> Vec<PathBuf> {
    if !geteuid().is_root() {
        return vec![];
    }
    let Ok(users) = fs::read_dir("/run/user") else {
        return vec![];
    };
    users
        .flatten()
        .map(|user| user.path().join("kfs").join(format!("{id}.sock")))
        .collect()
}

/// The sockets of all daemons that this user may speak to, those left by dead ones included.
#[must_use]
pub fn all_sockets() -> Vec<PathBuf> {
    let directories = runtime_dirs();
    let entries = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok());
    let mut sockets: Vec<PathBuf> = entries
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect();
    sockets.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "sock")
    });
    sockets.sort();
    sockets
}

/// Where the log of the daemon that holds store `id` is by default.
///
/// # Errors
/// [`PlaceError::NoHome`].
pub fn log(id: &Uuid) -> Result<PathBuf, PlaceError> {
    let directory = if geteuid().is_root() {
        PathBuf::from("/var/log/kfs")
    } else {
        absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .ok_or(PlaceError::NoHome)?
            .join("kfs")
    };
    Ok(directory.join(format!("{id}.log")))
}

/// Makes a directory that only this user can use, or sees to it that an existing one is so.
///
/// # Errors
/// [`PlaceError::Foreign`] if it is somebody else's, as it can be in `/tmp`.
pub fn private_dir(path: &Path) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Directory {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if found.uid() != geteuid().as_raw() || !found.is_dir() {
        return Err(PlaceError::Foreign {
            path: path.to_owned(),
            uid: found.uid(),
        });
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Where the socket is of the daemon that holds what lies over a store in `directory`, if this user runs
/// it: there may be several over one store.
#[must_use]
pub fn overlay_socket(directory: &Path) -> PathBuf {
    beacon(directory).with_extension("sock")
}

/// Where a daemon that only reads the store in `directory` says where its socket is.
#[must_use]
pub fn beacon(directory: &Path) -> PathBuf {
    runtime_dir().join(beacon_name(directory))
}

/// Where the daemons that this user may speak to do.
pub fn beacons(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let name = beacon_name(directory);
    runtime_dirs().into_iter().map(move |dir| dir.join(&name))
}

fn beacon_name(directory: &Path) -> String {
    let hash = blake3::hash(directory.as_os_str().as_encoded_bytes()).to_hex();
    hash.chars().take(32).chain(".at".chars()).collect()
}

/// The directories of the sockets of all daemons that this user may speak to.
fn runtime_dirs() -> Vec<PathBuf> {
    let mut directories = vec![runtime_dir()];
    if geteuid().is_root()
        && let Ok(users) = fs::read_dir("/run/user")
    {
        directories.extend(users.flatten().map(|user| user.path().join("kfs")));
    }
    directories
}

fn runtime_dir() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/run/kfs");
    }
    match absolute("XDG_RUNTIME_DIR") {
        Some(directory) => directory.join("kfs"),
        None => PathBuf::from(format!("/tmp/kfs-{}", geteuid())),
    }
}

/// An environment variable that holds an absolute path; others are to be ignored (XDG Base
/// Directory Specification).
fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_symlink_in_place_of_a_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(matches!(
            private_dir(&link),
            Err(PlaceError::Foreign { .. })
        ));
    }
}
