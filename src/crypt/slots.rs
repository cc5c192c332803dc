//! The slots of a store: what its keys are sealed with, once for each secret that opens it.
//!
//! ```text
//!  0            8          12          28        32
//!  +------------+----------+-----------+---------+------+------+-----+----------------+
//!  | "kfs keys" | version  | store     | slots   | slot | slot | …   | ring           |
//!  | 8 bytes    | u32: 1   | 16 bytes  | u32     |      |      |     | sealed, kind 4 |
//!  +------------+----------+-----------+---------+------+------+-----+----------------+
//!
//!  a slot, 148 bytes:
//!  0        4        5      8          12       16      20         28         44
//!  +--------+--------+------+----------+--------+-------+----------+----------+----------------+
//!  | number | source | 0    | memory   | passes | lanes | created  | salt     | master key     |
//!  | u32    | 1, 2   |      | KiB, u32 | u32    | u32   | s, u64   | 16 bytes | sealed, kind 3 |
//!  +--------+--------+------+----------+--------+-------+----------+----------+----------------+
//!
//!  the ring:
//!  +-------------+---------+---------+--------+------------------------------+-----+
//!  | address key | padding | 0       | keys   | generation u32 | data key    | …   |
//!  | 32 bytes    | 0, 1    | 3 bytes | u32    |                | 32 bytes    |     |
//!  +-------------+---------+---------+--------+------------------------------+-----+
//! ```
//!
//! Numbers are big-endian. The master key is sealed as drawn in the [module above](super), with what
//! Argon2id (version 0x13, 32 bytes) makes of the secret, memory, passes, lanes and salt as the data key;
//! its name is the 44 bytes before it. The ring is sealed with the master key, its name is everything
//! before it: so whoever has no key can neither change nor add nor remove a slot. All generations are 0
//! in the headers of these.
//!
//! Source is 1 for a passphrase, 2 for a key file. Both go through Argon2id, for nobody can tell from a
//! file how random it is.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::CryptError;
use super::cipher::{Cipher, Generation, Ring};
use super::key::{Key, Secret, Source};
use super::seal::{self, Keys, Kind, Padding, What};

/// The address at which a storage keeps the slots of a store.
pub const ADDRESS: &[u8] = b"k";

const MAGIC: &[u8; 8] = b"kfs keys";
const VERSION: u32 = 1;
const SALT: usize = 16;
const SLOT_HEAD: usize = 44;
const SLOT: usize = SLOT_HEAD + SEALED_KEY;
/// Header, salt, key and its length, padded to three blocks, MAC.
const SEALED_KEY: usize = 8 + 16 + 48 + 32;
/// The most slots of a store.
pub const MOST_SLOTS: usize = 32;
/// The most data keys of a store: all but one are on their way out.
const MOST_GENERATIONS: usize = 64;

/// What it costs to try a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// How often it is gone through.
    pub passes: u32,
    /// Into how many parts it is divided.
    pub lanes: u32,
}

impl Default for Cost {
    /// The second choice of RFC 9106: 64 MiB, 3 passes, 4 lanes; about a tenth of a second.
    fn default() -> Self {
        Self {
            memory: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Cost {
    /// As little as possible: for tests, and for secrets that nobody can guess.
    pub const LEAST: Self = Self {
        memory: 8,
        passes: 1,
        lanes: 1,
    };

    /// What someone else may ask of this program for one slot.
    fn is_bearable(&self) -> bool {
        let most = Self::default();
        self.memory <= most.memory && self.passes <= 16 && self.lanes <= 16
    }

    fn hash(&self, secret: &[u8], salt: &[u8; SALT]) -> Result<Key, CryptError> {
        let bad = |error: argon2::Error| CryptError::Slots {
            reason: error.to_string(),
        };
        let params = Params::new(self.memory, self.passes, self.lanes, Some(32)).map_err(bad)?;
        let mut memory = vec![Block::default(); params.block_count()];
        let mut key = Key::empty();
        let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(secret, salt, key.bytes_mut(), &mut memory);
        memory.zeroize();
        hashed.map_err(bad)?;
        Ok(key)
    }
}

/// A slot, as far as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number, which no other slot of the store gets.
    pub number: u32,
    /// What opens it.
    pub source: Source,
    /// What it costs to try.
    pub cost: Cost,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    salt: [u8; SALT],
    sealed: [u8; SEALED_KEY],
}

/// The slots of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBlob {
    store: Uuid,
    slots: Vec<Slot>,
    ring: Vec<u8>,
}

impl KeyBlob {
    /// New keys for a store, and a slot that `secret` opens.
    ///
    /// # Errors
    /// [`CryptError::Random`].
    pub fn create(
        store: Uuid,
        secret: &Secret,
        (cost, created): (Cost, u64),
        padding: Padding,
    ) -> Result<(Self, Cipher), CryptError> {
        let cipher = Cipher::new(store, Ring::random()?, padding);
        let mut blob = Self {
            store,
            slots: Vec::new(),
            ring: Vec::new(),
        };
        blob.add(&cipher, secret, (cost, created))?;
        Ok((blob, cipher))
    }

