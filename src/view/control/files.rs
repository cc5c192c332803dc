//! Files of `.kfs` whose content is made on demand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::roots::Roots;
use super::{EVENTS, METRICS, Namespace, STATS};
use crate::view::events::{Events, Reader};
use crate::view::types::{Attr, FileKind, Ino, Lasting, Opened, Time};
use crate::view::{Result, ViewError};

/// The files, by name.
pub(super) const FILES: &[(&[u8], Ino)] = &[
    (b"events", EVENTS),
    (b"metrics", METRICS),
    (b"stats.json", STATS),
];

/// The open ones.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    open: Mutex<HashMap<u64, Arc<Open>>>,
    next: AtomicU64,
}

/// What is read from a handle.
#[derive(Debug)]
enum Open {
    /// As it was when the file was opened.
    Fixed(Vec<u8>),
    /// What happens.
    Events(Reader),
}

impl OpenFiles {
    fn get(&self, fh: u64) -> Result<Arc<Open>> {
        let open = self.open.lock().get(&fh).cloned();
        open.ok_or(ViewError::BadHandle {
            fh,
            operation: "reading",
        })
    }
}

impl Namespace {
    /// Opens a file for reading.
    pub(super) fn open_control(&self, ino: Ino, flags: i32) -> Result<Opened> {
        let content = match ino {
            EVENTS => Open::Events(self.live.events().reader()),
            METRICS => Open::Fixed(self.live.stats().to_prometheus().into_bytes()),
            STATS => Open::Fixed(format!("{:#}\n", self.live.stats().to_json()).into_bytes()),
            ino => return Err(ViewError::IsDirectory { ino }),
        };
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            return Err(ViewError::NotPermitted {
                what: "a file of .kfs".into(),
                why: "it is for reading only".into(),
            });
        }
        let fh = self.files.next.fetch_add(1, Ordering::Relaxed);
        self.files.open.lock().insert(fh, Arc::new(content));
        Ok(Opened {
            fh: Roots::file_handle(fh),
            // Its length is known when it has been read.
            direct_io: true,
            keep_cache: false,
            no_flush: true,
        })
    }

    pub(super) fn read_control(&self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        match &*self.files.get(fh)? {
            Open::Fixed(content) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = content.get(from..).unwrap_or_default();
                Ok(rest.iter().take(size as usize).copied().collect())
            }
            Open::Events(reader) => Ok(reader.read(offset, size as usize)),
        }
    }

    pub(super) fn release_control(&self, fh: u64) {
        self.files.open.lock().remove(&fh);
    }

    /// What changes.
    #[must_use]
    pub fn events(&self) -> &Arc<Events> {
        self.live.events()
    }

    /// Whether reading on would give something at once; nobody waits for any other file.
    ///
    /// # Errors
    /// [`ViewError::BadHandle`].
    pub fn has_more(&self, fh: u64) -> Result<bool> {
        let super::roots::Handle::File(fh) = self.roots.handle(fh)? else {
            return Ok(true);
        };
        match &*self.files.get(fh)? {
            Open::Fixed(_) => Ok(true),
            Open::Events(reader) => Ok(reader.has_more()),
        }
    }

    pub(super) fn file_attr(&self, ino: Ino) -> Attr {
        let told = match ino {
            EVENTS => self.live.events().told(),
            _ => None,
        };
        let (size, time) = told.unwrap_or_else(|| (0, Time::now()));
        Attr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: self.live.store().created(),
            kind: FileKind::File,
            perm: 0o400,
            nlink: 1,
            uid: self.live.options.uid,
            gid: self.live.options.gid,
            rdev: 0,
            blksize: 4096,
            lasting: Lasting::Momentary,
        }
    }
}
