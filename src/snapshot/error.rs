//! What can go wrong with a snapshot.

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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
