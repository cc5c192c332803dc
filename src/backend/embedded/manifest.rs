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

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::archive;
use super::leftovers::{BLOBS, TABLES};
use crate::backend::{BackendError, Operation, Result};

/// The file that names the manifest that counts.
pub const CURRENT: &str = "current";

/// What a manifest says: the files that belong to the tree, by number, with the XXH3 of each.
///
/// ```text
/// section "tables":     levels u8 | per level: runs u8 | per run: tables u32 LE |
///                       per table: number u64 LE | 0 | XXH3 u128 LE | sequence offset u64 LE
/// section "blob_files": files u32 LE | per file: number u64 LE | 0 | XXH3 u128 LE
/// ```
#[derive(Debug, Default)]
pub struct Manifest {
    /// Sorted tables: checksum, and what is added to the sequence numbers in it.
    pub tables: BTreeMap<u64, (u128, u64)>,
    /// Files of large blobs.
    pub blobs: BTreeMap<u64, u128>,
}

/// Reads the manifest that counts.
pub fn read_current(dir: &Path) -> Result<Manifest> {
    parse(&verify(dir)?)
}

/// Refuses the tree in `dir` unless its manifest and the table of contents of each file that it
/// lists are whole. Gives where the manifest is.
pub fn verify_all(dir: &Path) -> Result<(PathBuf, Manifest)> {
    let path = verify(dir)?;
    let manifest = parse(&path)?;
    let tables = manifest.tables.keys().map(|number| (TABLES, number));
    let blobs = manifest.blobs.keys().map(|number| (BLOBS, number));
    for (kind, number) in tables.chain(blobs) {
        let file = dir.join(kind).join(number.to_string());
        archive::verify(&file).map_err(|error| failed(&file, error))?;
    }
    Ok((path, manifest))
}

/// Reads the one at `path`, which has been verified.
fn parse(path: &Path) -> Result<Manifest> {
    parse_manifest(path).map_err(|error| damage(path, &error.to_string()))
}

/// Reads the one at `path`, whatever `current` says.
pub fn parse_manifest(path: &Path) -> Result<Manifest, sfa::Error> {
    archive::verify(path)?;
    let archive = sfa::Reader::new(path)?;
    let section = |name: &[u8]| {
        let section = archive.toc().section(name);
        let missing = || std::io::Error::from(ErrorKind::InvalidData);
        section.ok_or_else(missing)?.buf_reader(path)
    };
    let mut manifest = Manifest::default();
    let mut tables = section(b"tables")?;
    for _level in 0..u8::from_le_bytes(take(&mut tables)?) {
        for _run in 0..u8::from_le_bytes(take(&mut tables)?) {
            for _table in 0..u32::from_le_bytes(take(&mut tables)?) {
                let (number, checksum) = numbered(&mut tables)?;
                let offset = u64::from_le_bytes(take(&mut tables)?);
                manifest.tables.insert(number, (checksum, offset));
            }
        }
    }
    let mut blobs = section(b"blob_files")?;
    for _file in 0..u32::from_le_bytes(take(&mut blobs)?) {
        let (number, checksum) = numbered(&mut blobs)?;
        manifest.blobs.insert(number, checksum);
    }
    Ok(manifest)
}

fn numbered(from: &mut impl Read) -> std::io::Result<(u64, u128)> {
    let number = u64::from_le_bytes(take(from)?);
    let [_kind] = take(from)?;
    Ok((number, u128::from_le_bytes(take(from)?)))
}

fn take<const N: usize>(from: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Refuses the tree in `dir` unless its manifest is there and whole. Gives where it is.
pub fn verify(dir: &Path) -> Result<PathBuf> {
    let current = dir.join(CURRENT);
    let content = read(&current)?;
    let Some((number, checksum)) = parse_current(&content) else {
        return Err(damage(&current, "it is not a manifest's name and checksum"));
    };
    let manifest = dir.join(format!("v{number}"));
    if xxh3_128(&read(&manifest)?) != checksum {
        return Err(damage(&manifest, "its checksum does not match"));
    }
    Ok(manifest)
}

fn parse_current(content: &[u8]) -> Option<(u64, u128)> {
    let (number, rest) = content.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    (rest == [0]).then(|| (u64::from_le_bytes(*number), u128::from_le_bytes(*checksum)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: std::io::Error) -> BackendError {
    match source.kind() {
        ErrorKind::NotFound => damage(path, "it is missing"),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => damage(path, &source.to_string()),
        _ => BackendError::io(Operation::Open, path.as_os_str().as_encoded_bytes(), source),
    }
}

fn damage(path: &Path, reason: &str) -> BackendError {
    BackendError::Damage {
        operation: Operation::Open,
        address: path.as_os_str().as_encoded_bytes().into(),
        reason: reason.to_owned(),
    }
}
