//! The file `synced`, which says up to which record everything is durable.
//!
//! It is written after each sync and not synced itself: what it says was true before it was
//! said, so it may lag behind, and a torn or missing one says nothing. It is there for the case
//! that nothing follows the records that are missing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::frame::{Key, NOTE, decode_note, encode_note};

const NOTE_FILE: &str = "synced";

/// The note of a journal that is open.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
    /// Opened by the first writing.
    file: Mutex<Option<File>>,
}

impl Note {
    pub fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(NOTE_FILE),
            file: Mutex::default(),
        }
    }

    /// Notes that everything up to `synced` is durable. A failure does no harm: this only helps
    /// to tell damage from a torn end.
    pub fn write(&self, key: &Key, synced: u64) {
        let mut file = self.file.lock();
        if file.is_none() {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false);
            *file = options.open(&self.path).ok();
        }
        let written = file
            .as_ref()
            .map(|file| file.write_all_at(&encode_note(key, synced), 0));
        if !matches!(written, Some(Ok(()))) {
            tracing::debug!("journal: {} not written: {written:?}", self.path.display());
        }
    }
}

/// Whether a file of a journal is its note.
pub fn is_note(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NOTE_FILE)
}

/// What the note in `dir` says; 0 if it says nothing.
pub fn read(dir: &Path, key: &Key) -> u64 {
    let mut note = [0; NOTE];
    let read = File::open(dir.join(NOTE_FILE)).and_then(|file| file.read_exact_at(&mut note, 0));
    read.ok()
        .and_then(|()| decode_note(key, &note))
        .unwrap_or(0)
}
