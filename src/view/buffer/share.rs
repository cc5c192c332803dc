//! Copying chunks by reference: the copy names the same page.

use std::sync::Arc;

use super::{Buffer, CHUNK_LEN, Written};
use crate::tree::{Content, Entry, Node, PageRef, Pager, TreeError};
use crate::value::Key;

/// A chunk that can be copied without its bytes.
#[derive(Clone, Debug)]
pub struct Shared(Option<Arc<PageRef>>);

impl Buffer {
    /// Chunk `index` for a copy that takes its first `len` bytes; `None` if its bytes must be copied.
    pub fn shared(&self, index: u64, len: u64, pager: &Pager) -> Result<Option<Shared>, TreeError> {
        let page = match self.written.get(&index) {
            Some(Written::Memory(bytes)) if bytes.is_empty() => return Ok(Some(Shared(None))),
            Some(Written::Memory(_) | Written::Leaving(_)) => return Ok(None),
            Some(Written::Page(page)) => Arc::clone(page),
            None => match self.base_page(index, pager)? {
                BasePage::Hole => return Ok(Some(Shared(None))),
                BasePage::Page(page) => page,
                BasePage::Other => return Ok(None),
            },
        };
        Ok((page.len <= len).then_some(Shared(Some(page))))
    }

    fn base_page(&self, index: u64, pager: &Pager) -> Result<BasePage, TreeError> {
        let start = index.saturating_mul(CHUNK_LEN);
        if start >= self.base_len {
            return Ok(BasePage::Hole);
        }
        let Content::Chunked(chunked) = &self.base else {
            return Ok(BasePage::Other);
        };
        // Only part of it counts any more, or a newline follows that it does not contain.
        let counts = (self.base_len - start).min(CHUNK_LEN);
        if self.newline && start + counts == self.base_len {
            return Ok(BasePage::Other);
        }
        Ok(match chunked.chunks.get(&Key::index(index), pager)? {
            None => BasePage::Hole,
            Some(Entry {
                node: Node::Bytes(Content::Page(page)),
                ..
            }) if page.len <= counts => BasePage::Page(page),
            Some(_) => BasePage::Other,
        })
    }

    /// Whether a copy of `len` bytes to the beginning of chunk `index` leaves nothing else in it.
    pub fn takes_whole(&self, index: u64, len: u64) -> bool {
        len == CHUNK_LEN || index.saturating_mul(CHUNK_LEN).saturating_add(len) >= self.len
    }

    /// Makes a chunk of another file the first `len` bytes of chunk `index`, which has no others.
    pub fn place(&mut self, index: u64, shared: Shared, len: u64) {
        let written = match shared.0 {
            Some(page) => Written::Page(page),
            None => Written::Memory(Vec::new()),
        };
        self.edits.lose();
        self.set(index, written);
        let end = index.saturating_mul(CHUNK_LEN).saturating_add(len);
        self.len = self.len.max(end);
    }
}

enum BasePage {
    Hole,
    Page(Arc<PageRef>),
    Other,
}
