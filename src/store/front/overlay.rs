//! A store that is laid over: what it is told is in its front, and stays there; nothing of its own is ever
//! written to.
//!
//! ```text
//! DIR/kfs.lock           held (flock) by who has it open
//! DIR/overlay.new/       one that is being made
//! DIR/overlay/lies-on    "1 UUID STATE\n": the format version, the store's UUID, and what it was then
//! DIR/overlay/blobs/     an embedded storage: what was written since, and what is gone since, as drawn
//!                        in `backend::overlay`
//! DIR/overlay/journal/   the store's journal, which begins as a copy of what waited in the store's own
//!
//!                 header | mark of what is coming in | record, record, … that wait in the journal
//! STATE = BLAKE3  -----------------------------------------------------------------------------  in hex
//!                 each: its length, u64 LE, or 2^64 - 1 where there is none; bytes
//! ```
//!
//! Every fold writes the header anew with a later sequence number, and everything that is not folded is in
//! the journal. So a store of the same state has the same records, and all the pages that these refer to:
//! it may have been opened for writing since, and pages to which nothing refers may have been freed. Of
//! another state the pages that the front refers to may be gone: then it is refused, and stays as it is.
//!
//! While it is open, the lock of the store is held as by any other reader, so that nobody writes to it;
//! several fronts may lie over one store at the same time. In the store's directory there is no word of them.
//!
//! The directory `overlay` is made under another name, with everything in it durable, and what it lies on,
//! too, and then renamed: it is there whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BLOBS, Copied, FrontOptions, Tiers, make_dir, refuse};
use crate::backend::embedded::Embedded;
use crate::backend::overlay::Overlay;
use crate::backend::tiered::Writes;
use crate::backend::{Access, Deadline, LOCK_FILE, Lock, replace};
use crate::journal::Recovery;
use crate::store::header::{HEADER, Header};
use crate::store::lifecycle::JOURNAL;
use crate::store::mark::INCOMING;
use crate::store::storage::in_use;
use crate::store::{ConnectOptions, Location, OverlayUse, StoreError, disk_use};
use crate::tree::{PATIENCE, hex};

const OVERLAY: &str = "overlay";
const NEW: &str = "overlay.new";
const LIES_ON: &str = "lies-on";
const VERSION: &str = "1";

/// Whether a directory is the front of a store that is laid over.
pub fn is_in(dir: &Path) -> bool {
    dir.join(OVERLAY).join(LIES_ON).exists()
}

/// The front of a store that is laid over.
#[derive(Debug)]
pub struct Layer {
    dir: PathBuf,
    _lock: Lock,
}

impl Layer {
    /// Opens the front over the store in the directory `store`, which is open for reading and has this
    /// header; makes it, if there is none and it may be written to.
    ///
    /// # Errors
    /// [`StoreError::Front`] if it lies over another store, or another state of it.
    pub fn open(
        front: &FrontOptions,
        (store, back, header): (&Path, Tiers, &Header),
        options: &ConnectOptions,
    ) -> Result<Tiers, StoreError> {
        let failed = |e: io::Error| refuse(&front.dir, e);
        check(front, store)?;
        if !options.read_only {
            prepare(&front.dir)?;
        } else if !front.dir.join(OVERLAY).exists() {
            return Err(refuse(
                &front.dir,
                "nothing was written over the store there, and for reading only nothing is made",
            ));
        }
        let dir = fs::canonicalize(&front.dir).map_err(failed)?;
        let access = match options.read_only {
            true => Access::Read,
            false => Access::ReadWrite,
        };
        let here = Location::Embedded(dir.clone());
        let lock = Lock::acquire(&dir, access, options.wait).map_err(|e| in_use(&here, e))?;
        let state = state_of(&back, header)?;
        if !dir.join(OVERLAY).exists() {
            let lies_on = format!("{VERSION} {} {state}\n", header.id);
            make(&dir, (store, &back), &lies_on).map_err(|e| refuse(&dir, e))?;
        }
        let overlay = dir.join(OVERLAY);
        check_lies_on(&dir, header, &state)?;
        let blobs = Arc::new(Embedded::open(&overlay.join(BLOBS), access, options.wait)?);
        Ok(Tiers {
            backend: Arc::new(Overlay::new(blobs, back.backend)),
            front: None,
            overlay: Some(Self { dir, _lock: lock }),
            journal: Some(overlay.join(JOURNAL)),
            cipher: back.cipher,
        })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How it does.
    pub fn standing(&self) -> OverlayUse {
        OverlayUse {
            bytes: disk_use(&self.dir.join(OVERLAY)),
        }
    }
}

/// Refuses what is said of copies, of which there are none, and a front that would be in the store.
fn check(front: &FrontOptions, store: &Path) -> Result<(), StoreError> {
    if (front.writes, front.size, front.copies) != (Writes::Through, None, Copied::AsUsed) {
        return Err(refuse(
            &front.dir,
            "what is written to it alone is no copy: it has no bound, is not populated and not written around",
        ));
    }
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| refuse(&front.dir, e));
    if absolute(&front.dir)?.starts_with(absolute(store)?) {
        let reason = "it is in the store's own directory, to which nothing is to be written";
        return Err(refuse(&front.dir, reason));
    }
    Ok(())
}

