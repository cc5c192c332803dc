//! Ranges of a file: allocation, holes, copies.

use super::super::buffer::{CHUNK_LEN, Shared};
use super::super::handles::FileHandle;
use super::super::types::Caller;
use super::super::work::State;
use super::super::{Result, View, ViewError, failure};
use super::file::MAX_LEN;

/// Bytes copied at a time.
const STEP: u64 = 1 << 20;
/// Bytes that one call copies, beside what it shares; the kernel asks for the rest.
const MOST_COPIED: u64 = 32 << 20;
/// Chunks that are shared at a time.
const MOST_SHARED: usize = 4096;

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

    /// Copies a range from one open file to another and gives the bytes copied, which may be fewer.
    /// Chunks that are in pages are shared where both ranges have them at their beginning.
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
        for (may, fh, operation) in [(from.read, fh_in, "reading"), (to.write, fh_out, "writing")] {
            if !may {
                return Err(ViewError::BadHandle { fh, operation });
            }
        }
        let overlap = off_in < off_out.saturating_add(len) && off_out < off_in.saturating_add(len);
        if from.inode.ino == to.inode.ino && overlap {
            return Err(ViewError::invalid("copy_file_range", "the ranges overlap"));
        }
        let alike = off_in % CHUNK_LEN == off_out % CHUNK_LEN;
        // The kernel leaves it to the filesystem to take setuid away here, too.
        let kill = caller.uid != 0;
        let (mut done, mut copied) = (0, 0);
        while done < len && copied < MOST_COPIED {
            let (at_in, at_out) = (off_in + done, off_out + done);
            if alike && at_in.is_multiple_of(CHUNK_LEN) {
                let shared = self.share((&from, at_in), (&to, at_out), len - done, kill)?;
                if shared > 0 {
                    done += shared;
                    continue;
                }
            }
            // Up to where sharing may go on.
            let step = if alike {
                CHUNK_LEN - at_in % CHUNK_LEN
            } else {
                STEP
            };
            let want = u32::try_from((len - done).min(step)).unwrap_or(u32::MAX);
            let bytes = self.read(fh_in, at_in, want)?;
            if bytes.is_empty() {
                break;
            }
            self.write(caller, fh_out, at_out, &bytes, kill)?;
            done += bytes.len() as u64;
            copied += bytes.len() as u64;
        }
        Ok(done)
    }

    /// Copies chunks by reference from the beginning of one to that of another, as far as all of
    /// them can be, and gives the bytes.
    fn share(
        &self,
        (from, at_in): (&FileHandle, u64),
        (to, at_out): (&FileHandle, u64),
        len: u64,
        kill: bool,
    ) -> Result<u64> {
        let pager = self.store.pager();
        let mut chunks: Vec<(Shared, u64)> = Vec::new();
        {
            let mut work = from.inode.work.lock();
            self.refresh(&from.inode, &mut work)?;
            let ino = from.inode.ino;
            let Some(buffer) = &work.buffer else {
                return Err(ViewError::Stale { ino });
            };
            let end = at_in.saturating_add(len).min(buffer.len());
            let mut at = at_in;
            while at < end && chunks.len() < MOST_SHARED {
                let count = (end - at).min(CHUNK_LEN);
                let shared = buffer
                    .shared(at / CHUNK_LEN, count, pager)
                    .map_err(failure::in_inode(ino))?;
                let Some(shared) = shared else { break };
                chunks.push((shared, count));
                at += count;
            }
        }
        if chunks.is_empty() {
            return Ok(0);
        }
        let inode = &to.inode;
        let mut work = inode.work.lock();
        self.refresh(inode, &mut work)?;
        let Some(buffer) = &mut work.buffer else {
            return Err(ViewError::Stale { ino: inode.ino });
        };
        let mut done = 0;
        for (shared, count) in chunks {
            let index = (at_out + done) / CHUNK_LEN;
            if at_out + done + count > MAX_LEN || !buffer.takes_whole(index, count) {
                break;
            }
            buffer.place(index, shared, count);
            done += count;
        }
        if done > 0 {
            work.kill |= kill;
            work.state = State::Written;
            work.mtime = Some(self.time());
            self.dirty.add(inode);
        }
        Ok(done)
    }
}
