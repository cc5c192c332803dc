//! A storage that keeps nothing but ciphertext, under addresses that say nothing.
//!
//! ```text
//!   put "r…key" ──> seal, conceal ──> put "e…" ──+
//!   get "p…"    ──> the same address, open  <────+── tiers, queues, packs, logs, files
//!   list "r"    ──> the names, in memory         |
//! ```
//!
//! It stands above everything that a store is kept by, so that whatever is below, copies in a front and
//! what waits in a queue included, has nothing else. How contents are sealed and addresses concealed is
//! drawn in [`crypt`](crate::crypt).
//!
//! # What holds
//!
//! * **Nothing is believed that is not authenticated**: a blob that was changed, swapped, brought from
//!   another store or put there in the clear is [`BackendError::Damage`], with one reason for all of it.
//!   A part of a blob is cut out of the whole, once that is authenticated.
//! * **What was taken away is absent**, and a blob that stood there before, at the same address, is not
//!   told from the present one: no storage below keeps what could tell them.
//! * **Addresses** of up to [`LONGEST`] bytes; what stands below under an address that no key of the
//!   store has made is not listed, and [`Backend::verify`] finds it.
//! * **Order.** Addresses of pages are in order below. All others are listed from a set in memory, which
//!   is read from the storage when it is first needed and then follows the writes: about 100 bytes and
//!   the address, for each record of the store. Where others write to the storage, it is read each time.
//! * **Versions** are those of the content, whatever the storage below calls them. A write on the
//!   condition of one reads the blob, and is one on the condition of the version below.
//! * Everything else, atomicity, durability and order of writes, is as below.

mod names;
mod ops;

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Address, Backend, BackendError, Blob, Operation, Result};
use crate::crypt::{Cipher, CryptError};
use names::Names;

/// The longest address, in bytes: it becomes longer below.
pub const LONGEST: usize = 479;

const _: () = assert!(Cipher::concealed_length(LONGEST) <= super::MAX_ADDRESS);

/// A storage of ciphertext.
#[derive(Debug)]
pub struct Encrypted {
    inner: Arc<dyn Backend>,
    cipher: Arc<Cipher>,
    /// Held by who writes to an address that is among them, so that they are in step.
    names: Mutex<Names>,
}

impl Encrypted {
    /// Encrypts what `inner` keeps.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, cipher: Arc<Cipher>) -> Self {
        let shared = inner.capabilities().sharing == super::Sharing::Shared;
        Self {
            inner,
            cipher,
            names: Mutex::new(Names::new(shared)),
        }
    }

    /// Where it is kept.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn Backend> {
        &self.inner
    }

    /// The keys.
    #[must_use]
    pub fn cipher(&self) -> &Arc<Cipher> {
        &self.cipher
    }

    fn open(&self, address: &[u8], blob: &Blob) -> Result<Blob> {
        let opened = self.cipher.open_blob(address, &blob.bytes);
        let content = opened.map_err(|error| failed(Operation::Get, address, &error))?;
        Ok(Blob::new(content))
    }

    fn seal(&self, operation: Operation, address: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        let sealed = self.cipher.seal_blob(address, bytes);
        sealed.map_err(|error| failed(operation, address, &error))
    }

    /// An error from below, with the address that the caller knows.
    fn named(&self, mut error: BackendError) -> BackendError {
        if let Some(address) = error.address_mut()
            && let Some(known) = self.cipher.reveal(address.bytes())
        {
            *address = Address::from(&*known);
        }
        error
    }
}

fn failed(operation: Operation, address: &[u8], error: &CryptError) -> BackendError {
    let address = Address::from(address);
    match error {
        CryptError::Random(source) => BackendError::Io {
            operation,
            address,
            source: std::io::Error::other(source.to_string()),
        },
        other => BackendError::Damage {
            operation,
            address,
            reason: other.to_string(),
        },
    }
}
