//! Ranges of a file: allocation, holes, copies.

use super::super::types::Caller;
use super::super::work::State;
use super::super::{Result, View, ViewError, failure};
use super::file::MAX_LEN;

/// Bytes copied at a time.
const STEP: u64 = 1 << 20;

impl View {
    /// `fallocate(2)`: extends, or makes a range zeros. Nothing is reserved.
    ///
    /// # Errors
    /// [`ViewError::NotSupported`] for other modes; [`ViewError::TooBig`].
    pub fn fallocate(
        &self,
        caller: &Caller,
        fh: u64,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Result<()> {
        const KEEP_SIZE: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP_SIZE;
        const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
        const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | KEEP_SIZE;
        let handle = self.handles.file(fh, "allocating")?;
        if !handle.write {
            return Err(ViewError::BadHandle {
                fh,
                operation: "allocating",
            });
        }
        let end = offset.saturating_add(len);
        if end > MAX_LEN {
            return Err(ViewError::TooBig {
                what: "the file".into(),
                size: end,
                limit: MAX_LEN,
            });
        }
        let (zero, extend) = match mode {
            0 => (false, true),
            KEEP_SIZE => (false, false),
            PUNCH | ZERO_KEEP => (true, false),
            ZERO => (true, true),
            _ => {
                return Err(ViewError::NotSupported {
                    what: "fallocate".into(),
                    why: "only allocating, punching holes and zeroing are possible".into(),
                });
            }
        };
        let inode = &handle.inode;
        let mut work = inode.work.lock();
        self.refresh(inode, &mut work)?;
        let pager = self.store.pager();
        let Some(buffer) = &mut work.buffer else {
            return Err(ViewError::Stale { ino: inode.ino });
        };
        if zero {
            buffer
                .zero(offset, len, pager)
                .map_err(failure::in_inode(inode.ino))?;
        }
        if extend && end > buffer.len() {
            buffer
                .truncate(end, pager)
                .map_err(failure::in_inode(inode.ino))?;
        }
        // The kernel leaves it to the filesystem to take setuid away, and counts a change in any case.
        work.kill |= caller.uid != 0;
        work.state = State::Written;
        work.mtime = Some(self.time());
        self.dirty.add(inode);
        Ok(())
    }

    /// `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE`.
    ///
    /// # Errors
    /// [`ViewError::NothingThere`]; [`ViewError::Invalid`] for another `whence`.
    pub fn lseek(&self, fh: u64, offset: i64, whence: i32) -> Result<u64> {
        let handle = self.handles.file(fh, "seeking")?;
        let inode = &handle.inode;
        let mut work = inode.work.lock();
        self.refresh(inode, &mut work)?;
        let Some(buffer) = &work.buffer else {
            return Err(ViewError::Stale { ino: inode.ino });
        };
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => {
                return Err(ViewError::invalid(
                    "lseek",
                    "only SEEK_DATA and SEEK_HOLE come here",
                ));
            }
        };
        let nothing = ViewError::NothingThere {
            ino: inode.ino,
            offset: u64::try_from(offset).unwrap_or(0),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return Err(nothing);
        };
        let found = buffer
            .seek(offset, data, self.store.pager())
            .map_err(failure::in_inode(inode.ino))?;
        found.ok_or(nothing)
    }

    /// Copies a range from one open file to another and gives the bytes copied.
    ///
    /// # Errors
    /// Those of reading and writing; [`ViewError::Invalid`] for overlapping ranges of one file.
    pub fn copy_file_range(
        &self,
        caller: &Caller,
        fh_in: u64,
        off_in: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
    ) -> Result<u64> {
        let (from, to) = (
            self.handles.file(fh_in, "reading")?,
            self.handles.file(fh_out, "writing")?,
        );
        let overlap = off_in < off_out.saturating_add(len) && off_out < off_in.saturating_add(len);
        if from.inode.ino == to.inode.ino && overlap {
            return Err(ViewError::invalid("copy_file_range", "the ranges overlap"));
        }
        let mut done = 0;
        while done < len {
            let want = u32::try_from((len - done).min(STEP)).unwrap_or(u32::MAX);
            let bytes = self.read(fh_in, off_in + done, want)?;
            if bytes.is_empty() {
                break;
            }
            self.write(caller, fh_out, off_out + done, &bytes, caller.uid != 0)?;
            done += bytes.len() as u64;
        }
        Ok(done)
    }
}
