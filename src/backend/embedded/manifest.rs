//! A check that the engine leaves out: that its manifest is the one it wrote.
//!
//! The manifest `vN` lists the tables; files that it does not list are removed when the tree is
//! opened, so a damaged one must not be believed. The file `current` names it and has its
//! checksum, which the engine (lsm-tree 3.1) writes but does not look at:
//!
//! ```text
//!  0             8                       24        25
//!  +-------------+-----------------------+---------+
//!  | N: u64 LE   | XXH3 of vN: u128 LE   | type: 0 |
//!  +-------------+-----------------------+---------+
//! ```

use std::fs;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::backend::{BackendError, Operation, Result};

/// Refuses the tree in `dir` unless its manifest is there and whole.
pub fn verify(dir: &Path) -> Result<()> {
    let current = dir.join("current");
    let content = read(&current)?;
    let Some((number, checksum)) = parse(&content) else {
        return Err(damage(&current, "it is not a manifest's name and checksum"));
    };
    let manifest = dir.join(format!("v{number}"));
    if xxh3_128(&read(&manifest)?) != checksum {
        return Err(damage(&manifest, "its checksum does not match"));
    }
    Ok(())
}

fn parse(content: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = content.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    (rest == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => damage(path, "it is missing"),
        _ => BackendError::io(Operation::Open, path.as_os_str().as_encoded_bytes(), source),
    })
}

fn damage(path: &Path, reason: &str) -> BackendError {
    BackendError::Damage {
        operation: Operation::Open,
        address: path.as_os_str().as_encoded_bytes().into(),
        reason: reason.to_owned(),
    }
}
