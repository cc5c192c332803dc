//! The file `applied`: up to which record of the log everything is where it belongs.
//! It is as drawn in `number`, with the magic `KFSA`. A log of which nothing has been put there yet has
//! none.

use std::io;
use std::path::Path;

use crate::backend::replace::replace;
use crate::backend::{BackendError, Operation, Result, number};
use crate::journal::regular;

/// Its name, beside the log's directory.
pub const NAME: &str = "applied";
const MAGIC: [u8; 4] = *b"KFSA";
/// It is shorter.
const LONGEST: u64 = 1024;

/// Writes it, durably.
pub fn write(root: &Path, record: u64) -> Result<()> {
    let path = root.join(NAME);
    replace(root, NAME, &number::encode(MAGIC, record))
        .map_err(|e| BackendError::io(Operation::Sync, path.as_os_str().as_encoded_bytes(), e))
}

/// Reads it; 0 if there is none.
pub fn read(root: &Path) -> Result<u64> {
    let path = root.join(NAME);
    let address = path.as_os_str().as_encoded_bytes();
    let content = match regular::read(&path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|e| BackendError::io(Operation::Open, address, e))?,
    };
    number::decode(MAGIC, &content).ok_or_else(|| BackendError::Damage {
        operation: Operation::Open,
        address: address.into(),
        reason: number::OTHER.to_owned(),
    })
}
