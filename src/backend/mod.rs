//! Opaque blobs under byte-string addresses: what every storage offers, and nothing else.
//!
//! A backend knows neither keys nor values nor files. [`Backend`] is the contract; the modules
//! beside it are its implementations ([`embedded`], [`mod@file`], [`memory`], and behind features
//! those of [`library`]) and wrappers ([`encrypted`], [`tiered`], [`behind`], [`overlay`], [`metered`], [`faulty`]).
//!
//! # Contract
//!
//! * **Addresses** are 1 to [`Capabilities::max_address`] bytes, any bytes. Another length is
//!   [`BackendError::BadAddress`].
//! * **Absence** is `None` (or `false`), never an error; reading creates nothing.
//! * **Atomicity.** A blob is replaced whole. Whoever reads gets the old or the new bytes, also
//!   after a crash. A [`Batch`] is applied whole or not at all where
//!   [`Capabilities::atomic_batch`] says so; elsewhere [`Backend::apply`] is
//!   [`BackendError::Unsupported`].
//! * **Visibility.** A write that returned is seen by every read that starts later, of this
//!   handle and of all others on the same store.
//! * **Durability.** Where [`Capabilities::survives_kill`] holds, a write that returned survives
//!   the death of the process. Only [`Backend::sync`] makes it survive a power loss.
//! * **Order.** Where [`Capabilities::ordered`] holds, a crash leaves a prefix of the writes in
//!   the order in which they returned: a later one is never there without the earlier ones.
//! * **Concurrency.** All methods may be called from any thread. A precondition is judged and
//!   the write done in one step.
//! * **Failure.** A call that failed with [`BackendError::Conflict`], `Unsupported`, `ReadOnly`,
//!   `BadAddress` or `TooLarge` has changed nothing. After any other error of a write the blob
//!   holds the old bytes or the new ones: the caller must look, or write again.
//! * **Time.** Every call takes a [`Deadline`] and comes back at about that time, if need be with
//!   [`BackendError::Deadline`]. Whoever waits in it asks the deadline from time to time, and so
//!   learns, too, that nobody waits any more.
//! * **Damage** that a backend itself notices is [`BackendError::Damage`]. It never hands out
//!   bytes that it knows to be wrong, and never reports a damaged blob as absent.
//!
//! # Which one
//!
//! 1 000 000 records of 200 bytes under random addresses, on two cores (`scripts/engines.sh DIR`):
//!
//! | | put/s | overwrite/s | get/s | put + sync/s | groups of 64 + sync, records/s | reopened after `kill -9`, ms | disk, MB |
//! |---|---|---|---|---|---|---|---|
//! | [`embedded`] | 204 101 | 96 834 | 219 668 | 6616 | 81 221 | 102 | 295 |
//! | LMDB | 4849 | 4839 | 565 309 | 2946 | 31 016 | 0 | 381 |
//! | RocksDB | 185 168 | 157 262 | 145 723 | 5996 | 119 686 | 289 | 383 |
//!
//! A store has a journal before its storage, so what it feels of these are the groups. The default is
//! [`embedded`], which alone notices every damage to its own files.
//!
//! # A storage of one's own
//!
//! `examples/backend.rs` is a whole one in one file, with the reason for each part; [`memory`] is the
//! shortest. [`check_address`], [`check_size`], [`Batch::check`] and [`Precondition::require`] refuse
//! what the contract has refused. `tests/backends` is the suite that every storage and wrapper passes:
//! one line in `storages.rs` runs it over another one. With a [`Kind`] a store can be kept in it.

mod batch;
pub mod behind;
mod deadline;
pub mod embedded;
pub mod encrypted;
mod error;
pub mod faulty;
pub mod file;
mod identity;
mod kind;
pub mod library;
mod lock;
mod log;
pub mod memory;
pub mod metered;
mod number;
pub mod overlay;
mod replace;
pub mod tiered;
mod version;

use std::fmt;
use std::ops::Range;

pub use batch::{Batch, BatchOp};
pub use deadline::{Deadline, Patience};
pub use error::{Address, BackendError, Operation};
pub use kind::Kind;
pub use lock::{Access, LOCK_FILE, Lock};
pub use replace::{replace, replace_dir};
pub use version::{Precondition, Version, Written};

/// The longest address, in bytes.
pub const MAX_ADDRESS: usize = 512;

