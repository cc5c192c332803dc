//! Keys in memory, and what people keep them with.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::CryptError;
use crate::sys;

/// The shortest key file, in bytes.
const SHORTEST_FILE: usize = 32;
/// The longest secret, in bytes.
const LONGEST: usize = 1 << 20;

/// A key of 32 bytes, which stays out of the swap where the system allows it, and is overwritten when it
/// goes.
pub struct Key(Box<[u8; 32]>);

impl Key {
    /// A key of zeroes, to be filled.
    pub fn empty() -> Self {
        let key = Box::new([0; 32]);
        sys::lock_memory(&*key);
        Self(key)
    }

    /// A new one.
    pub fn random() -> Result<Self, CryptError> {
        let mut key = Self::empty();
        getrandom::fill(&mut *key.0).map_err(CryptError::Random)?;
        Ok(key)
    }

    /// The one that has these bytes.
    pub fn of(bytes: &[u8; 32]) -> Self {
        let mut key = Self::empty();
        key.0.copy_from_slice(bytes);
        key
    }

    /// A key for one purpose, from which this one cannot be told.
    pub fn derive(&self, purpose: &str) -> Self {
        let mut derived = Zeroizing::new(blake3::derive_key(purpose, &*self.0));
        let key = Self::of(&derived);
        derived.zeroize();
        key
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What kind of secret opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Something that a person remembers, or a program says.
    Passphrase,
    /// A file of random bytes.
    KeyFile,
}

/// What a person or a program keeps to open a store with. It is overwritten when it goes, and never
/// shown.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    source: Source,
}

impl Secret {
    /// A passphrase.
    ///
    /// # Errors
    /// [`CryptError::BadSecret`] if it is empty, or longer than 1 MiB.
    pub fn passphrase(bytes: impl Into<Vec<u8>>) -> Result<Self, CryptError> {
        Self::new(bytes.into(), Source::Passphrase, 1)
    }

    /// What is in a key file.
    ///
    /// # Errors
    /// [`CryptError::BadSecret`] if it has less than 32 bytes, or more than 1 MiB.
    pub fn key_file(bytes: impl Into<Vec<u8>>) -> Result<Self, CryptError> {
        Self::new(bytes.into(), Source::KeyFile, SHORTEST_FILE)
    }

    fn new(bytes: Vec<u8>, source: Source, least: usize) -> Result<Self, CryptError> {
        let bytes = Zeroizing::new(bytes);
        if (least..=LONGEST).contains(&bytes.len()) {
            return Ok(Self { bytes, source });
        }
        let reason = match source {
            Source::Passphrase => format!("a passphrase has 1 to {LONGEST} bytes"),
            Source::KeyFile => format!(
                "a key file has {SHORTEST_FILE} to {LONGEST} bytes, which should be random: \
                 head -c 64 /dev/urandom > FILE"
            ),
        };
        Err(CryptError::BadSecret { reason })
    }

    /// What it is.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// The secret itself, to be given to nobody but another process of this program.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.source)
    }
}
