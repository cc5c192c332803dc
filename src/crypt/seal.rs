//! Sealing bytes and opening them again, as drawn in the [module above](super).

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::CryptError;
use super::key::Key;

const VERSION: u8 = 3;
/// AES-256-CBC, then keyed BLAKE3.
const ENCRYPTOR: u8 = 1;
const HEADER: usize = 8;
const SALT: usize = 16;
const LENGTH: usize = 4;
const BLOCK: usize = 16;
const MAC: usize = 32;

/// By how many bytes what is sealed is longer than its content at most, without padding.
pub const LONGER: usize = HEADER + SALT + LENGTH + BLOCK + MAC;

/// Above this many bytes nothing is padded: there is room for no more.
const LONGEST_PADDED: usize = 16 << 20;

/// How many bytes are added to a content, so that its length says less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Padding {
    /// Those that the cipher needs, up to 16.
    #[default]
    None,
    /// Up to the next length of [Padmé](https://lbarman.ch/blog/padme/), at most 12 % more: of all
    /// lengths up to n, about log log n bits can still be told apart. Contents above 16 MiB have none.
    Padme,
}

impl Padding {
    /// Its number in a store's slots.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Padme => 1,
        }
    }

    /// The one that has a number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Padme),
            _ => None,
        }
    }

    fn padded(self, length: usize) -> usize {
        if self == Self::None || !(2..=LONGEST_PADDED).contains(&length) {
            return length;
        }
        let exponent = length.ilog2();
        let kept = exponent.ilog2() + 1;
        let mask = (1_usize << exponent.saturating_sub(kept)) - 1;
        (length + mask) & !mask
    }
}

/// The keys to what is sealed under one key.
#[derive(Debug)]
pub struct Keys {
    encryption: Key,
    authentication: Key,
}

impl Keys {
    pub fn of(key: &Key) -> Self {
        Self {
            encryption: key.derive("konserve-fs 2026 encryption of content"),
            authentication: key.derive("konserve-fs 2026 authentication of content"),
        }
    }

    /// The AES key and the IV of what has a salt.
    fn of_salt(&self, salt: &[u8; SALT]) -> Zeroizing<([u8; 32], [u8; BLOCK])> {
        let mut hasher = blake3::Hasher::new_keyed(self.encryption.bytes());
        hasher.update(salt);
        let mut output = hasher.finalize_xof();
        let mut keys = Zeroizing::new(([0; 32], [0; BLOCK]));
        output.fill(&mut keys.0);
        output.fill(&mut keys.1);
        output.zeroize();
        hasher.zeroize();
        keys
    }

    fn mac(&self, what: &What<'_>, sealed: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.authentication.bytes());
        let length = u32::try_from(what.name.len()).unwrap_or(u32::MAX);
        hasher.update(&[what.kind as u8]);
        hasher.update(what.store.as_bytes());
        hasher.update(&length.to_be_bytes());
        hasher.update(what.name);
        hasher.update(sealed);
        let mac = hasher.finalize();
        hasher.zeroize();
        mac
    }
}

/// What kind of thing is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blob = 1,
    Record = 2,
    Slot = 3,
    Ring = 4,
}

/// What is sealed: of which kind and store, and what it is called there.
#[derive(Clone, Copy, Debug)]
pub struct What<'a> {
    pub kind: Kind,
    pub store: Uuid,
    pub name: &'a [u8],
}

/// Seals `content`.
pub fn seal(
    keys: &Keys,
    what: &What<'_>,
    generation: u32,
    padding: Padding,
    content: &[u8],
) -> Result<Vec<u8>, CryptError> {
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(CryptError::Random)?;
    seal_salted(keys, what, generation, padding, content, &salt)
}

/// Seals `content` with a salt, which must never be used again.
pub fn seal_salted(
    keys: &Keys,
    what: &What<'_>,
    generation: u32,
    padding: Padding,
    content: &[u8],
    salt: &[u8; SALT],
) -> Result<Vec<u8>, CryptError> {
    let size = content.len();
    let too_large = || CryptError::TooLarge { size };
    let length = u32::try_from(size).map_err(|_| too_large())?;
    let plain = padding.padded(size.checked_add(LENGTH).ok_or_else(too_large)?);
    let encrypted = (plain / BLOCK + 1) * BLOCK;

    let mut sealed = Vec::with_capacity(HEADER + SALT + encrypted + MAC);
    sealed.extend_from_slice(&[VERSION, 0, 0, ENCRYPTOR]);
    sealed.extend_from_slice(&generation.to_be_bytes());
    sealed.extend_from_slice(salt);
    sealed.extend_from_slice(content);
    sealed.resize(HEADER + SALT + plain - LENGTH, 0);
    sealed.extend_from_slice(&length.to_be_bytes());
    sealed.resize(HEADER + SALT + encrypted, 0);

    let of_salt = keys.of_salt(salt);
    let cipher = cbc::Encryptor::<Aes256>::new(&of_salt.0.into(), &of_salt.1.into());
    let (_, body) = sealed.split_at_mut(HEADER + SALT);
    cipher
        .encrypt_padded_mut::<Pkcs7>(body, plain)
        .map_err(|_| too_large())?;
    let mac = keys.mac(what, &sealed);
    sealed.extend_from_slice(mac.as_bytes());
    Ok(sealed)
}

/// The generation of the key that something claims to be sealed with.
pub fn generation(sealed: &[u8]) -> Result<u32, CryptError> {
    match sealed.split_first_chunk::<HEADER>() {
        Some((&[VERSION, 0, 0, ENCRYPTOR, a, b, c, d], _)) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(CryptError::Authentication),
    }
}

/// The MAC of something sealed, which is not looked at.
pub fn mac(sealed: &[u8]) -> Option<&[u8; MAC]> {
    sealed.last_chunk()
}

/// The content of something sealed.
pub fn open(keys: &Keys, what: &What<'_>, sealed: &[u8]) -> Result<Vec<u8>, CryptError> {
    let refused = || CryptError::Authentication;
    generation(sealed)?;
    let (covered, mac) = sealed.split_last_chunk::<MAC>().ok_or_else(refused)?;
    // Equality of these takes the same time whatever they are.
    if keys.mac(what, covered) != blake3::Hash::from_bytes(*mac) {
        return Err(refused());
    }
    let (_, rest) = covered.split_first_chunk::<HEADER>().ok_or_else(refused)?;
    let (salt, body) = rest.split_first_chunk::<SALT>().ok_or_else(refused)?;
    let of_salt = keys.of_salt(salt);
    let cipher = cbc::Decryptor::<Aes256>::new(&of_salt.0.into(), &of_salt.1.into());
    let mut content = vec![0; body.len()];
    let plain = cipher
        .decrypt_padded_b2b_mut::<Pkcs7>(body, &mut content)
        .map_err(|_| refused())?;
    let (padded, length) = plain.split_last_chunk::<LENGTH>().ok_or_else(refused)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| refused())?;
    if length > padded.len() {
        return Err(refused());
    }
    content.truncate(length);
    Ok(content)
}
