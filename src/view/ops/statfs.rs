//! The size of the filesystem.

use super::super::types::StatFs;
use super::super::{Result, View};

const BLOCK: u32 = 4096;
/// Inode numbers have 63 bits; programs read the count as a signed number.
const INODES: u64 = 1 << 40;

impl View {
    /// Size and free space: those of the filesystem that the store lies in, or of the memory.
    ///
    /// # Errors
    /// None at present.
    pub fn statfs(&self) -> Result<StatFs> {
        let (free, total) = self.store.space().or_else(memory).unwrap_or((0, 0));
        let unit = u64::from(BLOCK);
        Ok(StatFs {
            blocks: total / unit,
            bfree: free / unit,
            bavail: free / unit,
            files: INODES,
            ffree: INODES - 1,
            bsize: BLOCK,
            namelen: 255,
            frsize: BLOCK,
        })
    }
}

fn memory() -> Option<(u64, u64)> {
    let info = nix::sys::sysinfo::sysinfo().ok()?;
    Some((info.ram_unused(), info.ram_total()))
}
