//! Byte strings as streams.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use super::{Store, StoreError, show_key};
use crate::tree::edit::{attrs_for_new_value, times_of};
use crate::tree::{Attrs, CHUNK, Chunked, Content, Entry, Folder, Map, Node, Times, content};
use crate::value::{Key, KeyPath};

/// A byte string, read as it was when it was opened. Damage and failures of the backend are I/O
/// errors of the reader.
#[derive(Debug)]
pub struct BlobReader {
    store: Store,
    content: Content,
    at: u64,
    end: u64,
}

impl BlobReader {
    /// Bytes left to read.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf
            .len()
            .min(usize::try_from(self.remaining()).unwrap_or(usize::MAX))
            .min(16 * CHUNK);
        let bytes = content::read(&self.content, self.at, want, self.store.pager())
            .map_err(io::Error::other)?;
        for (to, from) in buf.iter_mut().zip(&bytes) {
            *to = *from;
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Store {
    /// Opens the byte string under a key, or the part of it in `range`; `None` if there is no such
    /// key. A range beyond the end is cut off there.
    ///
    /// # Errors
    /// [`StoreError::NotBinary`]; damage; a failure of the backend.
    pub fn bget(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Option<BlobReader>, StoreError> {
        let Some(doc) = self.doc(key)? else {
            return Ok(None);
        };
        let Node::Bytes(content) = &doc.entry.node else {
            return Err(StoreError::NotBinary {
                key: show_key(key),
                found: kind_name(&doc.entry.node),
            });
        };
        let range = range.unwrap_or(0..content.len());
        let end = range.end.min(content.len());
        Ok(Some(BlobReader {
            store: self.clone(),
            content: content.clone(),
            at: range.start.min(end),
            end,
        }))
    }

    /// Puts the bytes of a reader under a key, in one step when the reader has ended. Memory does
    /// not grow with the length.
    ///
    /// # Errors
    /// [`StoreError::Source`] if the reader fails; those of the journal and the backend. The old
    /// value stays.
    pub fn bassoc(&self, key: &Key, mut source: impl Read) -> Result<(), StoreError> {
        let content = self.write_content(key, &mut source)?;
        self.transact(|tx| {
            let now = tx.now;
            let found = tx.find(std::slice::from_ref(key))?;
            let time = found.is_none().then_some(now);
            let attrs = match &found {
                Some(f) if !f.entry.is_dir() => {
                    let crtime = times_of(&f.entry, f.stamp).crtime;
                    let times = Some(Times {
                        mtime: now,
                        ctime: now,
                        crtime,
                    });
                    Attrs {
                        times,
                        bare: false,
                        ..attrs_for_new_value(&f.entry.attrs())
                    }
                }
                _ => Attrs {
                    stamp: Some(now),
                    ..Attrs::default()
                },
            };
            let entry = Entry::plain(Node::Bytes(content.clone())).with_attrs(attrs);
            tx.put(KeyPath::from(vec![key.clone()]), entry, time)
        })
    }

    fn write_content(&self, key: &Key, source: &mut dyn Read) -> Result<Content, StoreError> {
        let fail = |e| StoreError::tree(key, e);
        let mut chunks = Map::new();
        let mut len = 0u64;
        loop {
            let mut chunk = Vec::new();
            source
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(StoreError::Source)?;
            let last = chunk.len() < CHUNK;
            if len == 0 && last {
                return Ok(Content::Inline(Arc::from(chunk)));
            }
            if !chunk.is_empty() {
                let mut folder = Folder::new(self.pager(), self.last_seq());
                let index = Key::index(len / CHUNK as u64);
                len += chunk.len() as u64;
                let page = folder.page(&chunk, chunk.len() as u64, 0).map_err(fail)?;
                self.write_pages(folder.finish())?;
                let entry = Entry::plain(Node::Bytes(Content::Page(page)));
                chunks.insert(&index, entry, self.pager()).map_err(fail)?;
            }
            if last {
                return Ok(Content::Chunked(Arc::new(Chunked { len, chunks })));
            }
        }
    }
}

/// What a node is, for messages.
pub(super) fn kind_name(node: &Node) -> &'static str {
    match node {
        Node::Scalar(_) | Node::ScalarPage(_) => "scalar",
        Node::Text(_) => "text",
        Node::Bytes(_) => "byte string",
        Node::Map(_) => "map",
        Node::Vector(_) => "vector",
        Node::Ref(_) => "link",
    }
}
