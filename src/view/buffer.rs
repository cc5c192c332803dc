//! The bytes of a file while it is open: what is committed, and what has been written over it.

mod behind;
mod edits;
mod share;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tree::{CHUNK, Chunked, Content, Entry, Map, Node, PageRef, Pager, TreeError, content};
use crate::value::Key;

pub use behind::Behind;
use edits::Edits;
pub use share::Shared;

/// Bytes of a chunk.
pub const CHUNK_LEN: u64 = CHUNK as u64;

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
    /// Bytes of those that are in memory only, but for those that leave it.
    unsaved: u64,
    /// Chunks that are becoming pages.
    leaving: Option<Arc<behind::Batch>>,
    edits: Edits,
}

#[derive(Clone, Debug)]
enum Written {
    Memory(Vec<u8>),
    /// Becoming a page.
    Leaving(Arc<Vec<u8>>),
    Page(Arc<PageRef>),
}

impl Written {
    /// Bytes that are in memory only and do not leave it.
    fn unsaved(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Leaving(_) | Self::Page(_) => 0,
        }
    }
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
            unsaved: 0,
            leaving: None,
            edits: Edits::none(),
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
        self.unsaved + self.leaving.as_ref().map_or(0, |batch| batch.len())
    }

    /// Those of them that are not becoming pages.
    pub fn staying(&self) -> u64 {
        self.unsaved
    }

    fn set(&mut self, index: u64, written: Written) {
        self.unsaved += written.unsaved();
        if let Some(before) = self.written.insert(index, written) {
            self.unsaved -= before.unsaved();
        }
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
            Some(Written::Leaving(b)) => Ok(b.to_vec()),
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
                Some(Written::Leaving(b)) => b,
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
                self.set(index, Written::Memory(before));
            }
            if let Some(Written::Memory(bytes)) = self.written.get_mut(&index) {
                let to = from + now.len();
                let before = bytes.len();
                if before == from {
                    bytes.extend_from_slice(now);
                } else {
                    bytes.resize(before.max(to), 0);
                    if let Some(place) = bytes.get_mut(from..to) {
                        place.copy_from_slice(now);
                    }
                }
                self.unsaved += (bytes.len() - before) as u64;
            }
            at += now.len() as u64;
            rest = later;
        }
        self.edits.add(offset..at);
        self.len = self.len.max(at);
        Ok(())
    }

    /// Cuts off or extends with zeros.
    pub fn truncate(&mut self, len: u64, pager: &Pager) -> Result<(), TreeError> {
        if len < self.len {
            self.edits.lose();
            let index = len / CHUNK_LEN;
            let keep = usize::try_from(len % CHUNK_LEN).unwrap_or(0);
            self.written
                .retain(|i, _| *i < index || (*i == index && keep > 0));
            match self.written.get_mut(&index) {
                Some(Written::Memory(bytes)) => bytes.truncate(keep),
                Some(Written::Leaving(leaving)) => {
                    let bytes = leaving.get(..keep).unwrap_or(leaving).to_vec();
                    self.written.insert(index, Written::Memory(bytes));
                }
                Some(Written::Page(p)) => {
                    let mut bytes = pager.blob(p)?.to_vec();
                    bytes.truncate(keep);
                    self.written.insert(index, Written::Memory(bytes));
                }
                None => {}
            }
            self.base_len = self.base_len.min(len);
            self.unsaved = self.written.values().map(Written::unsaved).sum();
        }
        self.len = len;
        Ok(())
    }

    /// Makes a range zeros without changing the length.
    pub fn zero(&mut self, offset: u64, len: u64, pager: &Pager) -> Result<(), TreeError> {
        self.edits.lose();
        let end = offset.saturating_add(len).min(self.len);
        let mut at = offset;
        while at < end {
            let index = at / CHUNK_LEN;
            let from = usize::try_from(at % CHUNK_LEN).unwrap_or(0);
            let to = CHUNK.min(from + usize::try_from(end - at).unwrap_or(CHUNK));
            // Holes are zeros already, and there may be very many.
            match self.next_data(index, pager)? {
                Some(next) if next == index => {}
                Some(next) => {
                    at = next.saturating_mul(CHUNK_LEN);
                    continue;
                }
                None => break,
            }
            let mut bytes = if from == 0 && (to == CHUNK || at + (to as u64) >= self.len) {
                Vec::new()
            } else {
                self.chunk(index, pager)?
            };
            let upper = to.min(bytes.len());
            if let Some(range) = bytes.get_mut(from..upper) {
                range.fill(0);
            }
            self.set(index, Written::Memory(bytes));
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
            let next = self.next_data(index, pager)?;
            match (next, data) {
                (Some(next), true) => return Ok(Some(at.max(next * CHUNK_LEN))),
                (None, true) => return Ok(None),
                (Some(next), false) if next == index => at = (index + 1) * CHUNK_LEN,
                (_, false) => return Ok(Some(at)),
            }
        }
        Ok(if data { None } else { Some(self.len) })
    }

    /// The first chunk from `from` on that holds data. Looks at what is there, not at holes.
    fn next_data(&self, from: u64, pager: &Pager) -> Result<Option<u64>, TreeError> {
        let is_hole = |w: &Written| matches!(w, Written::Memory(b) if b.is_empty());
        let written = self.written.range(from..).find(|(_, w)| !is_hole(w));
        let written = written.map(|(index, _)| *index);
        let ends = self.base_len.div_ceil(CHUNK_LEN);
        let base = match &self.base {
            Content::Chunked(c) => {
                let mut after = from.checked_sub(1).map(Key::index);
                let kept = loop {
                    let found = c.chunks.page_after(after.as_ref(), 1, pager)?;
                    let Some((key, _)) = found.into_iter().next() else {
                        break None;
                    };
                    match key.as_index() {
                        Some(index) if index >= ends => break None,
                        Some(index) if !self.written.contains_key(&index) => break Some(index),
                        _ => after = Some(key),
                    }
                };
                // The newline behind the base.
                let newline = (self.newline && self.base_len > c.len)
                    .then(|| ends.saturating_sub(1))
                    .filter(|index| *index >= from && !self.written.contains_key(index));
                kept.into_iter().chain(newline).min()
            }
            _ => (from..ends).find(|index| !self.written.contains_key(index)),
        };
        Ok(written.into_iter().chain(base).min())
    }

    /// Units of 512 bytes that hold data.
    pub fn blocks(&self) -> u64 {
        let base = match &self.base {
            Content::Chunked(c) => c.chunks.len() * (CHUNK_LEN / 512),
            _ => self.base_len.div_ceil(512),
        };
        let written = |w: &Written| match w {
            Written::Memory(b) => (b.len() as u64).div_ceil(512),
            Written::Leaving(b) => (b.len() as u64).div_ceil(512),
            Written::Page(p) => p.len.div_ceil(512),
        };
        let held = base + self.written.values().map(written).sum::<u64>();
        held.min(self.len.div_ceil(512))
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
        // What is shared stays as it is but for its end: a long file may be mostly holes.
        let base_chunks = self.base_len.div_ceil(CHUNK_LEN);
        let first = match &self.base {
            Content::Chunked(c) if self.base_len == c.len => base_chunks,
            Content::Chunked(_) => base_chunks.saturating_sub(2),
            _ => 0,
        };
        for index in first..base_chunks {
            if self.written.contains_key(&index) {
                continue;
            }
            let bytes = self.base_chunk(index, pager)?;
            if bytes.iter().all(|b| *b == 0) {
                chunks.remove(&Key::index(index), pager)?;
                continue;
            }
            chunks.insert(
                &Key::index(index),
                piece(Content::Inline(Arc::from(bytes))),
                pager,
            )?;
        }
        // Chunks beyond what still counts.
        while let Some((key, _)) = chunks.last_below(&Key::from_canonical(&[0x20]), pager)? {
            if key.as_index().is_none_or(|index| index < base_chunks) {
                break;
            }
            chunks.remove(&key, pager)?;
        }
        for (index, w) in &self.written {
            let content = match w {
                Written::Memory(b) if b.is_empty() => {
                    chunks.remove(&Key::index(*index), pager)?;
                    continue;
                }
                Written::Memory(b) => Content::Inline(Arc::from(b.as_slice())),
                Written::Leaving(b) => Content::Inline(Arc::from(b.as_slice())),
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
    use crate::store::{CreateOptions, Location, Store};
    use crate::tree::{Attrs, convert};

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Truncate(u64),
        Zero(u64, u64),
        Share(u64, u64),
        Spill,
        SpillBehind,
        Settle,
        Commit,
        CommitAsText,
        CommitAsPatch,
    }

    #[test]
    fn a_file_of_holes_costs_what_is_in_it() {
        let place = Location::parse("mem:").unwrap();
        let store = Store::create(&place, &CreateOptions::default()).unwrap();
        let pager = store.pager();
        let huge = i64::MAX as u64;
        let mut buffer = Buffer::empty();
        buffer.write(3 * CHUNK_LEN, b"data", pager).unwrap();
        buffer.truncate(huge, pager).unwrap();
        buffer = Buffer::new(buffer.to_content(pager).unwrap(), false);
        assert_eq!(buffer.seek(0, true, pager).unwrap(), Some(3 * CHUNK_LEN));
        assert_eq!(
            buffer.seek(3 * CHUNK_LEN + 1, false, pager).unwrap(),
            Some(4 * CHUNK_LEN)
        );
        assert_eq!(buffer.seek(4 * CHUNK_LEN, true, pager).unwrap(), None);
        buffer.write(7 * CHUNK_LEN, b"more", pager).unwrap();
        buffer = Buffer::new(buffer.to_content(pager).unwrap(), false);
        assert_eq!(buffer.len(), huge);
        buffer.zero(0, huge, pager).unwrap();
        assert_eq!(buffer.seek(0, true, pager).unwrap(), None);
        assert_eq!(buffer.seek(0, false, pager).unwrap(), Some(0));
        buffer.truncate(2 * CHUNK_LEN, pager).unwrap();
        buffer = Buffer::new(buffer.to_content(pager).unwrap(), false);
        assert_eq!(buffer.read_all(pager).unwrap(), vec![0; 2 * CHUNK]);
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
            2 => (0..4_u64, 0..4_u64).prop_map(|(from, to)| Step::Share(from, to)),
            1 => Just(Step::Spill),
            2 => Just(Step::SpillBehind),
            1 => Just(Step::Settle),
            2 => Just(Step::Commit),
            1 => Just(Step::CommitAsText),
            3 => Just(Step::CommitAsPatch),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
        #[test]
        fn a_buffer_is_what_an_array_of_bytes_is(steps in prop::collection::vec(step(), 1..20)) {
            let store = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap();
            let pager = store.pager();
            let behind = Behind::default();
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
                    Step::Share(from, to) => {
                        let (from_at, to_at) = (from * CHUNK_LEN, to * CHUNK_LEN);
                        let count = buffer.len().saturating_sub(from_at).min(CHUNK_LEN);
                        let shared = buffer.shared(from, count, pager).unwrap();
                        if let Some(shared) = shared.filter(|_| count > 0 && buffer.takes_whole(to, count)) {
                            buffer.place(to, shared, count);
                            let bytes = model[from_at as usize..(from_at + count) as usize].to_vec();
                            let end = (to_at + count) as usize;
                            model.resize(model.len().max(end), 0);
                            model[to_at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::Spill => buffer.spill(&store).unwrap(),
                    Step::SpillBehind => buffer.spill_behind(&store, &behind).unwrap(),
                    Step::Settle => buffer.settle_if_over(),
                    Step::CommitAsPatch => {
                        let patch = buffer.patch(false, Attrs::default(), pager).unwrap();
                        let Some(patch) = patch else { continue };
                        let written: usize = patch.pieces.iter().map(|(_, b)| b.len()).sum();
                        prop_assert!(written <= 64 * 1024 + 1);
                        let mut entry = piece(buffer.base.clone());
                        patch.apply(&mut entry, pager).unwrap();
                        let Node::Bytes(content) = entry.node else { unreachable!() };
                        buffer = Buffer::new(content, false);
                    }
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
                prop_assert_eq!(buffer.is_utf8(pager).unwrap(), std::str::from_utf8(&model).is_ok());
                prop_assert!(buffer.read_all(pager).unwrap() == model);
                let content = buffer.to_content(pager).unwrap();
                prop_assert_eq!(content.len(), model.len() as u64);
                prop_assert!(content::read_all(&content, pager).unwrap() == model);
            }
        }
    }
}
