//! The keys of an open store, and what is done with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use uuid::Uuid;

use super::CryptError;
use super::address::{self, AddressKeys, ENCRYPTED};
use super::key::Key;
use super::seal::{self, Keys, Kind, Padding, What};

/// By how many bytes what is sealed is longer than its content at most, without padding.
pub const OVERHEAD: u64 = seal::LONGER as u64;

/// The first byte and the length of the address of a page: a keyed hash behind it.
const PAGE: u8 = b'p';
const PAGE_LENGTH: usize = 33;

/// The keys of an open store.
#[derive(Debug)]
pub struct Cipher {
    store: Uuid,
    addresses: AddressKeys,
    padding: Padding,
    ring: RwLock<Ring>,
}

/// What the slots of a store lead to.
#[derive(Debug)]
pub(super) struct Ring {
    /// What the slots hold.
    pub master: Arc<Key>,
    /// What the addresses are encrypted with.
    pub address: Arc<Key>,
    /// The data keys by generation. There is at least one.
    pub generations: BTreeMap<u32, Generation>,
}

/// A data key.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub key: Arc<Key>,
    keys: Arc<Keys>,
}

impl Generation {
    pub fn of(key: Key) -> Self {
        let keys = Arc::new(Keys::of(&key));
        let key = Arc::new(key);
        Self { key, keys }
    }
}

impl Ring {
    /// New keys.
    pub fn random() -> Result<Self, CryptError> {
        Ok(Self {
            master: Arc::new(Key::random()?),
            address: Arc::new(Key::random()?),
            generations: BTreeMap::from([(1, Generation::of(Key::random()?))]),
        })
    }
}

impl Cipher {
    pub(super) fn new(store: Uuid, ring: Ring, padding: Padding) -> Self {
        Self {
            store,
            addresses: AddressKeys::of(&ring.address),
            padding,
            ring: RwLock::new(ring),
        }
    }

    /// The store's UUID.
    #[must_use]
    pub fn store(&self) -> Uuid {
        self.store
    }

    /// How contents are padded.
    #[must_use]
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// The generations of data keys that are known, in order. The last one is in use.
    #[must_use]
    pub fn generations(&self) -> Vec<u32> {
        self.ring.read().generations.keys().copied().collect()
    }

    pub(super) fn with_ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.ring.read())
    }

    /// The UUID that keys the addresses of its pages, unless they are those of another store. It is as
    /// secret as the keys.
    #[must_use]
    pub fn page_id(&self) -> Uuid {
        let key = self.ring.read().address.derive("konserve-fs 2026 page id");
        let (id, _) = key.bytes().split_at(16);
        uuid::Builder::from_slice(id).map_or(Uuid::nil(), |id| {
            id.with_version(uuid::Version::Random).into_uuid()
        })
    }

    /// Seals the blob at an address.
    ///
    /// # Errors
    /// [`CryptError::TooLarge`], [`CryptError::Random`].
    pub fn seal_blob(&self, address: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptError> {
        self.seal(Kind::Blob, address, content)
    }

    /// The content of the blob at an address.
    ///
    /// # Errors
    /// [`CryptError::Authentication`].
    pub fn open_blob(&self, address: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptError> {
        self.open(Kind::Blob, address, sealed)
    }

    /// Seals the record `seq` of the journal.
    ///
    /// # Errors
    /// As [`Cipher::seal_blob`].
    pub fn seal_record(&self, seq: u64, payload: &[u8]) -> Result<Vec<u8>, CryptError> {
        self.seal(Kind::Record, &seq.to_be_bytes(), payload)
    }

    /// What the record `seq` of the journal says.
    ///
    /// # Errors
    /// [`CryptError::Authentication`].
    pub fn open_record(&self, seq: u64, sealed: &[u8]) -> Result<Vec<u8>, CryptError> {
        self.open(Kind::Record, &seq.to_be_bytes(), sealed)
    }

    fn what<'a>(&self, kind: Kind, name: &'a [u8]) -> What<'a> {
        What {
            kind,
            store: self.store,
            name,
        }
    }

    fn seal(&self, kind: Kind, name: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptError> {
        let newest = self
            .ring
            .read()
            .generations
            .last_key_value()
            .map(|(number, generation)| (*number, Arc::clone(&generation.keys)));
        let (number, keys) = newest.ok_or(CryptError::WrongKey)?;
        seal::seal(&keys, &self.what(kind, name), number, self.padding, content)
    }

    fn open(&self, kind: Kind, name: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptError> {
        let number = seal::generation(sealed)?;
        let known = self
            .ring
            .read()
            .generations
            .get(&number)
            .map(|generation| Arc::clone(&generation.keys));
        let keys = known.ok_or(CryptError::Authentication)?;
        seal::open(&keys, &self.what(kind, name), sealed)
    }

    /// The MAC of something sealed, by which it can be told from what was there before.
    #[must_use]
    pub fn mark_of(sealed: &[u8]) -> Option<&[u8]> {
        seal::mac(sealed).map(<[u8; 32]>::as_slice)
    }

    /// Whether a storage sees an address as it is: that of a page, which is a hash with a key that is in
    /// the store's header, or a mark of the store's own, which is the same in each of them.
    #[must_use]
    pub fn is_open(address: &[u8]) -> bool {
        matches!(address, [PAGE, ..] if address.len() == PAGE_LENGTH)
            || matches!(address, b"h" | b"i")
    }

    /// The address under which a storage is to keep the blob of an address.
    #[must_use]
    pub fn conceal(&self, address: &[u8]) -> Vec<u8> {
        if Self::is_open(address) {
            return address.to_vec();
        }
        self.addresses.encrypt(address)
    }

    /// The address whose blob a storage keeps at `concealed`; `None` if none of this store is.
    #[must_use]
    pub fn reveal(&self, concealed: &[u8]) -> Option<Vec<u8>> {
        if Self::is_open(concealed) {
            return Some(concealed.to_vec());
        }
        self.addresses.decrypt(concealed)
    }

    /// What all encrypted addresses begin with.
    pub const CONCEALED: &'static [u8] = &[ENCRYPTED];

    /// How long an address of so many bytes becomes at most.
    #[must_use]
    pub const fn concealed_length(address: usize) -> usize {
        address::length(address)
    }
}
