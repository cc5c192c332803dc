//! How a command ends: the exit codes, and which of them an error has.

use std::io;

use serde::{Deserialize, Serialize};

use super::error::CliError;
use crate::backend::BackendError;
use crate::codec::Check;
use crate::crypt::CryptError;
use crate::fuse::MountError;
use crate::gc::GcError;
use crate::journal::JournalError;
use crate::snapshot::{SnapshotError, StreamError};
use crate::store::StoreError;
use crate::tree::TreeError;
use crate::view::ViewError;

/// The table as `kfs --help` shows it.
pub const TABLE: &str = "\
Exit codes:
  0  done
  1  failed for a reason that has no code of its own
  2  the command line cannot be understood
  3  no such store, path, file or mount
  4  refused as things are: something exists already, a directory is not empty, the path leads
     through a value that has nothing inside, the store has another id
  5  in use by another process
  6  damaged: stored bytes are not what was written
  7  no space left
  8  not permitted, or open for reading only
  9  not supported: another format version, or something that this system lacks
 10  a value is not what it should be: not valid EDN, JSON or UTF-8";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// Done.
    Done,
    /// Failed for a reason without a code of its own.
    Failed,
    /// The command line cannot be understood.
    Usage,
    /// Something named is not there.
    NotFound,
    /// It is not possible as things are.
    Refused,
    /// Another process is in the way.
    InUse,
    /// Stored bytes are not what was written.
    Damaged,
    /// No space left.
    NoSpace,
    /// Not permitted, or for reading only.
    Denied,
    /// Another format, or something that the system lacks.
    Unsupported,
    /// A value that does not parse.
    Invalid,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::InUse => 5,
            Self::Damaged => 6,
            Self::NoSpace => 7,
            Self::Denied => 8,
            Self::Unsupported => 9,
            Self::Invalid => 10,
        }
    }

    /// What a process that ended with this number says.
    pub(super) fn from_code(code: u8) -> Self {
        let all = [
            Self::Done,
            Self::Usage,
            Self::NotFound,
            Self::Refused,
            Self::InUse,
            Self::Damaged,
            Self::NoSpace,
            Self::Denied,
            Self::Unsupported,
            Self::Invalid,
        ];
        all.into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Failed)
    }

    /// The code of an error.
    pub(super) fn of(error: &CliError) -> Self {
        match error {
            CliError::Usage { .. } | CliError::Option(_) => Self::Usage,
            CliError::Syntax { .. } | CliError::NotUtf8 { .. } => Self::Invalid,
            CliError::NotFound { .. } => Self::NotFound,
            CliError::Refused { .. } => Self::Refused,
            CliError::InUse { .. } => Self::InUse,
            CliError::Denied { .. } => Self::Denied,
            CliError::Unsupported { .. } => Self::Unsupported,
            CliError::Damaged { .. } => Self::Damaged,
            CliError::Failed { .. } => Self::Failed,
            CliError::Store(error) => store(error),
            CliError::Reclaim(error) => reclaim(error),
            CliError::Snapshot(error) => snapshot(error),
            CliError::View { source, .. } => view(source),
            CliError::Mount(error) => mount(error),
            CliError::Io { source, .. } => system(source),
            CliError::Passed { exit, .. } => *exit,
            // Whoever read the output had enough.
            CliError::OutputClosed => Self::Done,
        }
    }
}

