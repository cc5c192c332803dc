//! The bytes of a file while it is open: what is committed, and what has been written over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::{Store, StoreError};
use crate::tree::{
    CHUNK, Chunked, Content, Entry, Folder, Map, Node, PageRef, Pager, TreeError, content,
};
use crate::value::Key;

const CHUNK_LEN: u64 = CHUNK as u64;

/// A file's bytes.
#[derive(Clone, Debug)]
pub struct Buffer {
    len: u64,
    /// What is committed, of which only the first `base_len` bytes still count.
    base: Content,
    /// The base is followed by a newline that it does not contain.
    newline: bool,
    base_len: u64,
    /// Chunks written since, by index. What a chunk lacks is zeros.
    written: BTreeMap<u64, Written>,
}

#[derive(Clone, Debug)]
enum Written {
    Memory(Vec<u8>),
    Page(Arc<PageRef>),
}

impl Buffer {
    /// The bytes of a content, followed by a newline or not.
    pub fn new(base: Content, newline: bool) -> Self {
        let len = base.len() + u64::from(newline);
        Self {
            len,
            base,
            newline,
            base_len: len,
            written: BTreeMap::new(),
        }
    }

    /// No bytes.
    pub fn empty() -> Self {
        Self::new(Content::empty(), false)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes written that are in memory only.
    pub fn unsaved(&self) -> u64 {
        self.written
            .values()
            .map(|w| {
                if let Written::Memory(b) = w {
                    b.len() as u64
                } else {
                    0
                }
            })
            .sum()
    }

    /// The committed bytes of chunk `index` that still count.
    fn base_chunk(&self, index: u64, pager: &Pager) -> Result<Vec<u8>, TreeError> {
        let start = index.saturating_mul(CHUNK_LEN);
        if start >= self.base_len {
            return Ok(Vec::new());
        }
        let want = usize::try_from((self.base_len - start).min(CHUNK_LEN)).unwrap_or(CHUNK);
        let mut bytes = content::read(&self.base, start, want, pager)?;
        if bytes.len() < want && self.newline {
            bytes.push(b'\n');
        }
        Ok(bytes)
    }

    fn chunk(&self, index: u64, pager: &Pager) -> Result<Vec<u8>, TreeError> {
        match self.written.get(&index) {
            Some(Written::Memory(b)) => Ok(b.clone()),
            Some(Written::Page(p)) => Ok(pager.blob(p)?.to_vec()),
            None => self.base_chunk(index, pager),
        }
    }

    /// Up to `want` bytes from `offset`; fewer only at the end.
    pub fn read(&self, offset: u64, want: usize, pager: &Pager) -> Result<Vec<u8>, TreeError> {
        let end = offset.saturating_add(want as u64).min(self.len);
        if offset >= end {
            return Ok(Vec::new());
        }
        if self.written.is_empty() && self.base_len == self.len {
            let mut bytes = content::read(
                &self.base,
                offset,
                usize::try_from(end - offset).unwrap_or(0),
                pager,
            )?;
            if end > self.base.len() {
                bytes.push(b'\n');
            }
            return Ok(bytes);
        }
        let mut out = Vec::with_capacity(usize::try_from(end - offset).unwrap_or(0));
        let mut at = offset;
        while at < end {
            let index = at / CHUNK_LEN;
            let from = usize::try_from(at % CHUNK_LEN).unwrap_or(0);
            let to = CHUNK.min(from + usize::try_from(end - at).unwrap_or(CHUNK));
            let owned;
            let bytes: &[u8] = match self.written.get(&index) {
                Some(Written::Memory(b)) => b,
                _ => {
                    owned = self.chunk(index, pager)?;
                    &owned
                }
            };
            let have = bytes.get(from..to.min(bytes.len())).unwrap_or_default();
            out.extend_from_slice(have);
            out.resize(out.len() + (to - from - have.len()), 0);
            at += (to - from) as u64;
        }
        Ok(out)
    }

    /// The whole file.
    pub fn read_all(&self, pager: &Pager) -> Result<Vec<u8>, TreeError> {
        self.read(0, usize::try_from(self.len).unwrap_or(usize::MAX), pager)
    }

    /// Writes bytes at an offset.
    pub fn write(&mut self, offset: u64, data: &[u8], pager: &Pager) -> Result<(), TreeError> {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let index = at / CHUNK_LEN;
            let from = usize::try_from(at % CHUNK_LEN).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(CHUNK - from));
            if !matches!(self.written.get(&index), Some(Written::Memory(_))) {
                let whole = from == 0 && (now.len() == CHUNK || at + now.len() as u64 >= self.len);
                let before = if whole {
                    Vec::with_capacity(now.len())
                } else {
                    self.chunk(index, pager)?
                };
                self.written.insert(index, Written::Memory(before));
            }
            if let Some(Written::Memory(bytes)) = self.written.get_mut(&index) {
                let to = from + now.len();
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                if let Some(place) = bytes.get_mut(from..to) {
                    place.copy_from_slice(now);
                }
            }
            at += now.len() as u64;
            rest = later;
        }
        self.len = self.len.max(at);
        Ok(())
    }

    /// Cuts off or extends with zeros.
    pub fn truncate(&mut self, len: u64, pager: &Pager) -> Result<(), TreeError> {
        if len < self.len {
            let index = len / CHUNK_LEN;
            let keep = usize::try_from(len % CHUNK_LEN).unwrap_or(0);
            self.written
                .retain(|i, _| *i < index || (*i == index && keep > 0));
            match self.written.get_mut(&index) {
                Some(Written::Memory(bytes)) => bytes.truncate(keep),
                Some(Written::Page(p)) => {
                    let mut bytes = pager.blob(p)?.to_vec();
                    bytes.truncate(keep);
                    self.written.insert(index, Written::Memory(bytes));
                }
                None => {}
            }
            self.base_len = self.base_len.min(len);
        }
        self.len = len;
        Ok(())
    }

    /// Makes a range zeros without changing the length.
    pub fn zero(&mut self, offset: u64, len: u64, pager: &Pager) -> Result<(), TreeError> {
        let end = offset.saturating_add(len).min(self.len);
        let mut at = offset;
        while at < end {
            let index = at / CHUNK_LEN;
            let from = usize::try_from(at % CHUNK_LEN).unwrap_or(0);
            let to = CHUNK.min(from + usize::try_from(end - at).unwrap_or(CHUNK));
            let mut bytes = if from == 0 && (to == CHUNK || at + (to as u64) >= self.len) {
                Vec::new()
            } else {
                self.chunk(index, pager)?
            };
            let upper = to.min(bytes.len());
            if let Some(range) = bytes.get_mut(from..upper) {
                range.fill(0);
            }
            self.written.insert(index, Written::Memory(bytes));
            at += (to - from) as u64;
        }
        Ok(())
    }

    /// The next data or hole at or after `offset`; `None` if there is no data any more.
    pub fn seek(&self, offset: u64, data: bool, pager: &Pager) -> Result<Option<u64>, TreeError> {
        if offset >= self.len {
            return Ok(None);
        }
        let mut at = offset;
        while at < self.len {
            let index = at / CHUNK_LEN;
            if self.has_data(index, pager)? == data {
                return Ok(Some(at));
            }
            at = (index + 1) * CHUNK_LEN;
        }
        Ok(if data { None } else { Some(self.len) })
    }

    fn has_data(&self, index: u64, pager: &Pager) -> Result<bool, TreeError> {
        if let Some(w) = self.written.get(&index) {
            return Ok(!matches!(w, Written::Memory(b) if b.is_empty()));
        }
        if index * CHUNK_LEN >= self.base_len {
            return Ok(false);
        }
        match &self.base {
            Content::Chunked(c) => Ok(c.chunks.get(&Key::index(index), pager)?.is_some()
                || (self.newline && index == (self.base_len - 1) / CHUNK_LEN)),
            _ => Ok(true),
        }
    }

    /// Units of 512 bytes that hold data.
    pub fn blocks(&self) -> u64 {
        let base = match &self.base {
            Content::Chunked(c) => c.chunks.len() * (CHUNK_LEN / 512),
            _ => self.base_len.div_ceil(512),
        };
        let written = |w: &Written| match w {
            Written::Memory(b) => (b.len() as u64).div_ceil(512),
            Written::Page(p) => p.len.div_ceil(512),
        };
        let held = base + self.written.values().map(written).sum::<u64>();
        held.min(self.len.div_ceil(512))
    }

    /// Puts written chunks into pages that nothing refers to yet, to free their memory.
    pub fn spill(&mut self, store: &Store) -> Result<(), StoreError> {
        let fail = |e| StoreError::tree(&crate::tree::root_key(), e);
        let mut folder = Folder::new(store.pager(), store.last_seq());
        let mut spilled = Vec::new();
        for (index, w) in &self.written {
            if let Written::Memory(bytes) = w
                && !bytes.is_empty()
            {
                spilled.push((
                    *index,
                    folder.page(bytes, bytes.len() as u64, 0).map_err(fail)?,
                ));
            }
        }
        store.write_pages(folder.finish())?;
        for (index, page) in spilled {
            self.written.insert(index, Written::Page(page));
        }
        Ok(())
    }

    /// The content that these bytes are as a byte string. What is unchanged is shared with the base.
    pub fn to_content(&self, pager: &Pager) -> Result<Content, TreeError> {
        if self.len <= CHUNK_LEN {
            return Ok(Content::Inline(Arc::from(self.read_all(pager)?)));
        }
        if self.written.is_empty() && self.len == self.base.len() && self.base_len == self.len {
            return Ok(self.base.clone());
        }
        let mut chunks = match &self.base {
            Content::Chunked(c) => c.chunks.clone(),
            _ => Map::new(),
        };
        let shared = matches!(self.base, Content::Chunked(_));
        let base_chunks = self.base_len.div_ceil(CHUNK_LEN);
        for index in 0..base_chunks {
            let end = (index + 1) * CHUNK_LEN;
            let as_is =
                shared && (end <= self.base_len && (!self.newline || end < self.base.len() + 1));
            if self.written.contains_key(&index) || as_is {
                continue;
            }
            let bytes = self.base_chunk(index, pager)?;
            chunks.insert(
                &Key::index(index),
                piece(Content::Inline(Arc::from(bytes))),
                pager,
            )?;
        }
        if let Content::Chunked(c) = &self.base {
            // Chunks beyond what still counts.
            for index in base_chunks..c.len.div_ceil(CHUNK_LEN) {
                chunks.remove(&Key::index(index), pager)?;
            }
        }
        for (index, w) in &self.written {
            let content = match w {
                Written::Memory(b) if b.is_empty() => {
                    chunks.remove(&Key::index(*index), pager)?;
                    continue;
                }
                Written::Memory(b) => Content::Inline(Arc::from(b.as_slice())),
                Written::Page(p) => Content::Page(Arc::clone(p)),
            };
            chunks.insert(&Key::index(*index), piece(content), pager)?;
        }
        Ok(Content::Chunked(Arc::new(Chunked {
            len: self.len,
            chunks,
        })))
    }
}

