//! Byte strings as streams.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use super::hooks::ApiOp;
use super::{Store, StoreError, Tx, show_key, show_path};
use crate::tree::edit::{Found, attrs_for_new_value, times_of, touch};
use crate::tree::{Attrs, CHUNK, Chunked, Content, Entry, Folder, Map, Node, Times, content};
use crate::value::{Key, Value};

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
        let Some(found) = self.find(std::slice::from_ref(key))? else {
            return Ok(None);
        };
        let Node::Bytes(content) = &found.entry.node else {
            return Err(StoreError::NotBinary {
                key: show_key(key),
                found: kind_name(&found.entry.node),
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
            tx.api_op = Some(ApiOp::Bassoc);
            let now = tx.now;
            let path = std::slice::from_ref(key);
            let found = tx.find(path)?;
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
            tx.put(Tx::home(path, found.as_ref()), entry, time)
        })
    }

    /// Takes in a byte string piece by piece; [`Tx::assoc_blob_in`] then puts it somewhere. Until
    /// then nobody sees it, and nothing refers to its pages.
    pub fn blob_writer(&self) -> BlobWriter {
        BlobWriter {
            store: self.clone(),
            chunks: Map::new(),
            len: 0,
            rest: Vec::new(),
        }
    }

    fn write_content(&self, key: &Key, source: &mut dyn Read) -> Result<Content, StoreError> {
        let mut writer = self.blob_writer();
        loop {
            let mut chunk = Vec::new();
            source
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(StoreError::Source)?;
            let last = chunk.len() < CHUNK;
            writer.append(key, &chunk)?;
            if last {
                return writer.finish(key);
            }
        }
    }
}

/// A byte string that is being taken in. Memory does not grow with its length.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    chunks: Map,
    /// Bytes in chunks.
    len: u64,
    /// Bytes after them, less than a chunk.
    rest: Vec<u8>,
}

impl BlobWriter {
    /// Adds a piece. `key` is for messages.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn append(&mut self, key: &Key, data: &[u8]) -> Result<(), StoreError> {
        self.rest.extend_from_slice(data);
        let whole = self.rest.len() - self.rest.len() % CHUNK;
        if whole == 0 {
            return Ok(());
        }
        let rest = self.rest.split_off(whole);
        let chunks = std::mem::replace(&mut self.rest, rest);
        self.write(key, &chunks)
    }

    /// Writes chunks, all but the last of them whole.
    fn write(&mut self, key: &Key, data: &[u8]) -> Result<(), StoreError> {
        let fail = |e| StoreError::tree(key, e);
        let pager = self.store.pager();
        let mut folder = Folder::new(pager, self.store.last_seq());
        let mut pages = Vec::new();
        for chunk in data.chunks(CHUNK) {
            pages.push(folder.page(chunk).map_err(fail)?);
        }
        self.store.write_pages(folder.finish())?;
        for (page, chunk) in pages.into_iter().zip(data.chunks(CHUNK)) {
            let index = Key::index(self.len / CHUNK as u64);
            let entry = Entry::plain(Node::Bytes(Content::Page(page)));
            self.chunks.insert(&index, entry, pager).map_err(fail)?;
            self.len += chunk.len() as u64;
        }
        Ok(())
    }

    /// The whole.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn finish(mut self, key: &Key) -> Result<Content, StoreError> {
        let rest = std::mem::take(&mut self.rest);
        if self.len == 0 {
            return Ok(Content::Inline(Arc::from(rest)));
        }
        if !rest.is_empty() {
            self.write(key, &rest)?;
        }
        Ok(Content::Chunked(Arc::new(Chunked {
            len: self.len,
            chunks: self.chunks,
        })))
    }
}

impl Tx<'_> {
    /// Puts a byte string that was taken in by a [`BlobWriter`] at a path, as
    /// [`Store::assoc_in`] puts a value.
    ///
    /// # Errors
    /// As [`Store::assoc_in`].
    pub fn assoc_blob_in(&mut self, path: &[Key], content: &Content) -> Result<(), StoreError> {
        self.assoc_in(path, &Value::Bytes(Vec::new()))?;
        let Some(found) = self.find(path)? else {
            return Err(StoreError::NothingThere {
                path: show_path(path),
            });
        };
        let home = Tx::home(path, Some(&found));
        let Found {
            mut entry, stamp, ..
        } = found;
        entry.node = Node::Bytes(content.clone());
        touch(&mut entry, stamp, self.now);
        self.put(home, entry, None)
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
