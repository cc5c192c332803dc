//! Failures on purpose, set by a test for its own thread. In any other build there are none.

#[cfg(not(test))]
pub use off::{directory_synced, sync, write};
#[cfg(test)]
pub use on::{
    FAIL_SYNC, SHORT_WRITE, SLOW_SYNC, STEPS, SYNCS_TO_FAILURE, Step, directory_synced, sync, write,
};

#[cfg(not(test))]
mod off {
    use std::fs::File;
    use std::io::Result;

    #[expect(clippy::unnecessary_wraps, reason = "the one for tests does fail")]
    pub fn sync() -> Result<()> {
        Ok(())
    }

    pub fn directory_synced() {}

    #[expect(clippy::unnecessary_wraps, reason = "the one for tests does fail")]
    pub fn write(_: &File, _: &[u8], _: u64) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod on {
    use std::cell::{Cell, RefCell};
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
        /// So many syncs succeed, and the next one fails.
        pub static SYNCS_TO_FAILURE: Cell<Option<usize>> = const { Cell::new(None) };
        /// What was done, in order.
        pub static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
        /// Every sync takes this much longer.
        pub static SLOW_SYNC: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A step that counts after a power loss.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Step {
        Write,
        Sync,
        SyncDirectory,
    }

    pub fn directory_synced() {
        STEPS.with_borrow_mut(|steps| steps.push(Step::SyncDirectory));
    }

    pub fn sync() -> Result<()> {
        STEPS.with_borrow_mut(|steps| steps.push(Step::Sync));
        thread::sleep(SLOW_SYNC.get());
        let left = SYNCS_TO_FAILURE.take();
        SYNCS_TO_FAILURE.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) {
            return Err(Error::other("sync failed on purpose"));
        }
        if FAIL_SYNC.take() {
            Err(Error::other("sync failed on purpose"))
        } else {
            Ok(())
        }
    }

    pub fn write(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
        STEPS.with_borrow_mut(|steps| steps.push(Step::Write));
        let Some(length) = SHORT_WRITE.take() else {
            return Ok(());
        };
        file.write_all_at(bytes.get(..length).unwrap_or(bytes), offset)?;
        Err(Error::from(ErrorKind::StorageFull))
    }
}
