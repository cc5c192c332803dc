//! The keys of an encrypted store: finding those that open it, and changing what opens it.
//!
//! The slots (see [`crate::crypt::slots`]) stand at the address `k` of the storage itself, as what a
//! store without encryption has not. What has slots is opened with a key only, and what has none
//! without: a store that was exchanged for one in the clear is not taken for it by who brings a key.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::header::{HEADER, Header};
use super::{Location, Store, StoreError, registry, storage};
use crate::backend::encrypted::Encrypted;
use crate::backend::{Access, Backend, Deadline, Precondition};
use crate::crypt::{Cipher, Cost, CryptError, KeyBlob, Padding, Secret, Slot, slots};
use crate::tree::PATIENCE;

/// That a store is encrypted, and how.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// What opens it.
    pub secret: Secret,
    /// What it costs to try a secret.
    pub cost: Cost,
    /// How blobs are padded, so that their lengths say less.
    pub padding: Padding,
}

impl Encryption {
    /// With a cost that is sound for passphrases, and without padding.
    #[must_use]
    pub fn with(secret: Secret) -> Self {
        Self {
            secret,
            cost: Cost::default(),
            padding: Padding::default(),
        }
    }
}

fn deadline() -> Deadline {
    Deadline::after(PATIENCE)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn of_key(location: &Location) -> impl Fn(CryptError) -> StoreError {
    let location = location.to_string();
    move |source| StoreError::Key {
        location: location.clone(),
        source,
    }
}

/// The slots in a storage, if it has any.
fn read(backend: &dyn Backend, location: &Location) -> Result<Option<KeyBlob>, StoreError> {
    let blob = backend.get(slots::ADDRESS, deadline())?;
    let read = blob.map(|blob| KeyBlob::decode(&blob.bytes));
    read.transpose().map_err(of_key(location))
}

/// Makes the keys of a new store. They are in its storage, durably, before anything else is.
pub fn create(
    backend: &dyn Backend,
    location: &Location,
    id: Uuid,
    encryption: &Encryption,
) -> Result<Arc<Cipher>, StoreError> {
    let Encryption {
        secret,
        cost,
        padding,
    } = encryption;
    let made = KeyBlob::create(id, secret, (*cost, now()), *padding);
    let (blob, cipher) = made.map_err(of_key(location))?;
    backend.put(
        slots::ADDRESS,
        &blob.encode(),
        Precondition::Any,
        deadline(),
    )?;
    backend.sync(deadline())?;
    Ok(Arc::new(cipher))
}

/// The keys of the store in a storage, opened with `key`; `None` if it is not encrypted.
///
/// # Errors
/// [`StoreError::KeyNeeded`], [`StoreError::NotEncrypted`], [`StoreError::Key`].
pub fn unlock(
    backend: &dyn Backend,
    location: &Location,
    key: Option<&Secret>,
) -> Result<Option<Arc<Cipher>>, StoreError> {
    let location_text = || location.to_string();
    match (read(backend, location)?, key) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            // What has no header is no store at all.
            let header = backend.get_range(HEADER, 0..0, deadline())?;
            let refused = header.map(|_| StoreError::NotEncrypted {
                location: location_text(),
            });
            refused.map_or(Ok(None), Err)
        }
        (Some(_), None) => Err(StoreError::KeyNeeded {
            location: location_text(),
        }),
        (Some(slots), Some(key)) => {
            let (cipher, _) = slots.open(key).map_err(of_key(location))?;
            Ok(Some(Arc::new(cipher)))
        }
    }
}

/// What a store is read and written through, given what it is kept in.
pub fn over(backend: Arc<dyn Backend>, cipher: Option<&Arc<Cipher>>) -> Arc<dyn Backend> {
    match cipher {
        Some(cipher) => Arc::new(Encrypted::new(backend, Arc::clone(cipher))),
        None => backend,
    }
}

/// Holds a store that is opened without its key, and says which one it is.
pub struct Held {
    /// Its UUID, which nobody vouches for.
    pub id: Uuid,
    /// Where it is in memory, if it is there.
    pub guard: Option<registry::Guard>,
    _backend: Arc<dyn Backend>,
}

