//! What can be wrong with bytes that should be CBOR.

use super::Major;
use thiserror::Error;

/// A failure to read CBOR, and the offset of the item that caused it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("CBOR at byte {offset}: {kind}")]
pub struct CborError {
    /// Bytes from the start of the input.
    pub offset: usize,
    /// What is wrong there.
    pub kind: CborErrorKind,
}

/// What is wrong at an offset.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CborErrorKind {
    /// The input ends within an item, or a length promises more than there is.
    #[error("the input ends early")]
    UnexpectedEnd,
    /// An initial byte that the format reserves, or a stray break.
    #[error("byte {0:#04x} cannot begin an item here")]
    Malformed(u8),
    /// An item of another type than the reader asked for.
    #[error("expected {wanted}, found {found:?}")]
    Unexpected {
        /// What the reader asked for.
        wanted: &'static str,
        /// What stands there.
        found: Major,
    },
    /// An integer outside the range asked for.
    #[error("integer out of range")]
    OutOfRange,
    /// A text string that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Nesting beyond [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("nested too deeply")]
    TooDeep,
    /// A map with two equal keys.
    #[error("map with a key given twice")]
    DuplicateKey,
    /// A set with two equal elements.
    #[error("set with an element given twice")]
    DuplicateElement,
    /// Bytes after the item.
    #[error("bytes after the end of the item")]
    TrailingBytes,
    /// A valid item that is not in the canonical form that a key must have.
    #[error("not in canonical form")]
    NotCanonical,
}

pub(super) type Result<T> = std::result::Result<T, CborError>;
