//! Failures on purpose, set by a test for its own thread. In any other build there are none.

#[cfg(not(test))]
pub use off::{sync, write};
#[cfg(test)]
pub use on::{FAIL_SYNC, SHORT_WRITE, SLOW_SYNC, sync, write};

#[cfg(not(test))]
mod off {
    use std::fs::File;
    use std::io::Result;

    #[expect(clippy::unnecessary_wraps, reason = "the one for tests does fail")]
    pub fn sync() -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the one for tests does fail")]
    pub fn write(_: &File, _: &[u8], _: u64) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod on {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::{Error, ErrorKind, Result};
    use std::os::unix::fs::FileExt;
    use std::thread;
    use std::time::Duration;

    thread_local! {
        /// The next write gets this many bytes onto the disk, and then there is no space.
        pub static SHORT_WRITE: Cell<Option<usize>> = const { Cell::new(None) };
        /// The next sync fails.
        pub static FAIL_SYNC: Cell<bool> = const { Cell::new(false) };
        /// Every sync takes this much longer.
        pub static SLOW_SYNC: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    pub fn sync() -> Result<()> {
        thread::sleep(SLOW_SYNC.get());
        if FAIL_SYNC.take() {
            Err(Error::other("sync failed on purpose"))
        } else {
            Ok(())
        }
    }

    pub fn write(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
        let Some(length) = SHORT_WRITE.take() else {
            return Ok(());
        };
        file.write_all_at(bytes.get(..length).unwrap_or(bytes), offset)?;
        Err(Error::from(ErrorKind::StorageFull))
    }
}