fn piece(content: Content) -> Entry {
    Entry::plain(Node::Bytes(content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{CreateOptions, Location};
    use crate::tree::convert;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Truncate(u64),
        Zero(u64, u64),
        Spill,
        Commit,
        CommitAsText,
    }

    fn place() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..200u64,
            CHUNK_LEN - 100..CHUNK_LEN + 100,
            0..3 * CHUNK_LEN
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (place(), prop_oneof![1..50usize, Just(CHUNK), 1..2 * CHUNK], any::<u8>())
                .prop_map(|(at, n, b)| Step::Write(at, vec![b'a' + b % 26; n])),
            3 => place().prop_map(Step::Truncate),
            1 => (place(), place()).prop_map(|(a, n)| Step::Zero(a, n)),
            1 => Just(Step::Spill),
            2 => Just(Step::Commit),
            1 => Just(Step::CommitAsText),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn a_buffer_is_what_an_array_of_bytes_is(steps in prop::collection::vec(step(), 1..20)) {
            let store = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap();
            let pager = store.pager();
            let mut buffer = Buffer::empty();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        buffer.write(at, &bytes, pager).unwrap();
                        let at = at as usize;
                        if model.len() < at + bytes.len() {
                            model.resize(at + bytes.len(), 0);
                        }
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::Truncate(len) => {
                        buffer.truncate(len, pager).unwrap();
                        model.resize(len as usize, 0);
                    }
                    Step::Zero(at, n) => {
                        buffer.zero(at, n, pager).unwrap();
                        let end = model.len().min((at + n) as usize);
                        if (at as usize) < end {
                            model[at as usize..end].fill(0);
                        }
                    }
                    Step::Spill => buffer.spill(&store).unwrap(),
                    Step::Commit => buffer = Buffer::new(buffer.to_content(pager).unwrap(), false),
                    Step::CommitAsText => {
                        let all = buffer.read_all(pager).unwrap();
                        let (text, newline) = match all.strip_suffix(b"\n") {
                            Some(text) => (text, true),
                            None => (&all[..], false),
                        };
                        buffer = Buffer::new(convert::from_bytes(text), newline);
                        let end = buffer.len();
                        buffer.write(end, b"\n", pager).unwrap();
                        model.push(b'\n');
                        let all = buffer.read_all(pager).unwrap();
                        buffer = Buffer::new(convert::from_bytes(&all[..all.len() - 1]), true);
                    }
                }
                prop_assert_eq!(buffer.len(), model.len() as u64);
                prop_assert!(buffer.read_all(pager).unwrap() == model);
                let content = buffer.to_content(pager).unwrap();
                prop_assert_eq!(content.len(), model.len() as u64);
                prop_assert!(content::read_all(&content, pager).unwrap() == model);
            }
        }
    }
}
