//! What can go wrong with a snapshot.

use super::frame::StreamError;
use crate::store::StoreError;
use crate::value::KeyPath;

/// An error of the snapshot layer.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A name that no snapshot can have.
    #[error("\"{name}\" cannot be the name of a snapshot: {why}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is nothing to restore.
    #[error("{path}: nothing was there when the snapshot was taken")]
    NotThen {
        /// The path.
        path: KeyPath,
    },
    /// What hears of differences wants no more.
    #[error("the comparison was ended: {0}")]
    Ended(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stream cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A stream that fits no present state of the store that is to receive it.
    #[error("{location}: {why}")]
    Unfit {
        /// The store.
        location: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Snapshots that are no beginning and end.
    #[error("{from}..{to}: {why}")]
    BadRange {
        /// The first.
        from: String,
        /// The last.
        to: String,
        /// What is wrong.
        why: &'static str,
    },
    /// What was sent of the snapshot before is not what would be sent now.
    #[error("it cannot be gone on with: {why}; send it from the beginning")]
    NotResumable {
        /// What is different.
        why: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
