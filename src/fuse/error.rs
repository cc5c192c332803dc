//! Why a mount cannot be made, served or taken away.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// A mount that cannot be made, served or taken away.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The mountpoint is not there or cannot be looked at.
    #[error("mountpoint {}: {source}", point.display())]
    Mountpoint {
        /// As given.
        point: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The mountpoint is no directory.
    #[error("mountpoint {} is no directory; mount on an empty one", point.display())]
    NotDirectory {
        /// As given.
        point: PathBuf,
    },
    /// The mountpoint has entries, which the mount would hide.
    #[error("mountpoint {} is not empty (-o nonempty mounts all the same)", point.display())]
    NotEmpty {
        /// As given.
        point: PathBuf,
    },
    /// A store is mounted there, and served.
    #[error("{} is already mounted at {}; unmount it first, or mount elsewhere", mounted.display(), point.display())]
    AlreadyMounted {
        /// The mountpoint.
        point: PathBuf,
        /// What is mounted there.
        mounted: OsString,
    },
    /// A mount of another program is there that nobody serves any more.
    #[error("a dead mount of {fs_type} is at {}; unmount it first", point.display())]
    Dead {
        /// The mountpoint.
        point: PathBuf,
        /// Its type.
        fs_type: String,
    },
    /// Nothing is mounted there.
    #[error("nothing is mounted at {}", point.display())]
    NotMounted {
        /// As given.
        point: PathBuf,
    },
    /// FUSE cannot be used here.
    #[error("/dev/fuse: {source} (is the fuse module loaded, and may you use it?)")]
    Device {
        /// What the system said.
        source: io::Error,
    },
    /// mount(2) failed.
    #[error("mounting at {}: {source}", point.display())]
    Mount {
        /// The mountpoint.
        point: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// umount(2) failed.
    #[error("unmounting {}: {source}", point.display())]
    Unmount {
        /// The mountpoint.
        point: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Users other than root need a helper, and it could not be run.
    #[error("{}: {source} (needed to mount without being root; package fuse3)", program.display())]
    NoHelper {
        /// The helper.
        program: OsString,
        /// What the system said.
        source: io::Error,
    },
    /// The helper refused.
    #[error("{message}")]
    Helper {
        /// What it said.
        message: String,
    },
    /// The kernel and this program do not understand each other.
    #[error("starting to serve {}: {source}", point.display())]
    Handshake {
        /// The mountpoint.
        point: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Serving ended, and not because of an unmount.
    #[error("serving {}: {source}", point.display())]
    Serve {
        /// The mountpoint.
        point: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}