fn store(error: &StoreError) -> Exit {
    match error {
        StoreError::Missing { .. }
        | StoreError::NotAStore { .. }
        | StoreError::NothingThere { .. }
        | StoreError::NoSnapshot { .. } => Exit::NotFound,
        StoreError::BadLocation { .. } | StoreError::EmptyPath => Exit::Usage,
        StoreError::Exists { .. }
        | StoreError::Front { .. }
        | StoreError::Behind { .. }
        | StoreError::SnapshotExists { .. }
        | StoreError::WrongId { .. }
        | StoreError::Occupied { .. }
        | StoreError::IntoItself { .. }
        | StoreError::NotALog { .. }
        | StoreError::Precondition { .. }
        | StoreError::NotBinary { .. } => Exit::Refused,
        StoreError::Format { .. } | StoreError::Setting { .. } | StoreError::NotMultiKey => {
            Exit::Unsupported
        }
        StoreError::InUse { .. } => Exit::InUse,
        StoreError::ReadOnly | StoreError::HalfReceived { .. } | StoreError::KeyNeeded { .. } => {
            Exit::Denied
        }
        StoreError::NotEncrypted { .. } => Exit::Refused,
        StoreError::Key { source, .. } => key(source),
        StoreError::Damaged { source, .. } => check(&source.check),
        StoreError::Tree { source, .. } => tree(source),
        StoreError::Source(source) | StoreError::Io { source, .. } => system(source),
        StoreError::Journal(error) => journal(error),
        StoreError::Backend(error) => backend(error),
        StoreError::Released
        | StoreError::Sealed
        | StoreError::Contention { .. }
        | StoreError::Backlog { .. }
        | StoreError::Update(_) => Exit::Failed,
    }
}

fn key(error: &CryptError) -> Exit {
    match error {
        CryptError::WrongKey => Exit::Denied,
        CryptError::Authentication | CryptError::Slots { .. } => Exit::Damaged,
        CryptError::Version { .. } => Exit::Unsupported,
        CryptError::BadSecret { .. } | CryptError::Slot { .. } | CryptError::TooLarge { .. } => {
            Exit::Refused
        }
        CryptError::Random(_) => Exit::Failed,
    }
}

fn snapshot(error: &SnapshotError) -> Exit {
    match error {
        SnapshotError::BadName { .. } | SnapshotError::BadRange { .. } => Exit::Usage,
        SnapshotError::Unfit { .. } | SnapshotError::NotResumable { .. } => Exit::Refused,
        SnapshotError::Stream(error) => stream(error),
        SnapshotError::NotThen { .. } => Exit::NotFound,
        SnapshotError::Ended(_) => Exit::Failed,
        SnapshotError::Store(error) => store(error),
    }
}

fn stream(error: &StreamError) -> Exit {
    match error {
        StreamError::NotAStream => Exit::Invalid,
        StreamError::Version { .. } => Exit::Unsupported,
        StreamError::Truncated { .. }
        | StreamError::Damaged { .. }
        | StreamError::Incomplete { .. } => Exit::Damaged,
        StreamError::Io(source) => system(source),
    }
}

fn reclaim(error: &GcError) -> Exit {
    match error {
        GcError::Unreadable { source, .. } => tree(source),
        GcError::Record(error) | GcError::Store(error) => store(error),
        GcError::Stopped => Exit::Failed,
    }
}

fn tree(error: &TreeError) -> Exit {
    match error {
        TreeError::MissingPage { .. } | TreeError::Malformed { .. } => Exit::Damaged,
        TreeError::DamagedPage { source, .. } => check(&source.check),
        TreeError::Backend(error) => backend(error),
        TreeError::ThroughScalar { .. }
        | TreeError::BadIndex { .. }
        | TreeError::TooDeep { .. } => Exit::Refused,
        TreeError::NotFound { .. } => Exit::NotFound,
    }
}

fn check(check: &Check) -> Exit {
    match check {
        // Written by another program or a later version, and whole.
        Check::VersionKonserve
        | Check::Version { .. }
        | Check::Serializer { .. }
        | Check::Compressor { .. }
        | Check::Encryptor { .. } => Exit::Unsupported,
        Check::Size { .. } => Exit::Refused,
        Check::Short { .. }
        | Check::MetaLength
        | Check::Checksum
        | Check::Content
        | Check::ContentSize
        | Check::Decompress { .. }
        | Check::Deserialize { .. } => Exit::Damaged,
    }
}

