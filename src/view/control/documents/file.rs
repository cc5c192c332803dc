//! Texts in memory: of documents that are open, and of files that are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Place;
use crate::value::KeyPath;
use crate::view::types::{SetAttr, SetTime, Time};
use crate::view::{Result, ViewError};

/// The longest text, in bytes.
pub const MAX_TEXT: u64 = 64 << 20;
/// What all texts in memory may take, in bytes.
const MAX_MEMORY: u64 = 512 << 20;

/// What of a text is to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Clean,
    /// It has been created or emptied, and nothing written yet: shells close such a file before they
    /// write to it.
    Emptied,
    /// What was written.
    Written,
}

/// A text in memory. One that is no document's, or that is not saved yet, is shared by all who
/// have it open; the text of a document belongs to the handle that opened it.
#[derive(Debug)]
pub struct File {
    /// Tells files apart, and orders them by age.
    pub id: u64,
    pub content: Mutex<Content>,
}

/// The text itself.
#[derive(Debug)]
pub struct Content {
    /// Where it is, or is saved; `None` once it has been removed.
    pub place: Option<Place>,
    /// The document that has been moved here, and has not been saved since.
    pub aside: Option<KeyPath>,
    pub state: State,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub atime: Time,
    text: Arc<Vec<u8>>,
    memory: Reserved,
}

/// What is left of the memory for texts.
#[derive(Debug, Default)]
pub struct Memory(Arc<AtomicU64>);

/// Some of it.
#[derive(Debug)]
struct Reserved {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Reserved {
    fn change(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        if self.all.fetch_add(more, Ordering::AcqRel) + more > MAX_MEMORY && more > 0 {
            self.all.fetch_sub(more, Ordering::AcqRel);
            return Err(ViewError::NoSpace {
                what: "the memory for documents".into(),
            });
        }
        let less = self.bytes.saturating_sub(bytes);
        self.all.fetch_sub(less, Ordering::AcqRel);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Memory {
    /// A text at a place.
    pub fn file(
        &self,
        id: u64,
        place: Option<Place>,
        text: Arc<Vec<u8>>,
        state: State,
    ) -> Result<Arc<File>> {
        let mut memory = Reserved {
            all: Arc::clone(&self.0),
            bytes: 0,
        };
        memory.change(text.len() as u64)?;
        let now = Time::now();
        Ok(Arc::new(File {
            id,
            content: Mutex::new(Content {
                place,
                aside: None,
                state,
                mode: 0o600,
                uid: 0,
                gid: 0,
                mtime: now,
                atime: now,
                text,
                memory,
            }),
        }))
    }
}

impl Content {
    pub fn text(&self) -> &Arc<Vec<u8>> {
        &self.text
    }

    pub fn len(&self) -> u64 {
        self.text.len() as u64
    }

    /// The bytes from an offset on.
    pub fn read(&self, offset: u64, size: u32) -> Vec<u8> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.text.get(from..).unwrap_or_default();
        rest.iter().take(size as usize).copied().collect()
    }

    /// Writes bytes at an offset, or at the end.
    pub fn write(&mut self, offset: Option<u64>, bytes: &[u8]) -> Result<()> {
        let offset = offset.unwrap_or(self.len());
        let end = offset.saturating_add(bytes.len() as u64);
        self.reserve(end.max(self.len()))?;
        let text = Arc::make_mut(&mut self.text);
        // Both are below the limit.
        let (from, to) = (offset as usize, end as usize);
        if text.len() < to {
            text.resize(to, 0);
        }
        if let Some(place) = text.get_mut(from..to) {
            place.copy_from_slice(bytes);
        }
        self.state = State::Written;
        self.mtime = Time::now();
        Ok(())
    }

    /// Cuts or extends the text.
    pub fn resize(&mut self, len: u64) -> Result<()> {
        self.reserve(len)?;
        if len == self.len() && self.state == State::Clean {
            return Ok(());
        }
        Arc::make_mut(&mut self.text).resize(len as usize, 0);
        self.state = if len == 0 {
            State::Emptied
        } else {
            State::Written
        };
        self.mtime = Time::now();
        Ok(())
    }

    fn reserve(&mut self, len: u64) -> Result<()> {
        if len > MAX_TEXT {
            return Err(ViewError::TooBig {
                what: "the text".into(),
                size: len,
                limit: MAX_TEXT,
            });
        }
        self.memory.change(len)
    }

    /// Sets mode, owner and times.
    pub fn set(&mut self, set: &SetAttr) {
        let time = |set: SetTime| match set {
            SetTime::Now => Time::now(),
            SetTime::At(time) => time,
        };
        self.mode = set.mode.map_or(self.mode, |mode| mode & 0o7777);
        self.uid = set.uid.unwrap_or(self.uid);
        self.gid = set.gid.unwrap_or(self.gid);
        self.mtime = set.mtime.map_or(self.mtime, time);
        self.atime = set.atime.map_or(self.atime, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(memory: &Memory) -> Arc<File> {
        let text = Arc::new(b"abc".to_vec());
        memory.file(1, None, text, State::Clean).unwrap()
    }

    #[test]
    fn writes_and_cuts_are_those_of_a_file() {
        let memory = Memory::default();
        let file = file(&memory);
        let mut content = file.content.lock();
        content.write(Some(5), b"x").unwrap();
        assert_eq!(**content.text(), b"abc\0\0x");
        content.resize(2).unwrap();
        content.write(None, b"yz").unwrap();
        content.write(Some(0), b"X").unwrap();
        assert_eq!(**content.text(), b"Xbyz");
        assert_eq!(content.read(1, 2), b"by");
        assert_eq!(content.read(9, 2), b"");
        assert_eq!(content.state, State::Written);
        content.resize(0).unwrap();
        assert_eq!(content.state, State::Emptied);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let memory = Memory::default();
        let used = || memory.0.load(Ordering::Acquire);
        let first = file(&memory);
        assert!(matches!(
            first.content.lock().write(Some(MAX_TEXT), b"x"),
            Err(ViewError::TooBig { .. })
        ));
        memory.0.fetch_add(MAX_MEMORY - 10, Ordering::AcqRel);
        let done = first.content.lock().resize(11);
        assert!(matches!(done, Err(ViewError::NoSpace { .. })));
        first.content.lock().resize(10).unwrap();
        assert_eq!(used(), MAX_MEMORY);
        first.content.lock().resize(1).unwrap();
        assert_eq!(used(), MAX_MEMORY - 9);
        drop(first);
        assert_eq!(used(), MAX_MEMORY - 10);
    }
}
