//! Commits what programs leave open: a written file at most a few seconds after the write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::buffer::Buffer;
use super::inode::Inode;
use super::types::Ino;
use super::{Result, View, ViewError};

/// A change waits at most this long for its commit.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the timer looks.
const TICK: Duration = Duration::from_millis(500);

/// Inodes with something to commit.
#[derive(Debug, Default)]
pub struct Dirty(Mutex<FxHashMap<Ino, (Arc<Inode>, Instant)>>);

impl Dirty {
    /// The inode has something to commit since now, or since before.
    pub fn add(&self, inode: &Arc<Inode>) {
        let mut dirty = self.0.lock();
        inode.dirty.store(true, Ordering::Release);
        dirty
            .entry(inode.ino)
            .or_insert_with(|| (Arc::clone(inode), Instant::now()));
    }

    /// The inode has nothing to commit.
    pub fn remove(&self, inode: &Inode) {
        let mut dirty = self.0.lock();
        inode.dirty.store(false, Ordering::Release);
        // Another inode may have come to have this number.
        if dirty
            .get(&inode.ino)
            .is_some_and(|(held, _)| std::ptr::eq(&raw const **held, inode))
        {
            dirty.remove(&inode.ino);
        }
    }

    /// How many inodes have something to commit.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Bytes in them that are in memory only, but for those that are being used right now.
    pub fn unsaved(&self) -> u64 {
        let inodes: Vec<Arc<Inode>> = {
            let dirty = self.0.lock();
            dirty.values().map(|(inode, _)| Arc::clone(inode)).collect()
        };
        let unsaved = inodes.iter().filter_map(|inode| {
            let work = inode.work.try_lock()?;
            work.buffer.as_ref().map(Buffer::unsaved)
        });
        unsaved.sum()
    }

    /// All inodes with something to commit.
    pub fn take_all(&self) -> Vec<Arc<Inode>> {
        self.0.lock().drain().map(|(_, (inode, _))| inode).collect()
    }

    /// The same, which stay as they are.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        let dirty = self.0.lock();
        dirty.values().map(|(inode, _)| Arc::clone(inode)).collect()
    }

    /// Those whose time has come; they wait anew if they stay dirty.
    fn due(&self) -> Vec<Arc<Inode>> {
        let mut dirty = self.0.lock();
        let now = Instant::now();
        let mut due = Vec::new();
        for (inode, since) in dirty.values_mut() {
            if now.duration_since(*since) >= PATIENCE {
                *since = now;
                due.push(Arc::clone(inode));
            }
        }
        due
    }
}

/// Starts the timer of a view; it ends with the view.
pub fn start(view: &Arc<View>) -> Result<()> {
    let weak: Weak<View> = Arc::downgrade(view);
    std::thread::Builder::new()
        .name("kfs-commit".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(TICK);
                let Some(view) = weak.upgrade() else { return };
                view.hints.expire();
                for inode in view.dirty.due() {
                    let ino = inode.ino;
                    // A bug met by one file must not keep the others from being committed.
                    match catch_unwind(AssertUnwindSafe(|| view.commit(&inode))) {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => {
                            tracing::warn!(ino, error = %e, "a file could not be committed; trying again");
                        }
                        Err(_) => tracing::error!(ino, "a bug: committing a file panicked"),
                    }
                }
            }
        })
        .map_err(|e| ViewError::io("starting the commit thread", e))?;
    Ok(())
}
