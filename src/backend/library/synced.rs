//! The file `synced`: up to which of RocksDB's writes everything was made durable.
//!
//! ```text
//!  0       4          8         16                 32
//!  +-------+----------+---------+------------------+
//!  | "KFSR"| format   | write   | BLAKE3 of the 16 |
//!  |       | u32: 1   | u64     | bytes before     |
//!  +-------+----------+---------+------------------+
//! ```
//!
//! Numbers are little-endian. It is written over in one place of one sector, after the fact and
//! without a sync: after a power loss it may speak of an earlier sync, never of one that was not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::backend::replace::replace;
use crate::backend::{Access, BackendError, Operation, Result};

const NAME: &str = "synced";
const MAGIC: &[u8; 4] = b"KFSR";
const FORMAT: u32 = 1;

/// The open file; none where nothing is written.
#[derive(Debug)]
pub struct Synced(Option<File>);

impl Synced {
    pub fn create(dir: &Path) -> Result<()> {
        replace(dir, NAME, &encode(0)).map_err(|error| failed(Operation::Create, dir, error))
    }

    /// The file, and what it says.
    pub fn open(dir: &Path, access: Access) -> Result<(Self, u64)> {
        let path = dir.join(NAME);
        let damage = |reason: &str| BackendError::Damage {
            operation: Operation::Open,
            address: path.as_os_str().as_encoded_bytes().into(),
            reason: reason.to_owned(),
        };
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damage("it is missing"));
            }
            read => read.map_err(|error| failed(Operation::Open, &path, error))?,
        };
        let write = decode(&content).ok_or_else(|| {
            damage("it is not what this kfs writes: it was changed, or a newer kfs wrote it")
        })?;
        let file = match access {
            Access::Read => None,
            Access::ReadWrite => {
                let opened = OpenOptions::new().write(true).open(&path);
                Some(opened.map_err(|error| failed(Operation::Open, &path, error))?)
            }
        };
        Ok((Self(file), write))
    }

    /// Everything up to `write` is durable.
    pub fn note(&self, write: u64) -> Result<()> {
        let Some(file) = &self.0 else {
            return Ok(());
        };
        file.write_all_at(&encode(write), 0)
            .map_err(|error| failed(Operation::Sync, Path::new(NAME), error))
    }
}

fn failed(operation: Operation, path: &Path, error: io::Error) -> BackendError {
    BackendError::io(operation, path.as_os_str().as_encoded_bytes(), error)
}

fn encode(write: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&write.to_le_bytes());
    let check = blake3::hash(&bytes);
    bytes.extend(check.as_bytes().iter().take(16));
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let write = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (encode(write) == bytes).then_some(write)
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
