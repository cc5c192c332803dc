//! Open files and directories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::directory::Cursor;
use super::error::ViewError;
use super::inode::Inode;

/// An open file.
#[derive(Debug)]
pub struct FileHandle {
    /// The file.
    pub inode: Arc<Inode>,
    /// Whether it may be read through this handle.
    pub read: bool,
    /// Whether it may be written through this handle.
    pub write: bool,
}

/// An open directory.
#[derive(Debug)]
pub struct DirHandle {
    /// The directory.
    pub inode: Arc<Inode>,
    /// How far its listing is.
    pub cursor: Mutex<Cursor>,
}

/// Open handles by number.
#[derive(Debug, Default)]
pub struct Handles {
    next: AtomicU64,
    files: RwLock<FxHashMap<u64, Arc<FileHandle>>>,
    dirs: RwLock<FxHashMap<u64, Arc<DirHandle>>>,
}

impl Handles {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Opens a file.
    pub fn open(&self, handle: FileHandle) -> u64 {
        let fh = self.number();
        self.files.write().insert(fh, Arc::new(handle));
        fh
    }

    /// Opens a directory.
    pub fn open_dir(&self, handle: DirHandle) -> u64 {
        let fh = self.number();
        self.dirs.write().insert(fh, Arc::new(handle));
        fh
    }

    /// An open file.
    pub fn file(&self, fh: u64, operation: &'static str) -> Result<Arc<FileHandle>, ViewError> {
        self.files
            .read()
            .get(&fh)
            .cloned()
            .ok_or(ViewError::BadHandle { fh, operation })
    }

    /// An open directory.
    pub fn dir(&self, fh: u64, operation: &'static str) -> Result<Arc<DirHandle>, ViewError> {
        self.dirs
            .read()
            .get(&fh)
            .cloned()
            .ok_or(ViewError::BadHandle { fh, operation })
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.files.read().len() + self.dirs.read().len()
    }

    /// Closes a file.
    pub fn close(&self, fh: u64) -> Option<Arc<FileHandle>> {
        self.files.write().remove(&fh)
    }

    /// Closes a directory.
    pub fn close_dir(&self, fh: u64) -> Option<Arc<DirHandle>> {
        self.dirs.write().remove(&fh)
    }
}