/// The largest blob of the storages here, in bytes. A caller divides what is larger.
pub const MAX_BLOB: u64 = 32 * 1024 * 1024;

/// The largest batch of the storages here, in bytes of addresses and contents.
pub const MAX_BATCH: u64 = 48 * 1024 * 1024;

/// What reads and writes give back.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// Storage for opaque blobs. The [module documentation](self) is its contract.
pub trait Backend: Send + Sync + fmt::Debug {
    /// What kind of storage this is, for messages: `memory`, `embedded`, …
    fn name(&self) -> &str;

    /// What this storage promises beyond the minimum. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// The blob at `address`, or `None`.
    ///
    /// # Errors
    /// A failure of the storage, or damage that it noticed.
    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>>;

    /// The bytes `range` of the blob at `address`, cut off at its end: a range that starts at or
    /// after the end is empty. `None` if there is no blob.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        Ok(self
            .get(address, deadline)?
            .map(|blob| clip(blob.bytes, &range)))
    }

    /// How many bytes the blob at `address` has; `None` if there is no blob.
    ///
    /// # Errors
    /// As [`Backend::get`].
    fn length(&self, address: &[u8], deadline: Deadline) -> Result<Option<u64>> {
        Ok(self
            .get(address, deadline)?
            .map(|blob| blob.bytes.len() as u64))
    }

    /// The blobs at `addresses`, in that order. Not one moment's view: each is as from its own
    /// [`Backend::get`].
    ///
    /// # Errors
    /// As [`Backend::get`]; the first one ends the call.
    fn get_many(&self, addresses: &[&[u8]], deadline: Deadline) -> Result<Vec<Option<Blob>>> {
        addresses
            .iter()
            .map(|address| self.get(address, deadline))
            .collect()
    }

    /// Makes `bytes` the blob at `address`, if `precondition` holds.
    ///
    /// # Errors
    /// [`BackendError::Conflict`] if it does not hold, [`BackendError::Unsupported`] for a
    /// precondition where [`Capabilities::conditional_put`] is false, or a failure.
    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written>;

    /// Removes the blob at `address`, if `precondition` holds, and says whether there was one.
    ///
    /// # Errors
    /// As [`Backend::put`], with [`Capabilities::conditional_delete`].
    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool>;

    /// Up to `limit` addresses that begin with `prefix` and are greater than `after`, in byte
    /// order. The last one is the next page's `after`; fewer than `limit` means the end. Blobs
    /// written or removed meanwhile may or may not be listed, all others are.
    ///
    /// # Errors
    /// A failure of the storage, or damage that it noticed.
    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>>;

    /// Does all of `batch`, or nothing. All preconditions are judged against the state before.
    ///
    /// # Errors
    /// [`BackendError::Conflict`] naming the first address whose precondition does not hold,
    /// [`BackendError::Unsupported`] without [`Capabilities::atomic_batch`], or a failure.
    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()>;

    /// Returns once everything written before the call survives a power loss.
    ///
    /// # Errors
    /// A failure of the storage. What was not known to be durable then never is said to be: after
    /// a failed sync of a local storage all later writes and syncs fail until it is opened again.
    fn sync(&self, deadline: Deadline) -> Result<()>;

    /// Gives back the space of what was deleted, where it does not come back by itself or soon.
    /// Goes on in the background when the deadline comes first.
    ///
    /// # Errors
    /// As [`Backend::sync`].
    fn tidy(&self, deadline: Deadline) -> Result<()> {
        self.sync(deadline)
    }

    /// Bytes of blobs that are deleted or replaced and still take space, as far as that is known
    /// without looking.
    fn garbage(&self) -> u64 {
        0
    }

    /// Looks at the storage's own files, beyond what reading every blob looks at, and changes
    /// nothing. `meter` is told how many bytes were read, and ends the look by giving false.
    ///
    /// # Errors
    /// A failure of the storage. Damage is a [`Flaw`].
    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        let _nothing_beside_blobs = meter;
        Ok(Vec::new())
    }
}

/// Hears how many bytes were read, and says whether to go on.
pub type Meter<'a> = dyn FnMut(u64) -> bool + 'a;

/// Something that is not as the storage wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The file, below the storage's directory.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// Whether nothing depends on it.
    pub harmless: bool,
}

/// A blob as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The whole content.
    pub bytes: Vec<u8>,
    given: Option<Version>,
}

