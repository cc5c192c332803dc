//! The file `synced`: up to which of RocksDB's writes everything was made durable.
//! It is as drawn in `number`, with the magic `KFSR`. It is written over in one place of one sector, after the fact and
//! without a sync: after a power loss it may speak of an earlier sync, never of one that was not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::backend::replace::replace;
use crate::backend::{Access, BackendError, Operation, Result, number};

const NAME: &str = "synced";
const MAGIC: [u8; 4] = *b"KFSR";

/// The open file; none where nothing is written.
#[derive(Debug)]
pub struct Synced(Option<File>);

impl Synced {
    pub fn create(dir: &Path) -> Result<()> {
        replace(dir, NAME, &number::encode(MAGIC, 0))
            .map_err(|error| failed(Operation::Create, dir, error))
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
        let write = number::decode(MAGIC, &content).ok_or_else(|| damage(number::OTHER))?;
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
        file.write_all_at(&number::encode(MAGIC, write), 0)
            .map_err(|error| failed(Operation::Sync, Path::new(NAME), error))
    }
}

fn failed(operation: Operation, path: &Path, error: io::Error) -> BackendError {
    BackendError::io(operation, path.as_os_str().as_encoded_bytes(), error)
}
