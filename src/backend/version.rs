//! Versions of blobs, and the conditions that writes make of them.

use super::{Backend, BackendError, Deadline, Operation, Result};

/// What a blob was when it was read, as opaque bytes: equal versions of one address mean equal
/// content. The reverse need not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(Box<[u8]>);

impl Version {
    /// A version that the storage itself assigned, as an object store's entity tag.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The version of a storage that assigns none: 16 bytes of the content's BLAKE3.
    #[must_use]
    pub fn of_content(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        Self(hash.as_bytes().iter().copied().take(16).collect())
    }

    /// The opaque bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What must be so for a write to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    Any,
    /// There is no blob.
    Absent,
    /// There is a blob and it is at this version.
    Version(Version),
}

impl Precondition {
    /// Whether the condition holds for a storage whose versions are contents, where `present`
    /// is what stands there now.
    #[must_use]
    pub fn holds_for(&self, present: Option<&[u8]>) -> bool {
        match (self, present) {
            (Self::Any, _) | (Self::Absent, None) => true,
            (Self::Version(version), Some(bytes)) => *version == Version::of_content(bytes),
            (Self::Absent, Some(_)) | (Self::Version(_), None) => false,
        }
    }

    /// [`Precondition::holds_for`] as an error.
    pub fn require(
        &self,
        operation: Operation,
        address: &[u8],
        present: Option<&[u8]>,
    ) -> Result<()> {
        if self.holds_for(present) {
            return Ok(());
        }
        Err(BackendError::Conflict {
            operation,
            address: address.into(),
        })
    }

    /// [`Precondition::require`] of what `storage` has, whose versions are contents.
    pub(super) fn require_in(
        &self,
        storage: &dyn Backend,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        match self {
            Self::Any => Ok(()),
            Self::Absent => {
                let there = storage.get_range(address, 0..0, deadline)?.is_some();
                self.require(operation, address, there.then_some(&[]))
            }
            Self::Version(_) => {
                let present = storage.get(address, deadline)?.map(|blob| blob.bytes);
                self.require(operation, address, present.as_deref())
            }
        }
    }
}

/// The outcome of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(Option<Version>);

impl Written {
    /// The storage assigned this version.
    #[must_use]
    pub fn with_version(version: Version) -> Self {
        Self(Some(version))
    }

    /// The version of the blob now, given the bytes that were put. Hashes them where the storage
    /// assigns no versions, which is why `put` does not do it for everyone.
    #[must_use]
    pub fn version(self, bytes: &[u8]) -> Version {
        self.0.unwrap_or_else(|| Version::of_content(bytes))
    }
}