    /// The store's UUID. It is believed only once a slot has been opened.
    #[must_use]
    pub fn store(&self) -> Uuid {
        self.store
    }

    /// Its slots.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The keys of the store, and the slot that `secret` opened.
    ///
    /// # Errors
    /// [`CryptError::WrongKey`] if it opens none, or if anything was changed.
    pub fn open(&self, secret: &Secret) -> Result<(Cipher, u32), CryptError> {
        let wrong = || CryptError::WrongKey;
        let of_source = self.slots.iter().filter(|s| s.source == secret.source());
        for slot in of_source {
            let keys = Keys::of(&slot.cost.hash(secret.bytes(), &slot.salt)?);
            let head = slot.head();
            let Ok(master) = seal::open(&keys, &self.what(Kind::Slot, &head), &slot.sealed) else {
                continue;
            };
            let master = Zeroizing::new(master);
            let master = Key::of(master.as_array().ok_or_else(wrong)?);
            let before = self.before_ring();
            let keys = Keys::of(&master);
            let ring = seal::open(&keys, &self.what(Kind::Ring, &before), &self.ring)
                .map_err(|_| wrong())?;
            let ring = Zeroizing::new(ring);
            let (ring, padding) = decode_ring(&ring, master).ok_or_else(wrong)?;
            return Ok((Cipher::new(self.store, ring, padding), slot.number));
        }
        Err(wrong())
    }

    /// Adds a slot and gives its number.
    ///
    /// # Errors
    /// [`CryptError::Slot`] if there are too many; [`CryptError::Random`].
    pub fn add(
        &mut self,
        cipher: &Cipher,
        secret: &Secret,
        (cost, created): (Cost, u64),
    ) -> Result<u32, CryptError> {
        let number = self.slots.iter().map(|slot| slot.number).max();
        let number = number.map_or(0, |last| last.saturating_add(1));
        if self.slots.len() >= MOST_SLOTS || number == u32::MAX {
            let reason = "the store has as many slots as it can have; remove one first";
            return Err(CryptError::Slot { number, reason });
        }
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(CryptError::Random)?;
        let keys = Keys::of(&cost.hash(secret.bytes(), &salt)?);
        let mut slot = Slot {
            number,
            source: secret.source(),
            cost,
            created,
            salt,
            sealed: [0; SEALED_KEY],
        };
        let head = slot.head();
        let what = self.what(Kind::Slot, &head);
        let sealed = cipher
            .with_ring(|ring| seal::seal(&keys, &what, 0, Padding::None, ring.master.bytes()))?;
        let size = sealed.len();
        slot.sealed = *sealed.as_array().ok_or(CryptError::TooLarge { size })?;
        self.slots.push(slot);
        self.seal_ring(cipher)?;
        Ok(number)
    }

    /// Removes a slot.
    ///
    /// # Errors
    /// [`CryptError::Slot`] if there is none of this number, or no other one.
    pub fn remove(&mut self, cipher: &Cipher, number: u32) -> Result<(), CryptError> {
        let refused = |reason| CryptError::Slot { number, reason };
        let at = self.slots.iter().position(|slot| slot.number == number);
        let at = at.ok_or_else(|| refused("there is no such slot"))?;
        if self.slots.len() == 1 {
            return Err(refused(
                "it is the only one: without it nobody could open the store",
            ));
        }
        self.slots.remove(at);
        self.seal_ring(cipher)
    }

    fn seal_ring(&mut self, cipher: &Cipher) -> Result<(), CryptError> {
        let before = self.before_ring();
        let what = self.what(Kind::Ring, &before);
        self.ring = cipher.with_ring(|ring| {
            let bytes = Zeroizing::new(encode_ring(ring, cipher.padding()));
            seal::seal(&Keys::of(&ring.master), &what, 0, Padding::None, &bytes)
        })?;
        Ok(())
    }

