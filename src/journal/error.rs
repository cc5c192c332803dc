//! What can go wrong in a journal.

use std::io;
use std::path::{Path, PathBuf};

/// A failed call of a [`Journal`](super::Journal).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system failed.
    #[error("journal: {operation} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Records that were once durable are missing or wrong.
    #[error("journal: {path} is damaged at byte {offset}: {reason}", path = path.display())]
    Damage {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The journal belongs to another store.
    #[error("journal: {path} belongs to another store", path = path.display())]
    WrongStore {
        /// The segment.
        path: PathBuf,
    },
    /// A later program wrote the journal.
    #[error("journal: {path} has format {format}, which this program does not know", path = path.display())]
    UnknownFormat {
        /// The segment.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The record does not follow the last one.
    #[error("journal: record {seq} does not follow record {last}")]
    Sequence {
        /// The last record.
        last: u64,
        /// The one given.
        seq: u64,
    },
    /// The payload is too long.
    #[error("journal: a record of {size} bytes, and at most {limit} are possible")]
    TooLarge {
        /// Its length.
        size: usize,
        /// The longest possible.
        limit: usize,
    },
    /// An earlier failure left it unknown what is on disk; only opening again helps.
    #[error("journal: {dir} must be opened again after a failure: {reason}", dir = dir.display())]
    Failed {
        /// The journal.
        dir: PathBuf,
        /// The earlier failure.
        reason: String,
    },
}

impl JournalError {
    /// Whether the file system below is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }

    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}