/// Makes the directory, and refuses one that has something else in it.
fn prepare(dir: &Path) -> Result<(), StoreError> {
    let failed = |e: io::Error| refuse(dir, e);
    make_dir(dir).map_err(failed)?;
    if dir.join(OVERLAY).exists() {
        return Ok(());
    }
    let ours = [LOCK_FILE, NEW];
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !ours.iter().any(|ours| name == *ours) {
            let name = name.display();
            let reason = format!(
                "there is {name} in it, which is of something else; give an empty directory"
            );
            return Err(refuse(dir, reason));
        }
    }
    Ok(())
}

/// What tells one state of a store from all others.
fn state_of(store: &Tiers, header: &Header) -> Result<String, StoreError> {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        hash.update(&length.to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    for address in [HEADER, INCOMING] {
        let blob = store.backend.get(address, Deadline::after(PATIENCE))?;
        part(blob.as_ref().map(|blob| blob.bytes.as_slice()));
    }
    if let Some(journal) = &store.journal {
        let mut found = Recovery::read(journal, &header.id, header.folded)?;
        for record in found.take_records() {
            part(Some(&record.payload));
        }
    }
    Ok(hex(hash.finalize().as_bytes()))
}

/// Refuses a front that lies on something else.
fn check_lies_on(dir: &Path, header: &Header, state: &str) -> Result<(), StoreError> {
    let path = dir.join(OVERLAY).join(LIES_ON);
    let text = fs::read_to_string(&path).map_err(|source| StoreError::Io {
        what: format!("reading {}", path.display()),
        source,
    })?;
    let words: Vec<&str> = text.trim_end_matches('\n').split(' ').collect();
    let shown = dir.display();
    let reason = match words.as_slice() {
        [version, ..] if *version != VERSION => format!(
            "its format is {version:?} and only {VERSION} is known here; use the kfs that wrote it"
        ),
        [_, id, _] if *id != header.id.to_string() => format!(
            "what is in it was written over the store {id}, and this one is {}; give another directory",
            header.id
        ),
        [_, _, lies_on] if *lies_on == state => return Ok(()),
        _ => format!(
            "what is in it was written over a state that the store is not in any more, as the store was \
             written to since: bring that state back from a backup, or give up what is in {shown} by \
             removing it, or give another directory"
        ),
    };
    Err(refuse(dir, reason))
}

/// Makes a front that has nothing but the store's journal.
fn make(dir: &Path, (store, back): (&Path, &Tiers), lies_on: &str) -> Result<(), String> {
    let shown = |e: io::Error| e.to_string();
    let new = dir.join(NEW);
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(shown)?,
    }
    fs::create_dir(&new).map_err(shown)?;
    // What lies on it must not be there after a power loss while a part of it is not.
    nix::unistd::syncfs(File::open(store).map_err(shown)?).map_err(|e| e.to_string())?;
    let journal = new.join(JOURNAL);
    fs::create_dir(&journal).map_err(shown)?;
    if let Some(from) = &back.journal {
        copy_files(from, &journal).map_err(shown)?;
    }
    Embedded::create(&new.join(BLOBS), std::time::Duration::ZERO).map_err(|e| e.to_string())?;
    replace(&new, LIES_ON, lies_on.as_bytes()).map_err(shown)?;
    fs::rename(&new, dir.join(OVERLAY)).map_err(shown)?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(shown)
}

/// Copies the files of a directory, durably.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy)?;
        File::open(copy)?.sync_all()?;
    }
    File::open(to)?.sync_all()
}