    fn what<'a>(&self, kind: Kind, name: &'a [u8]) -> What<'a> {
        What {
            kind,
            store: self.store,
            name,
        }
    }

    fn before_ring(&self) -> Vec<u8> {
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(32 + self.slots.len() * SLOT);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(self.store.as_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for slot in &self.slots {
            out.extend_from_slice(&slot.head());
            out.extend_from_slice(&slot.sealed);
        }
        out
    }

    /// The bytes to be kept at [`ADDRESS`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.before_ring();
        out.extend_from_slice(&self.ring);
        out
    }

    /// Reads what stands at [`ADDRESS`].
    ///
    /// # Errors
    /// [`CryptError::Slots`], [`CryptError::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptError> {
        let bad = |reason: &str| CryptError::Slots {
            reason: reason.to_owned(),
        };
        let mut rest = Bytes(bytes);
        if rest.take::<8>() != Some(MAGIC) {
            return Err(bad("they do not begin as slots do"));
        }
        let short = || bad("they are cut off");
        let version = rest.number().ok_or_else(short)?;
        if version != VERSION {
            return Err(CryptError::Version {
                version,
                known: VERSION,
            });
        }
        let store = Uuid::from_bytes(*rest.take::<16>().ok_or_else(short)?);
        let count = rest.number().ok_or_else(short)?;
        if count == 0 || count as usize > MOST_SLOTS {
            return Err(bad("no store has so many"));
        }
        let mut slots = Vec::new();
        for _ in 0..count {
            let slot = Slot::decode(&mut rest).ok_or_else(|| bad("one of them is none"))?;
            if !slot.cost.is_bearable() {
                return Err(bad(
                    "one of them takes more memory or time than any that is made",
                ));
            }
            slots.push(slot);
        }
        let ring = rest.0.to_vec();
        Ok(Self { store, slots, ring })
    }
}

impl Slot {
    fn head(&self) -> [u8; SLOT_HEAD] {
        let mut head = [0; SLOT_HEAD];
        let source = match self.source {
            Source::Passphrase => 1,
            Source::KeyFile => 2,
        };
        let parts: [&[u8]; 7] = [
            &self.number.to_be_bytes(),
            &[source, 0, 0, 0],
            &self.cost.memory.to_be_bytes(),
            &self.cost.passes.to_be_bytes(),
            &self.cost.lanes.to_be_bytes(),
            &self.created.to_be_bytes(),
            &self.salt,
        ];
        let bytes = parts.iter().flat_map(|part| part.iter());
        head.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        head
    }

    fn decode(rest: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            number: rest.number()?,
            source: match rest.take::<4>()? {
                [1, 0, 0, 0] => Source::Passphrase,
                [2, 0, 0, 0] => Source::KeyFile,
                _ => return None,
            },
            cost: Cost {
                memory: rest.number()?,
                passes: rest.number()?,
                lanes: rest.number()?,
            },
            created: u64::from_be_bytes(*rest.take()?),
            salt: *rest.take()?,
            sealed: *rest.take()?,
        })
    }
}

fn encode_ring(ring: &Ring, padding: Padding) -> Vec<u8> {
    let count = u32::try_from(ring.generations.len()).unwrap_or(u32::MAX);
    // All of it at once: what a vector grows out of is not overwritten.
    let mut out = Vec::with_capacity(40 + 36 * ring.generations.len());
    out.extend_from_slice(ring.address.bytes());
    out.extend_from_slice(&[padding.number(), 0, 0, 0]);
    out.extend_from_slice(&count.to_be_bytes());
    for (number, generation) in &ring.generations {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(generation.key.bytes());
    }
    out
}

fn decode_ring(bytes: &[u8], master: Key) -> Option<(Ring, Padding)> {
    let mut rest = Bytes(bytes);
    let address = Key::of(rest.take()?);
    let &[padding, 0, 0, 0] = rest.take::<4>()? else {
        return None;
    };
    let padding = Padding::from_number(padding)?;
    let count = rest.number()? as usize;
    if count == 0 || count > MOST_GENERATIONS {
        return None;
    }
    let mut generations = std::collections::BTreeMap::new();
    for _ in 0..count {
        generations.insert(rest.number()?, Generation::of(Key::of(rest.take()?)));
    }
    let ring = Ring {
        master: master.into(),
        address: address.into(),
        generations,
    };
    rest.0.is_empty().then_some((ring, padding))
}

/// Bytes that are read from the beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(|bytes| u32::from_be_bytes(*bytes))
    }
}
