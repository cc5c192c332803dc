//! The number of a write or record, as it stands in a file of its own.
//!
//! ```text
//!  0       4          8         16                 32
//!  +-------+----------+---------+------------------+
//!  | magic | format   | number  | BLAKE3 of the 16 |
//!  |       | u32: 1   | u64     | bytes before     |
//!  +-------+----------+---------+------------------+
//! ```
//!
//! Numbers are little-endian. The magic says which file it is.

const FORMAT: u32 = 1;

/// Why a file that [`decode`] does not take is damaged.
pub const OTHER: &str = "it is not what this kfs writes: it was changed, or a newer kfs wrote it";

pub fn encode(magic: [u8; 4], number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let check = blake3::hash(&bytes);
    bytes.extend(check.as_bytes().iter().take(16));
    bytes
}

/// The number; `None` if it is not exactly what is written.
pub fn decode(magic: [u8; 4], bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (encode(magic, number) == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let magic = *b"KFSA";
        let bytes = encode(magic, 7);
        assert_eq!(decode(magic, &bytes), Some(7));
        assert_eq!(decode(*b"KFSB", &bytes), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode(magic, &changed), None);
            assert_eq!(decode(magic, &bytes[..at]), None);
        }
    }
}
