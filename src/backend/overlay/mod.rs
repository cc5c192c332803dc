//! A storage, the back, that is never written to, and before it another one, the front, which has
//! everything that was written since.
//!
//! ```text
//!   put, delete, apply          get, list
//!         |                        |
//!         v                        v
//!   +-----------+-----------+-----------+-----------+
//!   | a: blob   | b: gone   | c: blob   |           |   front: what it has counts
//!   +-----------+-----------+-----------+-----------+
//!   |           | b: blob   | c: blob   | d: blob   |   back: what the front says nothing of
//!   +-----------+-----------+-----------+-----------+
//!     a           -           the new c   d             what is seen
//!
//! an entry of the front:   kind u8 | bytes
//! kind 255: a blob, which has these bytes
//! kind 0:   there is no blob, though the back has one; no bytes follow
//! ```
//!
//! # What holds
//!
//! * **The back is only read.** Where it is to be written, it is not asked for anything but whether it has
//!   a blob.
//! * **The front has the truth** of what was written: no copies, as in [`tiered`](super::tiered). A front
//!   that fails is an error, and so is an entry of it that is damaged or of an unknown kind; the blob of the
//!   back, which is older, is never given in its place. So the front must be a storage that notices damage
//!   to its own files, such as [`embedded`](super::embedded).
//! * **Atomic, ordered and durable** are writes as they are in the front: a batch here is a batch there.
//! * **Judged together.** Preconditions are judged on what is seen, under the lock of the one writer, so
//!   that they are possible whatever the front can do. The version of a blob is that of its content.
//! * **What is gone stays noted.** The note that a blob of the back is gone takes its address and a byte in
//!   the front; what the back never had leaves nothing.
//!
//! Nobody else may write to the front meanwhile, and nobody at all to the back, as long as there is
//! anything in the front: to see to that is the business of who opens both.

mod ops;

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Backend, BackendError, Blob, Deadline, Operation, Result};

/// The first byte of an entry.
const GONE: u8 = 0;
const BLOB: u8 = 0xFF;

/// What the front says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Blob(Vec<u8>),
    Gone,
}

/// A front over a back.
#[derive(Debug)]
pub struct Overlay {
    front: Arc<dyn Backend>,
    back: Arc<dyn Backend>,
    /// The one writer, so that what is judged and the write are one step.
    writer: Mutex<()>,
}

impl Overlay {
    /// Lays `front` over `back`.
    #[must_use]
    pub fn new(front: Arc<dyn Backend>, back: Arc<dyn Backend>) -> Self {
        Self {
            front,
            back,
            writer: Mutex::new(()),
        }
    }

    /// What the front says of an address, if it says anything.
    fn in_front(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<Option<Entry>> {
        let found = self.front.get(address, deadline)?;
        found
            .map(|blob| read(operation, address, blob.bytes))
            .transpose()
    }

    /// Whether the back has a blob.
    fn in_back(&self, address: &[u8], deadline: Deadline) -> Result<bool> {
        Ok(self.back.length(address, deadline)?.is_some())
    }
}

/// The entry of the front that has these bytes.
fn read(operation: Operation, address: &[u8], mut bytes: Vec<u8>) -> Result<Entry> {
    match bytes.first() {
        Some(&BLOB) => {
            bytes.drain(..1);
            Ok(Entry::Blob(bytes))
        }
        Some(&GONE) if bytes.len() == 1 => Ok(Entry::Gone),
        _ => Err(BackendError::Damage {
            operation,
            address: address.into(),
            reason: "what was written over the back is none of what is written there".to_owned(),
        }),
    }
}

/// The entry of a blob.
fn entry(bytes: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(bytes.len() + 1);
    entry.push(BLOB);
    entry.extend_from_slice(bytes);
    entry
}

/// A blob of the back, whose version is that of its content, as it is in the front.
fn of_content(blob: Blob) -> Blob {
    Blob::new(blob.bytes)
}
