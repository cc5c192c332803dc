//! Reading and changing the bytes of a text or byte string.
//!
//! # Why chunks of one size
//!
//! Boundaries that depend on the content (FastCDC, 16 to 256 KiB, 64 KiB on average) were measured
//! against multiples of 64 KiB. What a second version adds that the first has not:
//!
//! | versions | size | fixed | by content |
//! |---|---|---|---|
//! | a tar of sources, with one file added in front and three changed | 8 MB | 88.5 % | 2.7 % |
//! | a text, with a line added in front | 7 MB | 100 % | 0.9 % |
//! | an SQLite database, with 100 of 120 000 rows changed | 20 MB | 28.9 % | 30.9 % |
//! | one random write of 4 KiB, bytes written | any | 64 KiB | 67 to 77 KiB, and what follows when a boundary goes |
//!
//! By content is better by far for archives and texts that are inserted into. But finding the
//! boundaries of 64 KiB takes 40 µs, and hashing them 14; a chunk is found by its index only while
//! all are alike, else a write moves the keys of all that follow; a copied range shares nothing
//! unless boundaries fall together; and a write would be held back until its chunk's end is known.
//! A mount is written to in place far more often than versions of an archive are kept beside each
//! other, so chunks have one size.
//!
//! # Why 32 KiB
//!
//! A write of 4 KiB costs a chunk, a long file costs something per chunk. CPU µs of client and daemon,
//! medians of 2 rounds side by side (`scripts/bench.sh 2 large`):
//!
//! | | 64 KiB | 32 KiB | 16 KiB |
//! |---|---|---|---|
//! | random write of 4 KiB, fsync at the end | 92 | 66 | 38 |
//! | random read of 4 KiB, cold | 21 | 16 | 16 |
//! | sequential write of 1 MiB, incompressible | 1721 | 1888 | 2035 |
//! | the same, compressible | 2507 | 2711 | 3129 |
//! | sequential read of 1 MiB, cold | 700 | 708 | 772 |

use std::sync::Arc;

use super::entry::{CHUNK, Content, Entry, Node};
use super::error::TreeError;
use super::pager::Pager;
use crate::value::Key;

/// Contents above this are never brought into memory whole.
pub const MAX_WHOLE: u64 = 1 << 32;

/// The whole content.
pub fn read_all(content: &Content, pager: &Pager) -> Result<Vec<u8>, TreeError> {
    if content.len() > MAX_WHOLE {
        return Err(TreeError::malformed(
            "a content",
            format!("{} bytes are too many to hold in memory", content.len()),
        ));
    }
    let len = usize::try_from(content.len()).unwrap_or(usize::MAX);
    read(content, 0, len, pager)
}

/// Up to `len` bytes from `offset`; fewer only at the end.
pub fn read(
    content: &Content,
    offset: u64,
    len: usize,
    pager: &Pager,
) -> Result<Vec<u8>, TreeError> {
    let end = offset.saturating_add(len as u64).min(content.len());
    if offset >= end {
        return Ok(Vec::new());
    }
    let slice = |b: &[u8]| -> Vec<u8> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = usize::try_from(end).unwrap_or(usize::MAX);
        b.get(from..to).unwrap_or_default().to_vec()
    };
    match content {
        Content::Inline(b) => Ok(slice(b)),
        Content::Page(p) => Ok(slice(&pager.blob(p)?)),
        Content::Chunked(_) => {
            let mut out = Vec::with_capacity(usize::try_from(end - offset).unwrap_or(0));
            let mut at = offset;
            while at < end {
                let index = at / CHUNK as u64;
                let from = usize::try_from(at % CHUNK as u64).unwrap_or(0);
                let to = CHUNK.min(from + usize::try_from(end - at).unwrap_or(CHUNK));
                let bytes = chunk(content, index, pager)?;
                let have = bytes
                    .as_deref()
                    .and_then(|b| b.get(from..to.min(b.len())))
                    .unwrap_or_default();
                out.extend_from_slice(have);
                // What a chunk lacks is zeros.
                out.resize(out.len() + (to - from - have.len()), 0);
                at += (to - from) as u64;
            }
            Ok(out)
        }
    }
}

/// The bytes of one chunk; `None` for a hole. A chunk may be shorter than [`CHUNK`].
pub fn chunk(content: &Content, index: u64, pager: &Pager) -> Result<Option<Arc<[u8]>>, TreeError> {
    match content {
        Content::Inline(b) if index == 0 => Ok(Some(Arc::clone(b))),
        Content::Page(p) if index == 0 => pager.blob(p).map(Some),
        Content::Inline(_) | Content::Page(_) => Ok(None),
        Content::Chunked(c) => match c.chunks.get(&Key::index(index), pager)? {
            Some(Entry {
                node: Node::Bytes(Content::Inline(b)),
                ..
            }) => Ok(Some(b)),
            Some(Entry {
                node: Node::Bytes(Content::Page(p)),
                ..
            }) => pager.blob(&p).map(Some),
            Some(_) => Err(TreeError::malformed(
                "a long content",
                "a chunk that is no bytes",
            )),
            None => Ok(None),
        },
    }
}
