//! Addresses that say nothing, as drawn in the [module above](super).

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};

use super::key::Key;

/// The first byte of all encrypted addresses.
pub const ENCRYPTED: u8 = b'e';
const IV: usize = 16;
const BLOCK: usize = 16;

/// How long an encrypted address is.
pub const fn length(address: usize) -> usize {
    1 + IV + (address / BLOCK + 1) * BLOCK
}

/// The keys to addresses.
#[derive(Debug)]
pub struct AddressKeys {
    iv: Key,
    encryption: Key,
}

impl AddressKeys {
    pub fn of(key: &Key) -> Self {
        Self {
            iv: key.derive("konserve-fs 2026 synthetic IV of addresses"),
            encryption: key.derive("konserve-fs 2026 encryption of addresses"),
        }
    }

    fn synthetic_iv(&self, address: &[u8]) -> [u8; IV] {
        let hash = blake3::keyed_hash(self.iv.bytes(), address);
        let mut iv = [0; IV];
        iv.iter_mut()
            .zip(hash.as_bytes())
            .for_each(|(to, from)| *to = *from);
        iv
    }

    pub fn encrypt(&self, address: &[u8]) -> Vec<u8> {
        let iv = self.synthetic_iv(address);
        let mut out = Vec::with_capacity(length(address.len()));
        out.push(ENCRYPTED);
        out.extend_from_slice(&iv);
        let cipher = cbc::Encryptor::<Aes256>::new(self.encryption.bytes().into(), &iv.into());
        out.extend_from_slice(&cipher.encrypt_padded_vec_mut::<Pkcs7>(address));
        out
    }

    /// The address, if it was encrypted with these keys.
    pub fn decrypt(&self, encrypted: &[u8]) -> Option<Vec<u8>> {
        let (iv, body) = encrypted
            .strip_prefix(&[ENCRYPTED])?
            .split_first_chunk::<IV>()?;
        let cipher = cbc::Decryptor::<Aes256>::new(self.encryption.bytes().into(), iv.into());
        let address = cipher.decrypt_padded_vec_mut::<Pkcs7>(body).ok()?;
        (self.synthetic_iv(&address) == *iv).then_some(address)
    }
}
