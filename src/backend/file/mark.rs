//! The file `applied`: up to which record of the log everything is in files.
//!
//! ```text
//!  0       4          8         16                 32
//!  +-------+----------+---------+------------------+
//!  | "KFSA"| format   | record  | BLAKE3 of the 16 |
//!  |       | u32: 1   | u64     | bytes before     |
//!  +-------+----------+---------+------------------+
//! ```
//!
//! Numbers are little-endian. A storage that has never put anything into files has none.

use std::fs;
use std::io;
use std::path::Path;

use crate::backend::replace::replace;
use crate::backend::{BackendError, Operation, Result};

/// Its name in the storage's directory.
pub const NAME: &str = "applied";
const MAGIC: &[u8; 4] = b"KFSA";
const FORMAT: u32 = 1;

/// Writes it, durably.
pub fn write(root: &Path, record: u64) -> Result<()> {
    let path = root.join(NAME);
    replace(root, NAME, &encode(record))
        .map_err(|e| BackendError::io(Operation::Sync, path.as_os_str().as_encoded_bytes(), e))
}

/// Reads it; 0 if there is none.
pub fn read(root: &Path) -> Result<u64> {
    let path = root.join(NAME);
    let address = path.as_os_str().as_encoded_bytes();
    let content = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|e| BackendError::io(Operation::Open, address, e))?,
    };
    decode(&content).ok_or_else(|| BackendError::Damage {
        operation: Operation::Open,
        address: address.into(),
        reason: "it is not what this kfs writes: it was changed, or a newer kfs wrote it"
            .to_owned(),
    })
}

fn encode(record: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&record.to_le_bytes());
    let check = blake3::hash(&bytes);
    bytes.extend(check.as_bytes().iter().take(16));
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let record = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (encode(record) == bytes).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let bytes = encode(7);
        assert_eq!(decode(&bytes), Some(7));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(decode(&changed), None);
            assert_eq!(decode(&bytes[..at]), None);
        }
    }
}