impl Blob {
    /// A blob whose version is its content (see [`Version::of_content`]).
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, given: None }
    }

    /// A blob whose version was assigned by the storage, as an object store's entity tag.
    #[must_use]
    pub fn with_version(bytes: Vec<u8>, version: Version) -> Self {
        Self {
            bytes,
            given: Some(version),
        }
    }

    /// What to give to [`Precondition::Version`] so that a write replaces just this blob.
    /// Computed here rather than by `get`, because most readers do not want it.
    #[must_use]
    pub fn version(&self) -> Version {
        self.given
            .clone()
            .unwrap_or_else(|| Version::of_content(&self.bytes))
    }
}

/// What a storage promises beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Backend::apply`] works.
    pub atomic_batch: bool,
    /// [`Backend::put`] takes preconditions.
    pub conditional_put: bool,
    /// [`Backend::delete`] takes preconditions.
    pub conditional_delete: bool,
    /// A crash leaves a prefix of the writes.
    pub ordered: bool,
    /// A write that returned survives the death of the process.
    pub survives_kill: bool,
    /// Who else may have the storage open.
    pub sharing: Sharing,
    /// The longest address, in bytes: [`MAX_ADDRESS`], but where it is made longer.
    pub max_address: usize,
    /// The largest blob, in bytes.
    pub max_blob: u64,
    /// The largest batch, in bytes of addresses and contents together.
    pub max_batch: u64,
}

impl Capabilities {
    /// Refuses a blob that the storage does not take.
    ///
    /// # Errors
    /// [`BackendError::BadAddress`], [`BackendError::TooLarge`].
    pub fn check_blob(&self, operation: Operation, address: &[u8], bytes: &[u8]) -> Result<()> {
        check_address(operation, address)?;
        check_size(operation, address, bytes)?;
        let (size, limit) = (bytes.len() as u64, self.max_blob);
        if size > limit {
            let address = address.into();
            return Err(BackendError::TooLarge {
                operation,
                address,
                size,
                limit,
            });
        }
        Ok(())
    }

    /// Refuses a batch that the storage does not take.
    ///
    /// # Errors
    /// As [`Capabilities::check_blob`].
    pub fn check_batch(&self, batch: &Batch) -> Result<()> {
        batch.check()?;
        let (size, limit) = (batch.size() as u64, self.max_batch);
        if size > limit {
            return Err(BackendError::TooLarge {
                operation: Operation::Apply,
                address: Address::default(),
                size,
                limit,
            });
        }
        batch.ops().iter().try_for_each(|op| match op {
            BatchOp::Put { address, bytes, .. } => {
                self.check_blob(Operation::Apply, address, bytes)
            }
            BatchOp::Delete { .. } => Ok(()),
        })
    }
}

/// Who may have a storage open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody outside this process can.
    Process,
    /// One process at a time, enforced by a lock.
    Exclusive,
    /// Any number of processes and machines.
    Shared,
}

/// Cuts `range` out of `bytes` without copying more than it keeps.
fn clip(mut bytes: Vec<u8>, range: &Range<u64>) -> Vec<u8> {
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (position(range.start), position(range.end));
    bytes.truncate(end);
    bytes.drain(..start.min(end));
    bytes
}

/// Refuses a blob of more than [`MAX_BLOB`] bytes.
pub fn check_size(operation: Operation, address: &[u8], bytes: &[u8]) -> Result<()> {
    let size = bytes.len() as u64;
    if size > MAX_BLOB {
        let address = address.into();
        return Err(BackendError::TooLarge {
            operation,
            address,
            size,
            limit: MAX_BLOB,
        });
    }
    Ok(())
}

/// Refuses an address that no backend stores.
pub fn check_address(operation: Operation, address: &[u8]) -> Result<()> {
    if address.is_empty() || address.len() > MAX_ADDRESS {
        return Err(BackendError::BadAddress {
            operation,
            length: address.len(),
            most: MAX_ADDRESS,
        });
    }
    Ok(())
}

/// The first address behind all that begin with `prefix`, if there is one.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_address_without_it() {
        assert_eq!(end_of_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(end_of_prefix(b"a\xFF\xFF").as_deref(), Some(&b"b"[..]));
        assert_eq!(end_of_prefix(b"\xFF"), None);
        assert_eq!(end_of_prefix(b""), None);
    }
}