fn backend(error: &BackendError) -> Exit {
    match error {
        BackendError::NotFound { .. } => Exit::NotFound,
        BackendError::Exists { .. }
        | BackendError::TooLarge { .. }
        | BackendError::BadAddress { .. } => Exit::Refused,
        BackendError::LockHeld { .. } => Exit::InUse,
        BackendError::Damage { .. } => Exit::Damaged,
        BackendError::NoSpace { .. } => Exit::NoSpace,
        BackendError::ReadOnly { .. } => Exit::Denied,
        BackendError::Unsupported { .. }
        | BackendError::NotBuilt { .. }
        | BackendError::Format { .. } => Exit::Unsupported,
        BackendError::Io { source, .. } => system(source),
        BackendError::Conflict { .. }
        | BackendError::Deadline { .. }
        | BackendError::Abandoned { .. }
        | BackendError::Stopped { .. } => Exit::Failed,
    }
}

fn journal(error: &JournalError) -> Exit {
    match error {
        JournalError::Io { source, .. } => system(source),
        JournalError::Damage { .. }
        | JournalError::WrongStore { .. }
        | JournalError::Sequence { .. } => Exit::Damaged,
        JournalError::UnknownFormat { .. } => Exit::Unsupported,
        JournalError::TooLarge { .. } => Exit::Refused,
        JournalError::Failed { .. } => Exit::Failed,
    }
}

fn mount(error: &MountError) -> Exit {
    match error {
        MountError::Mountpoint { source, .. }
        | MountError::Mount { source, .. }
        | MountError::Unmount { source, .. }
        | MountError::Handshake { source, .. }
        | MountError::Serve { source, .. } => system(source),
        MountError::NotDirectory { .. } | MountError::NotEmpty { .. } => Exit::Refused,
        MountError::AlreadyMounted { .. } | MountError::Dead { .. } => Exit::InUse,
        MountError::NotMounted { .. } => Exit::NotFound,
        MountError::Device { .. } | MountError::NoHelper { .. } => Exit::Unsupported,
        MountError::Helper { .. } => Exit::Failed,
    }
}

fn view(error: &ViewError) -> Exit {
    match error {
        ViewError::NotFound { .. }
        | ViewError::NoAttribute { .. }
        | ViewError::NothingThere { .. } => Exit::NotFound,
        ViewError::Exists { .. }
        | ViewError::AttributeExists { .. }
        | ViewError::NotDirectory { .. }
        | ViewError::IsDirectory { .. }
        | ViewError::NotEmpty { .. }
        | ViewError::NameTooLong { .. }
        | ViewError::Invalid { .. }
        | ViewError::CrossDevice { .. }
        | ViewError::TooBig { .. }
        | ViewError::AttributeTooBig { .. }
        | ViewError::Range { .. }
        | ViewError::TooManyLinks { .. } => Exit::Refused,
        ViewError::NotPermitted { .. }
        | ViewError::AccessDenied { .. }
        | ViewError::ReadOnly { .. } => Exit::Denied,
        ViewError::NoSpace { .. } => Exit::NoSpace,
        ViewError::NotSupported { .. } => Exit::Unsupported,
        ViewError::Busy { .. } => Exit::InUse,
        ViewError::Damaged { .. } => Exit::Damaged,
        ViewError::Stale { .. }
        | ViewError::BadHandle { .. }
        | ViewError::TimedOut { .. }
        | ViewError::Interrupted { .. }
        | ViewError::Io { .. }
        | ViewError::TooManyOpen { .. }
        | ViewError::WouldBlock { .. }
        | ViewError::ShuttingDown => Exit::Failed,
    }
}

/// The code of an error of the system.
fn system(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Denied,
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => Exit::Refused,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::NoSpace,
        io::ErrorKind::ResourceBusy => Exit::InUse,
        io::ErrorKind::InvalidInput => Exit::Usage,
        io::ErrorKind::Unsupported => Exit::Unsupported,
        _ => Exit::Failed,
    }
}
