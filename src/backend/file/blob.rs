//! The file of a blob.
//!
//! ```text
//!  0          8          12             14    16              24       40
//!  +----------+----------+--------------+-----+---------------+--------+---------+---------+
//!  | "KFSBLOB\0" | format | address len | 0   | content len   | check  | address | content |
//!  | 8 B      | u32: 1   | u16          | u16 | u64           | 16 B   |         |         |
//!  +----------+----------+--------------+-----+---------------+--------+---------+---------+
//! ```
//!
//! Numbers are little-endian. The check is the first 16 bytes of BLAKE3, keyed with a key derived
//! from the storage's UUID, over everything else: a file that was cut, swapped with another,
//! brought from another storage or changed is not taken for the blob.

use uuid::Uuid;

use crate::backend::{MAX_ADDRESS, MAX_BLOB};

const MAGIC: &[u8; 8] = b"KFSBLOB\0";
const FORMAT: u32 = 1;
/// Where the address begins.
const HEADER: usize = 40;
/// Where the check is.
const CHECK: std::ops::Range<usize> = 24..HEADER;

/// As long as a file needs to be read to know its address.
pub const LONGEST_HEAD: usize = HEADER + MAX_ADDRESS;
/// No file of a blob is longer.
pub const LONGEST: u64 = LONGEST_HEAD as u64 + MAX_BLOB;

/// Checks the files of one storage.
#[derive(Clone, Debug)]
pub struct Seal([u8; 32]);

impl Seal {
    pub fn new(id: Uuid) -> Self {
        Self(blake3::derive_key("kfs file storage: blob", id.as_bytes()))
    }

    /// What stands before the content of a blob.
    pub fn head(&self, address: &[u8], content: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEADER + address.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&FORMAT.to_le_bytes());
        // Longer ones were refused before they came here.
        let length = u16::try_from(address.len()).unwrap_or(u16::MAX);
        head.extend_from_slice(&length.to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        head.extend_from_slice(&(content.len() as u64).to_le_bytes());
        let check = self.check(&head, address, content);
        head.extend_from_slice(&check);
        head.extend_from_slice(address);
        head
    }

    /// The content of a file that must be that of the blob at `address`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(&self, address: &[u8], mut file: Vec<u8>) -> Result<Vec<u8>, String> {
        let found = address_in(&file)?;
        if found != address {
            return Err(format!(
                "it is the file of the blob {}",
                found.escape_ascii()
            ));
        }
        let (head, rest) = file.split_at_checked(HEADER).unwrap_or_default();
        let content = rest.get(address.len()..).unwrap_or_default();
        let field = |range: std::ops::Range<usize>| head.get(range).unwrap_or_default();
        let length = content.len() as u64;
        if field(16..24) != length.to_le_bytes() {
            return Err(format!(
                "its content is {length} bytes, which it is not to be"
            ));
        }
        if field(CHECK) != self.check(field(0..CHECK.start), address, content) {
            return Err("its checksum does not match".to_owned());
        }
        file.drain(..HEADER + address.len());
        Ok(file)
    }

    fn check(&self, fields: &[u8], address: &[u8], content: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(fields).update(address).update(content);
        let mut check = [0; 16];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

/// The address in the first bytes of a file.
///
/// # Errors
/// What is wrong with it.
pub fn address_in(file: &[u8]) -> Result<&[u8], String> {
    let short = || "it is too short".to_owned();
    let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(short)?;
    if magic != MAGIC {
        return Err("it does not begin as the file of a blob".to_owned());
    }
    let (format, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let format = u32::from_le_bytes(*format);
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, and this kfs knows {FORMAT} only; a newer kfs may know it"
        ));
    }
    let (length, _) = rest.split_first_chunk().ok_or_else(short)?;
    let length = usize::from(u16::from_le_bytes(*length));
    file.get(HEADER..HEADER + length).ok_or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_that_was_written_is_opened() {
        let seal = Seal::new(Uuid::from_u128(1));
        let file = [seal.head(b"address", b"content"), b"content".to_vec()].concat();
        assert_eq!(seal.open(b"address", file.clone()).unwrap(), b"content");
        assert_eq!(&file[..16], b"KFSBLOB\0\x01\0\0\0\x07\0\0\0");
        assert!(
            seal.open(b"another", file.clone())
                .unwrap_err()
                .contains("blob address")
        );
        assert!(
            Seal::new(Uuid::from_u128(2))
                .open(b"address", file.clone())
                .is_err()
        );
        for length in 0..file.len() {
            assert!(seal.open(b"address", file[..length].to_vec()).is_err());
        }
        let longer = [&file[..], b"x"].concat();
        assert!(seal.open(b"address", longer).is_err());
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                assert!(seal.open(b"address", changed).is_err(), "byte {at}");
            }
        }
        let mut newer = file;
        newer[8] = 2;
        assert!(
            seal.open(b"address", newer)
                .unwrap_err()
                .contains("newer kfs")
        );
    }
}
