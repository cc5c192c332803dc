//! What can go wrong in a document's tree.

use crate::backend::BackendError;
use crate::codec::CodecError;
use crate::value::cbor::CborError;

/// An error of the tree layer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A page that a document refers to is not in the backend.
    #[error("page {page} is missing from the store")]
    MissingPage {
        /// The page's address in hex.
        page: String,
    },
    /// A page's bytes are not what was written.
    #[error("page {page} is damaged: {source}")]
    DamagedPage {
        /// The page's address in hex.
        page: String,
        /// What the codec found.
        source: CodecError,
    },
    /// A page or record is intact but does not decode: written by another program or version.
    #[error("{what} does not decode: {reason}")]
    Malformed {
        /// Which page, record or journal record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A path leads through something that has no children.
    #[error("the path goes through a value that is no map or vector, at position {depth}")]
    ThroughScalar {
        /// Number of keys walked.
        depth: usize,
    },
    /// A path leads through a missing entry.
    #[error("there is nothing at position {depth} of the path")]
    NotFound {
        /// Number of keys walked.
        depth: usize,
    },
    /// A vector index is beyond the end, or no index.
    #[error("{key} is no valid index of a vector of {len} elements (position {depth} of the path)")]
    BadIndex {
        /// The key as EDN.
        key: String,
        /// Length of the vector.
        len: u64,
        /// Number of keys walked.
        depth: usize,
    },
    /// Values nest deeper than the limit.
    #[error("values nest deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

impl TreeError {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

impl From<CborError> for TreeError {
    fn from(e: CborError) -> Self {
        Self::malformed("a stored node", e)
    }
}
