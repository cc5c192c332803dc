//! Whole values as files: `.kfs/json/PATH.json` and `.kfs/edn/PATH.edn`, where PATH is that of the
//! mount. Saving one is one `assoc_in`.
//!
//! ```text
//! .kfs/json/
//!   user.json            the value of `user`; a name of the suffix is a document or becomes one
//!   user/                the documents in it, if it is a map or vector
//!     :name.json
//!   odd.json.d/          those in `odd.json`: with `.d`, for a name of the suffix is a document's
//!   x.json~, sedQx3      any other name is a file in memory, for programs that save by renaming
//! ```
//!
//! * Opening a document renders its value as it is then; the handle keeps that text. Its attributes
//!   have the exact size, or 0 if the text would be longer than [`MAX_TEXT`], which is not shown.
//! * Each handle writes into a text of its own, which is saved at its close, sync, or rename onto a
//!   document, whole: of two who write, the later save stands. What was only emptied is not saved.
//! * A text that does not parse is refused and nothing changes; what is wrong stands in the file's
//!   `user.kfs.error` until the next save, and in `.kfs/last-error`. Where there was no value, the
//!   text stays in memory under its name to be mended, as one does that was created and not written.
//! * Saving keeps whatever entries do not differ, as any `assoc_in` does: attributes, declared types,
//!   times. Numbers that JSON's readers cannot tell apart do not differ
//!   ([`json::keep_numbers`](crate::value::json::keep_numbers)).
//! * Removing a document removes the value. Renaming one onto another saves it there and removes it
//!   here, in one step. Renaming one to a name that is no document's sets it aside, as editors do with
//!   a backup: the name is free, and the value stays until another is saved under the name, or the
//!   file goes that has its text now.
//!
//! Files in memory go with the mount, and do not count as names: links, attributes, directories of
//! one's own cannot be made here.

mod attr;
mod change;
mod file;
mod form;
mod list;
mod open;
mod save;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use self::attr::of_documents;
pub use self::change::elsewhere;
pub use self::file::MAX_TEXT;
use self::file::{File, Memory};
pub use self::form::Form;
use self::list::Listing;
use super::{BESIDE, DOCUMENT};
use crate::value::KeyPath;
use crate::view::types::Ino;
use crate::view::{Result, ViewError};

/// The most files in memory, and the most documents whose last failure is remembered.
const MAX_FILES: usize = 10_000;
/// The longest text that is kept for who opens the document next, and what all of them may take.
const KEPT_TEXT: usize = 8 << 20;
const KEPT: usize = 32 << 20;

/// A directory of documents: a map or vector, or with the empty path the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dir {
    pub form: Form,
    pub path: KeyPath,
}

/// A name in a directory of documents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub dir: Dir,
    pub name: Box<[u8]>,
}

impl Place {
    fn new(dir: &Dir, name: &[u8]) -> Self {
        Self {
            dir: dir.clone(),
            name: name.into(),
        }
    }

    /// The name in the mount of the value that this is a document of.
    fn stem(&self) -> Option<&[u8]> {
        self.dir.form.stem(&self.name)
    }
}

/// What the kernel may know by a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    Dir(Dir),
    File(Place),
    /// `.kfs/last-error`.
    LastError,
}

impl Node {
    /// The number, the same in every mount of the store.
    fn number(&self) -> Ino {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        std::hash::Hash::hash(self, &mut hash);
        BESIDE | DOCUMENT | hash.digest()
    }
}

/// An open file.
#[derive(Debug)]
pub struct Handle {
    file: Arc<File>,
    write: bool,
    append: bool,
}

#[derive(Clone, Debug)]
enum Open {
    File(Arc<Handle>),
    Dir(Arc<Listing>),
}

/// What is in memory of documents.
#[derive(Debug, Default)]
pub struct Documents {
    next: AtomicU64,
    memory: Memory,
    state: Mutex<State>,
    kept: Mutex<Vec<Rendered>>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Ino, (Node, u64)>,
    open: HashMap<u64, Open>,
    /// Files that are no documents, or not yet.
    files: HashMap<Place, Arc<File>>,
    /// Documents that have been set aside, and the files that have their texts.
    aside: HashMap<Dir, u64>,
    /// What was wrong with the last save.
    errors: HashMap<Place, String>,
}

