//! A check that the engine leaves out: that an archive's table of contents is the one it wrote.
//!
//! Tables, files of blobs and manifests are archives of sections (format sfa 1). What reads them
//! takes memory for as many entries as the table of contents says it has, and compares its
//! checksum afterwards, so one flipped bit asks for 80 GiB and ends the process. An archive ends
//! with:
//!
//! ```text
//!  at position
//!  +--------+-----------------+----------------------------------------------------+
//!  | "TOC!" | entries: u32 LE | per entry: offset u64 LE | length u64 LE |          |
//!  |        |                 |            length of name u16 LE | name              |
//!  +--------+---+---+---------+---------------+-----------------+------------------+
//!  | "SFA!" | 1 | 0 | XXH3 of the above: u128 | position u64 LE | its length u64 LE |
//!  |        |   |   | LE                      |                 |                   |
//!  +--------+---+---+-------------------------+-----------------+------------------+
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8] = b"SFA!\x01\x00";
const TRAILER: u64 = 38;
/// A table of contents has a dozen entries; one longer than this is none.
const MOST: u64 = 1 << 20;

/// Refuses the archive at `path` unless its table of contents is whole.
pub fn verify(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut trailer = [0; TRAILER as usize];
    let end = length
        .checked_sub(TRAILER)
        .ok_or_else(|| damage("it is cut off"))?;
    file.read_exact_at(&mut trailer, end)?;
    let (checksum, position) =
        parse(&trailer).ok_or_else(|| damage("its last bytes are not those of an archive"))?;
    let size = end.checked_sub(position).filter(|size| *size <= MOST);
    let size = size.ok_or_else(|| damage("its table of contents is not where it should be"))?;
    let mut contents = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut contents, position)?;
    if xxh3_128(&contents) != checksum {
        return Err(damage(
            "the checksum of its table of contents does not match",
        ));
    }
    Ok(())
}

fn parse(trailer: &[u8]) -> Option<(u128, u64)> {
    let rest = trailer.strip_prefix(MAGIC)?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (position, _length) = rest.split_first_chunk()?;
    Some((
        u128::from_le_bytes(*checksum),
        u64::from_le_bytes(*position),
    ))
}

fn damage(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
