//! Opening, reading, writing and closing files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::inode::Inode;
use super::super::special;
use super::super::types::{Caller, FileKind, Ino, Opened};
use super::super::work::{State, Work};
use super::super::{Result, View, ViewError, failure};
use super::create::is_dirty;

/// The longest file: what a signed 64-bit offset reaches.
pub(super) const MAX_LEN: u64 = i64::MAX as u64;
/// A working copy keeps at most about that many written bytes in memory.
const MAX_STAYING: u64 = 4 << 20;

impl View {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ViewError::IsDirectory`]; [`ViewError::ReadOnly`]; [`ViewError::Stale`].
    pub fn open(&self, caller: &Caller, ino: Ino, flags: i32) -> Result<Opened> {
        let write = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        if write {
            self.writable()?;
        }
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        let orphan = work.orphan;
        let found = self.current(&inode, &mut work)?;
        if work.orphan && !orphan {
            // The API has replaced it, and the kernel has not heard of it yet: it looks again.
            return Err(ViewError::Stale { ino });
        }
        match special::kind(&found.entry.node).0 {
            FileKind::Dir => return Err(ViewError::IsDirectory { ino }),
            FileKind::File => {}
            _ => {
                return Err(ViewError::invalid(
                    "open",
                    "the kernel opens special files itself",
                ));
            }
        }
        if work.buffer.is_none() {
            self.load(&inode, &mut work, found)?;
        }
        if flags & libc::O_TRUNC != 0 {
            work.kill |= caller.uid != 0;
            self.resize(&inode, &mut work, 0)?;
        }
        let mut opened = self.new_handle(&inode, flags, true);
        drop(work);
        if self.kernel_is_behind(ino) {
            // It would take pages of the content before for this one's, or cut this one to the size
            // of that.
            opened.keep_cache = false;
            opened.direct_io = !write;
        }
        Ok(opened)
    }

    /// Whether what the kernel has cached of a file may be from before a change from elsewhere, of
    /// which it will be told.
    fn kernel_is_behind(&self, ino: Ino) -> bool {
        self.kernel.get().is_some_and(|kernel| {
            // What was read just now may be so new that nobody has heard of it.
            self.store.wait_until_observed();
            kernel.is_behind(ino)
        })
    }

    /// Cuts or extends a working copy.
    pub(super) fn resize(&self, inode: &Arc<Inode>, work: &mut Work, len: u64) -> Result<()> {
        if len > MAX_LEN {
            return Err(ViewError::TooBig {
                what: "the file".into(),
                size: len,
                limit: MAX_LEN,
            });
        }
        let pager = self.store.pager();
        let Some(buffer) = &mut work.buffer else {
            return Err(ViewError::Stale { ino: inode.ino });
        };
        buffer
            .truncate(len, pager)
            .map_err(failure::in_inode(inode.ino))?;
        work.state = work.state.max(State::Touched);
        work.mtime = Some(self.time());
        self.dirty.add(inode);
        Ok(())
    }

    /// Up to `size` bytes from `offset`; fewer only at the end.
    ///
    /// # Errors
    /// Damage; a failure of the store; [`ViewError::BadHandle`].
    pub fn read(&self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        let handle = self.handles.file(fh, "reading")?;
        if !handle.read {
            return Err(ViewError::BadHandle {
                fh,
                operation: "reading",
            });
        }
        let inode = &handle.inode;
        let buffer = {
            let mut work = inode.work.lock();
            self.refresh(inode, &mut work)?;
            match &work.buffer {
                Some(buffer) if buffer.unsaved() == 0 => buffer.clone(),
                Some(buffer) => {
                    let want = usize::try_from(size).unwrap_or(usize::MAX);
                    return buffer
                        .read(offset, want, self.store.pager())
                        .map_err(failure::in_inode(inode.ino));
                }
                None => return Err(ViewError::Stale { ino: inode.ino }),
            }
        };
        let want = usize::try_from(size).unwrap_or(usize::MAX);
        buffer
            .read(offset, want, self.store.pager())
            .map_err(failure::in_inode(inode.ino))
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// [`ViewError::TooBig`]; damage where the old bytes are needed; a failure of the store.
    pub fn write(
        &self,
        _caller: &Caller,
        fh: u64,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
    ) -> Result<u32> {
        let handle = self.handles.file(fh, "writing")?;
        if !handle.write {
            return Err(ViewError::BadHandle {
                fh,
                operation: "writing",
            });
        }
        let end = offset.saturating_add(data.len() as u64);
        if end > MAX_LEN {
            return Err(ViewError::TooBig {
                what: "the file".into(),
                size: end,
                limit: MAX_LEN,
            });
        }
        let inode = &handle.inode;
        let mut work = inode.work.lock();
        self.refresh(inode, &mut work)?;
        let Some(buffer) = &mut work.buffer else {
            return Err(ViewError::Stale { ino: inode.ino });
        };
        buffer
            .write(offset, data, self.store.pager())
            .map_err(failure::in_inode(inode.ino))?;
        buffer.settle_if_over();
        if buffer.staying() > MAX_STAYING {
            buffer.spill_behind(&self.store, &self.behind)?;
        }
        work.state = State::Written;
        work.kill |= kill_priv;
        work.mtime = Some(self.time());
        self.dirty.add(inode);
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// A descriptor was closed: commits what was written. It may come several times.
    ///
    /// # Errors
    /// What kept the content from being committed; it stays to be tried again.
    pub fn flush(&self, fh: u64) -> Result<()> {
        let handle = self.handles.file(fh, "closing")?;
        if !handle.write {
            return Ok(());
        }
        let mut work = handle.inode.work.lock();
        // A file that was only created or truncated is not committed: `> f` closes it once before
        // anything is written.
        if work.state == State::Touched {
            return Ok(());
        }
        self.commit_work(&handle.inode, &mut work)
    }

    /// The last descriptor of a handle was closed.
    ///
    /// # Errors
    /// [`ViewError::BadHandle`]; what keeps the content from being committed is tried again and
    /// logged, for nobody waits for this answer.
    pub fn release(&self, fh: u64) -> Result<()> {
        let Some(handle) = self.handles.close(fh) else {
            return Err(ViewError::BadHandle {
                fh,
                operation: "releasing",
            });
        };
        let inode = &handle.inode;
        // Opening counts its handle with the working copy locked: one that comes now keeps it.
        let mut work = inode.work.lock();
        let last = inode.handles.load(Ordering::Acquire) == 1;
        let done = if last {
            self.commit_work(inode, &mut work)
        } else {
            self.refresh(inode, &mut work)
        };
        // Only now: what the API wrote meanwhile is looked into as what came while it was open.
        if handle.write {
            inode.writers.fetch_sub(1, Ordering::AcqRel);
        }
        if last {
            match done {
                Ok(()) => {}
                Err(e) if e.is_refusal() => {
                    // Refused content that nobody has open any more: the old value stays.
                    self.clean(inode, &mut work);
                    if work.pending {
                        work.orphan = true;
                        work.pending = false;
                        drop(work);
                        self.table.unlink(inode);
                        self.table.closed(inode);
                        return Ok(());
                    }
                    if let Some(kernel) = self.kernel.get() {
                        kernel.inode(inode.ino);
                    }
                }
                Err(e) => {
                    tracing::warn!(ino = inode.ino, error = %e, "a closed file is not committed yet; trying again");
                }
            }
            work.settle();
        }
        drop(work);
        self.table.closed(inode);
        Ok(())
    }

    /// Makes a file durable.
    ///
    /// # Errors
    /// What kept it from being so.
    pub fn fsync(&self, fh: u64, _datasync: bool) -> Result<()> {
        let handle = self.handles.file(fh, "syncing")?;
        if self.options.read_only {
            return Ok(());
        }
        {
            let mut work = handle.inode.work.lock();
            if is_dirty(&work) {
                self.commit_work(&handle.inode, &mut work)?;
            }
        }
        self.sync(&handle.inode)
    }

    fn sync(&self, inode: &Arc<Inode>) -> Result<()> {
        self.store.sync().map_err(|e| {
            let e = ViewError::from(e);
            let mut work = inode.work.lock();
            self.note_failure(inode, &mut work, &e);
            e
        })
    }

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What kept them from being so.
    pub fn fsyncdir(&self, fh: u64, _datasync: bool) -> Result<()> {
        let handle = self.handles.dir(fh, "syncing")?;
        if self.options.read_only {
            return Ok(());
        }
        for (_, inode) in self.table.pending(handle.inode.ino) {
            self.commit(&inode)?;
        }
        self.sync(&handle.inode)
    }
}