/// Takes a store without its key.
pub fn hold(location: &Location, access: Access, wait: Duration) -> Result<Held, StoreError> {
    let (backend, guard): (Arc<dyn Backend>, _) = match location.directory() {
        Some(dir) => (storage::open(location, dir, access, wait)?, None),
        None => {
            let Location::Memory(id) = location else {
                return Err(StoreError::Missing {
                    location: location.to_string(),
                });
            };
            let (backend, guard) = registry::connect(*id)?;
            (backend, Some(guard))
        }
    };
    let id = match read(&*backend, location)? {
        Some(slots) => slots.store(),
        None => {
            let header = Header::read(&*backend, location, deadline())?;
            let missing = || StoreError::NotAStore {
                location: location.to_string(),
                reason: "it has no header".to_owned(),
            };
            header.ok_or_else(missing)?.id
        }
    };
    Ok(Held {
        id,
        guard,
        _backend: backend,
    })
}

impl Store {
    /// The UUID of the store at a location, for which no key is needed. Whoever can write to the storage
    /// can make it say another.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub fn id_at(location: &Location, wait: Duration) -> Result<Uuid, StoreError> {
        hold(location, Access::Read, wait).map(|held| held.id)
    }

    /// Whether the store at a location is encrypted, as its storage says.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub fn is_encrypted_at(location: &Location, wait: Duration) -> Result<bool, StoreError> {
        let Some(dir) = location.directory() else {
            return Ok(false);
        };
        let storage = storage::open(location, dir, Access::Read, wait)?;
        Ok(read(&*storage, location)?.is_some())
    }

    /// How the store is encrypted: its padding, and the generations of its data keys; `None` if it is
    /// not.
    pub fn encryption(&self) -> Option<(Padding, Vec<u32>)> {
        let cipher = self.inner.encrypted.as_ref()?.cipher();
        Some((cipher.padding(), cipher.generations()))
    }

    /// The slots of the store; none if it is not encrypted.
    ///
    /// # Errors
    /// A failure of the storage, or damage.
    pub fn key_slots(&self) -> Result<Vec<Slot>, StoreError> {
        let Some(encrypted) = &self.inner.encrypted else {
            return Ok(Vec::new());
        };
        let found = read(&**encrypted.inner(), self.location())?;
        Ok(found.map_or_else(Vec::new, |slots| slots.slots().to_vec()))
    }

    /// Lets `secret` open the store, too, and gives the number of its slot.
    ///
    /// # Errors
    /// [`StoreError::NotEncrypted`], [`StoreError::Key`], [`StoreError::ReadOnly`]; a failure of the
    /// storage.
    pub fn add_key(&self, secret: &Secret, cost: Cost) -> Result<u32, StoreError> {
        self.change_slots(|slots, cipher| slots.add(cipher, secret, (cost, now())))
    }

    /// Removes a slot. What opened it does not open the store any more; who has copied keys or an older
    /// state of the store with it still has them.
    ///
    /// # Errors
    /// As [`Store::add_key`]; [`CryptError::Slot`] for the only one.
    pub fn remove_key(&self, number: u32) -> Result<(), StoreError> {
        self.change_slots(|slots, cipher| slots.remove(cipher, number))
    }

    /// Lets `secret` open the store instead of what opens a slot, in one step, and gives the number of
    /// the new one.
    ///
    /// # Errors
    /// As [`Store::add_key`].
    pub fn replace_key(&self, number: u32, secret: &Secret, cost: Cost) -> Result<u32, StoreError> {
        self.change_slots(|slots, cipher| {
            let new = slots.add(cipher, secret, (cost, now()))?;
            slots.remove(cipher, number)?;
            Ok(new)
        })
    }

    /// The slot that `secret` opens.
    ///
    /// # Errors
    /// [`CryptError::WrongKey`] if it opens none.
    pub fn slot_of(&self, secret: &Secret) -> Result<u32, StoreError> {
        self.change_slots(|slots, _| slots.open(secret).map(|(_, number)| number))
    }

    fn change_slots<T>(
        &self,
        change: impl FnOnce(&mut KeyBlob, &Cipher) -> Result<T, CryptError>,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let location = self.location();
        let not_encrypted = || StoreError::NotEncrypted {
            location: location.to_string(),
        };
        let encrypted = self.inner.encrypted.as_ref().ok_or_else(not_encrypted)?;
        let storage = encrypted.inner();
        let blob = storage.get(slots::ADDRESS, deadline())?;
        let blob = blob.ok_or_else(not_encrypted)?;
        let before = KeyBlob::decode(&blob.bytes).map_err(of_key(location))?;
        let mut slots = before.clone();
        let done = change(&mut slots, encrypted.cipher()).map_err(of_key(location))?;
        if slots == before {
            return Ok(done);
        }
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        // Nobody else changes them meanwhile.
        let unchanged = Precondition::Version(blob.version());
        storage.put(slots::ADDRESS, &slots.encode(), unchanged, deadline())?;
        storage.sync(deadline())?;
        Ok(done)
    }
}
