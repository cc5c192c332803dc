//! What can keep pages from being freed.

use crate::store::StoreError;
use crate::tree::TreeError;
use crate::value::KeyPath;

/// An error of the gc layer.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// A page does not read.
    #[error("{path}: {source}; nothing was freed, for it is unknown what else is in use there")]
    Unreadable {
        /// The entry whose page it is; empty where only memory refers to it.
        path: KeyPath,
        /// What is wrong with it.
        source: TreeError,
    },
    /// A record does not read.
    #[error("{0}; nothing was freed, for it is unknown what else is in use there")]
    Record(#[source] StoreError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is being closed.
    #[error("freeing pages was stopped before its end")]
    Stopped,
}
