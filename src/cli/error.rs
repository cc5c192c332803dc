//! Why a command failed: what, where, and what to do.

use std::io;

use super::exit::Exit;
use crate::fuse::{MountError, OptionError};
use crate::gc::GcError;
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::value::TextError;
use crate::view::ViewError;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not fit together.
    #[error("{message}")]
    Usage {
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// A value is not what it was said to be.
    #[error("{what}: not valid {format}: {source}{excerpt}")]
    Syntax {
        /// The argument or file.
        what: String,
        /// EDN, JSON, …
        format: &'static str,
        /// Where and why.
        source: TextError,
        /// The place, on lines of their own.
        excerpt: String,
    },
    /// A text is none.
    #[error("{what}: not UTF-8 from byte {offset} on; use --as bytes")]
    NotUtf8 {
        /// The argument or file.
        what: String,
        /// Where the first wrong byte stands.
        offset: usize,
    },
    /// Something named is not there.
    #[error("{what}: {why}")]
    NotFound {
        /// As named.
        what: String,
        /// What was looked for.
        why: String,
    },
    /// It is not possible as things are.
    #[error("{what}: {why}")]
    Refused {
        /// On what.
        what: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Somebody is in the way.
    #[error("{what}: {why}")]
    InUse {
        /// What is in use.
        what: String,
        /// By whom, and what to do.
        why: String,
    },
    /// Not permitted.
    #[error("{what}: {why}")]
    Denied {
        /// On what.
        what: String,
        /// The rule.
        why: String,
    },
    /// It is not possible here.
    #[error("{what}: {why}")]
    Unsupported {
        /// What.
        what: String,
        /// What is missing.
        why: String,
    },
    /// Stored bytes are not what was written.
    #[error("{what}: {why}")]
    Damaged {
        /// Where.
        what: String,
        /// How much.
        why: String,
    },
    /// Anything else.
    #[error("{what}: {why}")]
    Failed {
        /// What was done.
        what: String,
        /// What happened.
        why: String,
    },
    /// An option of a mount.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// Freeing pages failed.
    #[error(transparent)]
    Reclaim(#[from] GcError),
    /// Something with a snapshot failed.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// An operation on files of a store failed.
    #[error("{path}: {source}")]
    View {
        /// The file.
        path: String,
        /// What happened.
        source: ViewError,
    },
    /// Mounting or unmounting failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The system failed.
    #[error("{what}: {source}")]
    Io {
        /// The file and what was done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A failure with more to say than its cause, as what another process of this program says.
    #[error("{message}")]
    Passed {
        /// How it would have ended.
        exit: Exit,
        /// Its message.
        message: String,
    },
    /// Nobody reads the output any more.
    #[error("the output was closed")]
    OutputClosed,
}

impl CliError {
    /// What helps, where the message cannot say it itself.
    pub fn remedy(&self) -> Option<&'static str> {
        let of_a_store = matches!(
            self,
            Self::Store(_) | Self::View { .. } | Self::Reclaim(_) | Self::Passed { .. }
        );
        (of_a_store && self.exit() == Exit::Damaged).then_some(
            "kfs fsck STORE tells what is damaged; with --repair it sets that aside and keeps the rest",
        )
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            // What a command found out within a transaction.
            StoreError::Update(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Store(StoreError::Update(inner)),
            },
            error => Self::Store(error),
        }
    }
}

impl From<SnapshotError> for CliError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Store(error) => error.into(),
            // What a command found out while it listened to a comparison.
            SnapshotError::Ended(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Snapshot(SnapshotError::Ended(inner)),
            },
            error => Self::Snapshot(error),
        }
    }
}

impl CliError {
    /// What the process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::of(self)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
        }
    }

    pub(super) fn not_found(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::NotFound {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(super) fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(super) fn failed(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// For use within a transaction of the store, which gives it back as it is.
    pub(super) fn in_transaction(self) -> StoreError {
        StoreError::Update(Box::new(self))
    }
}
