//! What can go wrong in a backend.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Making a new storage.
    Create,
    /// Opening a storage.
    Open,
    /// Reading a blob, whole or in part.
    Get,
    /// Writing a blob.
    Put,
    /// Removing a blob.
    Delete,
    /// Listing addresses.
    List,
    /// Applying a batch.
    Apply,
    /// Making writes durable.
    Sync,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Apply => "apply",
            Self::Sync => "sync",
        })
    }
}

/// An address that can be printed: ASCII as it is, all other bytes as `\xNN`. An operation on no
/// particular address has an empty one, shown as `-`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Address(Box<[u8]>);

impl Address {
    /// The address itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Address {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A failed call of a [`Backend`](super::Backend). Every variant is something that a caller may
/// act upon in its own way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A precondition did not hold; nothing was written.
    #[error("{operation} {address}: the blob is not in the state that the write requires")]
    Conflict {
        /// What was being done.
        operation: Operation,
        /// The first address whose precondition failed.
        address: Address,
    },
    /// The storage cannot do this at all.
    #[error("{operation} {address}: {backend} storage offers no {capability}")]
    Unsupported {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
        /// The storage's name.
        backend: &'static str,
        /// What is missing.
        capability: &'static str,
    },
    /// The address is empty or longer than the storage takes.
    #[error("{operation}: an address of {length} bytes (1 to {most} are possible)")]
    BadAddress {
        /// What was being done.
        operation: Operation,
        /// Its length.
        length: usize,
        /// The longest possible.
        most: usize,
    },
    /// The blob is larger than the storage takes.
    #[error("{operation} {address}: {size} bytes, and at most {limit} are possible")]
    TooLarge {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
        /// The bytes given.
        size: u64,
        /// The bytes possible.
        limit: u64,
    },
    /// The deadline passed. A write may have been done all the same.
    #[error("{operation} {address}: not done within the deadline")]
    Deadline {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
    },
    /// Nobody waits for the answer any more. A write may have been done all the same.
    #[error("{operation} {address}: given up, as nobody waits for it any more")]
    Abandoned {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
    },
    /// The storage was opened for reading only.
    #[error("{operation} {address}: the storage is open for reading only")]
    ReadOnly {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
    },
    /// The storage's own checks found stored bytes to be wrong.
    #[error("{operation} {address}: damaged storage: {reason}")]
    Damage {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
        /// What is wrong, as precisely as the storage knows.
        reason: String,
    },
    /// There is no room left.
    #[error("{operation} {address}: no space left")]
    NoSpace {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the storage.
    #[error("{path} is in use by process {pid}", path = path.display(), pid = DisplayPid(*pid))]
    LockHeld {
        /// The holder, if it left its number.
        pid: Option<u32>,
        /// The lock file.
        path: PathBuf,
    },
    /// There is no storage of this kind.
    #[error("{path}: no {backend} storage here", path = path.display())]
    NotFound {
        /// Where one was looked for.
        path: PathBuf,
        /// The kind of storage.
        backend: &'static str,
    },
    /// This build of the program has no storage of this kind.
    #[error(
        "this kfs is built without {backend} storage; build one with `cargo build --release --features {backend}`"
    )]
    NotBuilt {
        /// The kind of storage, which is the name of the feature, too.
        backend: &'static str,
    },
    /// The storage was written in a format that is not known here.
    #[error("{path}: format {found}, and only {known} is known here", path = path.display())]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format known here.
        known: u32,
    },
    /// Something is already where a storage was to be made.
    #[error("{path}: there is something already", path = path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The storage stopped after an earlier failure and must be opened again.
    #[error("{operation} {address}: the storage stopped after an earlier failure: {reason}")]
    Stopped {
        /// What was being done.
        operation: Operation,
        /// On what.
        address: Address,
        /// The earlier failure.
        reason: String,
    },
    /// The system failed.
    #[error("{operation} {address}: {source}")]
    Io {
        /// What was being done.
        operation: Operation,
        /// On what: the address, or a file's path.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl BackendError {
    /// Whether it says nothing of what is stored: the storage did not answer.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. } | Self::Abandoned { .. } | Self::Stopped { .. }
        )
    }

    /// The address that it names.
    pub(super) fn address_mut(&mut self) -> Option<&mut Address> {
        match self {
            Self::Conflict { address, .. }
            | Self::Unsupported { address, .. }
            | Self::TooLarge { address, .. }
            | Self::Deadline { address, .. }
            | Self::Abandoned { address, .. }
            | Self::ReadOnly { address, .. }
            | Self::Damage { address, .. }
            | Self::NoSpace { address, .. }
            | Self::Stopped { address, .. }
            | Self::Io { address, .. } => Some(address),
            Self::BadAddress { .. }
            | Self::LockHeld { .. }
            | Self::NotFound { .. }
            | Self::NotBuilt { .. }
            | Self::Format { .. }
            | Self::Exists { .. } => None,
        }
    }

    /// What is wrong, without the place where an error names one beside it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Damage { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    /// An error of the system, with "no space" (and "quota exceeded") told apart.
    #[must_use]
    pub fn io(operation: Operation, address: &[u8], source: io::Error) -> Self {
        let address = address.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                operation,
                address,
                source,
            },
            _ => Self::Io {
                operation,
                address,
                source,
            },
        }
    }
}

/// A process number that may be unknown.
struct DisplayPid(Option<u32>);

impl fmt::Display for DisplayPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "{pid}"),
            None => f.write_str("(number unknown)"),
        }
    }
}