/// A text as it was when the store had been written to so often.
#[derive(Debug)]
struct Rendered {
    document: Dir,
    writes: u64,
    text: Arc<Vec<u8>>,
}

impl Documents {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the kernel knows by a number.
    pub fn get(&self, ino: Ino) -> Option<Node> {
        self.state
            .lock()
            .known
            .get(&ino)
            .map(|(node, _)| node.clone())
    }

    /// The number of something, with so many more references of the kernel.
    pub fn enter(&self, node: &Node, references: u64) -> Ino {
        let mut ino = node.number();
        let mut state = self.state.lock();
        loop {
            match state.known.get_mut(&ino) {
                Some((known, count)) if known == node => {
                    *count += references;
                    return ino;
                }
                Some(_) => ino = BESIDE | DOCUMENT | ino.wrapping_add(1),
                None => break,
            }
        }
        if references > 0 {
            state.known.insert(ino, (node.clone(), references));
        }
        ino
    }

    /// The kernel gives back references.
    pub fn forget(&self, ino: Ino, references: u64) {
        let mut state = self.state.lock();
        if let Some((_, count)) = state.known.get_mut(&ino) {
            *count = count.saturating_sub(references);
            if *count == 0 {
                state.known.remove(&ino);
            }
        }
    }

    fn opened(&self, open: Open) -> u64 {
        let fh = self.next();
        self.state.lock().open.insert(fh, open);
        fh
    }

    fn open_file(&self, fh: u64, operation: &'static str) -> Result<Arc<Handle>> {
        match self.state.lock().open.get(&fh) {
            Some(Open::File(handle)) => Ok(Arc::clone(handle)),
            _ => Err(ViewError::BadHandle { fh, operation }),
        }
    }

    fn open_dir(&self, fh: u64, operation: &'static str) -> Result<Arc<Listing>> {
        match self.state.lock().open.get(&fh) {
            Some(Open::Dir(listing)) => Ok(Arc::clone(listing)),
            _ => Err(ViewError::BadHandle { fh, operation }),
        }
    }

    /// Lets go of a handle.
    fn closed(&self, fh: u64) {
        // Dropping what it held takes no part of the state.
        let gone = self.state.lock().open.remove(&fh);
        drop(gone);
    }

    /// The file in memory at a place.
    fn file(&self, place: &Place) -> Option<Arc<File>> {
        self.state.lock().files.get(place).cloned()
    }

    /// Puts a file at a place, for what was there.
    fn put_file(&self, place: Place, file: Arc<File>) -> Result<Option<Arc<File>>> {
        let mut state = self.state.lock();
        if state.files.len() >= MAX_FILES && !state.files.contains_key(&place) {
            return Err(ViewError::NoSpace {
                what: "the memory for documents".into(),
            });
        }
        Ok(state.files.insert(place, file))
    }

    /// Takes a file from its place, if it is still the one there.
    fn take_file(&self, place: &Place, file: &Arc<File>) {
        let mut state = self.state.lock();
        if state
            .files
            .get(place)
            .is_some_and(|there| Arc::ptr_eq(there, file))
        {
            state.files.remove(place);
        }
    }

    /// Whether somebody has a file open that is saved at a place.
    fn is_written(&self, place: &Place) -> bool {
        let open: Vec<Open> = self.state.lock().open.values().cloned().collect();
        open.iter().any(|open| match open {
            Open::File(handle) if handle.write => {
                handle.file.content.lock().place.as_ref() == Some(place)
            }
            _ => false,
        })
    }

    /// The text of a document, if it was kept and nothing was written to the store since.
    fn kept(&self, document: &Dir, writes: u64) -> Option<Arc<Vec<u8>>> {
        let kept = self.kept.lock();
        let found = kept
            .iter()
            .find(|it| it.writes == writes && it.document == *document);
        found.map(|it| Arc::clone(&it.text))
    }

    fn keep(&self, document: &Dir, writes: u64, text: &Arc<Vec<u8>>) {
        if text.len() > KEPT_TEXT {
            return;
        }
        let mut kept = self.kept.lock();
        // The others are of no use to anybody.
        kept.retain(|it| it.writes == writes && it.document != *document);
        kept.push(Rendered {
            document: document.clone(),
            writes,
            text: Arc::clone(text),
        });
        let mut all: usize = kept.iter().map(|it| it.text.len()).sum();
        while all > KEPT {
            all -= kept.remove(0).text.len();
        }
    }
}
