//! What the library is given to keep for a blob.
//!
//! ```text
//!  0         n         n + 16
//!  +---------+---------+
//!  | content | check   |
//!  +---------+---------+
//! ```
//!
//! The check is the first 16 bytes of BLAKE3, keyed with a key derived from the storage's UUID,
//! over the length of the address (u16, little-endian), the address and the content: what was
//! changed, swapped with another blob or brought from another storage is not taken for the blob.

use uuid::Uuid;

/// Bytes behind the content.
const CHECK: usize = 16;

/// Checks the blobs of one storage.
#[derive(Clone, Debug)]
pub struct Seal([u8; 32]);

impl Seal {
    pub fn new(id: Uuid) -> Self {
        Self(blake3::derive_key(
            "kfs library storage: blob",
            id.as_bytes(),
        ))
    }

    pub fn close(&self, address: &[u8], content: &[u8]) -> Vec<u8> {
        let check = self.check(address, content);
        [content, &check].concat()
    }

    /// The content; `None` if it is not what was given for `address`.
    pub fn open(&self, address: &[u8], mut kept: Vec<u8>) -> Option<Vec<u8>> {
        let (content, check) = kept.split_last_chunk::<CHECK>()?;
        if *check != self.check(address, content) {
            return None;
        }
        kept.truncate(kept.len() - CHECK);
        Some(kept)
    }

    fn check(&self, address: &[u8], content: &[u8]) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // Longer ones were refused before they came here.
        let length = u16::try_from(address.len()).unwrap_or(u16::MAX);
        hasher.update(&length.to_le_bytes());
        hasher.update(address);
        hasher.update(content);
        let mut check = [0; CHECK];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_for_the_address_is_opened() {
        let seal = Seal::new(Uuid::from_u128(1));
        let kept = seal.close(b"ab", b"content");
        assert_eq!(seal.open(b"ab", kept.clone()).unwrap(), b"content");
        assert_eq!(seal.open(b"ac", kept.clone()), None);
        assert_eq!(
            Seal::new(Uuid::from_u128(2)).open(b"ab", kept.clone()),
            None
        );
        for at in 0..kept.len() {
            let mut changed = kept.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(b"ab", changed), None);
            assert_eq!(seal.open(b"ab", kept[..at].to_vec()), None);
        }
        // The boundary between address and content counts.
        assert_eq!(seal.open(b"a", seal.close(b"ab", b"c")), None);
        assert_ne!(seal.close(b"a", b"bc")[2..], seal.close(b"ab", b"c")[1..]);
    }
}
