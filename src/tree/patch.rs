//! Writing into a content: what the journal records of a file of any length of which little changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{chunk, read_all};
use super::entry::Attrs;
use super::entry::{CHUNK, Chunked, Content, Entry, Node};
use super::error::TreeError;
use super::map::{Body, Link, Map};
use super::page::{read_attrs, write_attrs};
use super::pager::Pager;
use crate::value::Key;
use crate::value::cbor::{Reader, Writer};

/// Bytes written into an entry's text or byte string, which is no shorter afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The content's length afterwards. What is written nowhere is zeros.
    pub len: u64,
    /// Offsets and what was written there, in this order.
    pub pieces: Vec<(u64, Arc<[u8]>)>,
    /// The entry's attributes afterwards.
    pub attrs: Attrs,
}

impl Patch {
    /// Bytes of memory that the chunks take which it changes, at most.
    pub fn weight(&self) -> usize {
        let pieces = self.pieces.iter();
        pieces
            .map(|(_, bytes)| (bytes.len() / CHUNK + 2) * CHUNK)
            .sum()
    }

    /// Does it to an entry.
    ///
    /// # Errors
    /// The entry has no such content; damage where the old bytes are needed.
    pub fn apply(&self, entry: &mut Entry, pager: &Pager) -> Result<(), TreeError> {
        let (Node::Text(content) | Node::Bytes(content)) = &mut entry.node else {
            return Err(TreeError::malformed("a write", "it is to no content"));
        };
        if content.len() > self.len {
            return Err(TreeError::malformed("a write", "the content is longer"));
        }
        *content = self.content(content, pager)?;
        entry.set_attrs(self.attrs.clone());
        Ok(())
    }

    fn content(&self, base: &Content, pager: &Pager) -> Result<Content, TreeError> {
        let fail = || TreeError::malformed("a write", "it goes beyond the content's end");
        if self.len <= CHUNK as u64 {
            let mut bytes = read_all(base, pager)?;
            bytes.resize(usize::try_from(self.len).unwrap_or(CHUNK), 0);
            for (offset, piece) in &self.pieces {
                let from = usize::try_from(*offset).map_err(|_| fail())?;
                let place = bytes.get_mut(from..from.saturating_add(piece.len()));
                place.ok_or_else(fail)?.copy_from_slice(piece);
            }
            return Ok(Content::Inline(Arc::from(bytes)));
        }
        let mut chunks = match base {
            Content::Chunked(c) => c.chunks.clone(),
            Content::Inline(b) if b.is_empty() => Map::new(),
            Content::Inline(_) | Content::Page(_) => {
                let first = Entry::plain(Node::Bytes(base.clone()));
                Map::from_sorted(vec![(Key::index(0), first)])
            }
        };
        for (index, bytes) in self.chunks(base, pager)? {
            let entry = Entry::plain(Node::Bytes(Content::Inline(Arc::from(bytes))));
            chunks.insert(&Key::index(index), entry, pager)?;
        }
        Ok(Content::Chunked(Arc::new(Chunked {
            len: self.len,
            chunks,
        })))
    }

    /// The chunks of a long content that it changes.
    fn chunks(&self, base: &Content, pager: &Pager) -> Result<BTreeMap<u64, Vec<u8>>, TreeError> {
        let mut chunks: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (offset, piece) in &self.pieces {
            let (mut at, mut rest) = (*offset, &piece[..]);
            if at.saturating_add(rest.len() as u64) > self.len {
                let reason = "it goes beyond the content's end";
                return Err(TreeError::malformed("a write", reason));
            }
            while !rest.is_empty() {
                let index = at / CHUNK as u64;
                let from = usize::try_from(at % CHUNK as u64).unwrap_or(0);
                let (now, later) = rest.split_at(rest.len().min(CHUNK - from));
                let bytes = match chunks.entry(index) {
                    std::collections::btree_map::Entry::Occupied(o) => o.into_mut(),
                    std::collections::btree_map::Entry::Vacant(v) => {
                        let before = if now.len() == CHUNK {
                            None
                        } else {
                            chunk(base, index, pager)?
                        };
                        v.insert(before.map_or_else(Vec::new, |before| before.to_vec()))
                    }
                };
                let to = from + now.len();
                bytes.resize(bytes.len().max(to), 0);
                if let Some(place) = bytes.get_mut(from..to) {
                    place.copy_from_slice(now);
                }
                at += now.len() as u64;
                rest = later;
            }
        }
        Ok(chunks)
    }

    /// `[length, [offset, bytes, …], attrs]`
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.array(3);
        w.uint(self.len);
        w.array(self.pieces.len() * 2);
        for (offset, bytes) in &self.pieces {
            w.uint(*offset);
            w.bytes(bytes);
        }
        write_attrs(w, &self.attrs);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, TreeError> {
        if r.array()? != 3 {
            return Err(TreeError::malformed("a write", "not three fields"));
        }
        let len = r.uint()?;
        let fields = r.array()?;
        let mut pieces = Vec::with_capacity((fields / 2).min(1024));
        for _ in 0..fields / 2 {
            pieces.push((r.uint()?, Arc::from(r.bytes()?)));
        }
        let attrs = read_attrs(r)?;
        Ok(Self { len, pieces, attrs })
    }
}

/// Whether two contents are the same bytes, as far as that shows without reading them: false may
/// also mean that it is not known.
pub fn same(a: &Content, b: &Content, pager: &Pager) -> bool {
    match (a, b) {
        (Content::Inline(a), Content::Inline(b)) => a == b,
        (Content::Page(a), Content::Page(b)) => a.addr == b.addr,
        (Content::Inline(bytes), Content::Page(page))
        | (Content::Page(page), Content::Inline(bytes)) => {
            page.len == bytes.len() as u64 && pager.address(bytes) == page.addr
        }
        (Content::Chunked(a), Content::Chunked(b)) => {
            Arc::ptr_eq(a, b) || (a.len == b.len && same_map(&a.chunks, &b.chunks, pager))
        }
        _ => false,
    }
}

/// A fold puts the runs of a long content into pages, and the chunks where there are few.
fn same_map(a: &Map, b: &Map, pager: &Pager) -> bool {
    if a.is(b) {
        return true;
    }
    let (Link::Mem(a), Link::Mem(b)) = (&a.0, &b.0) else {
        return false;
    };
    let (Body::Leaf(a), Body::Leaf(b)) = (&a.body, &b.body) else {
        return false;
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|((a_key, a), (b_key, b))| {
            a_key == b_key
                && match (&a.node, &b.node) {
                    (Node::Bytes(a), Node::Bytes(b)) => same(a, b, pager),
                    _ => false,
                }
        })
}
