//! The work in the background: memtables become tables, tables are merged, packs are synced and
//! their space given back.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::ops;
use super::pack::{Packs, SYNC_AT, SYNC_MOST};
use super::tree::Tree;
use crate::backend::{BackendError, Deadline, Operation, Result};
use crate::journal::Journal;

/// A writer waits while this many memtables are sealed and not yet flushed, or this many tables
/// not yet merged: memory and reads would suffer.
const SEALED_LIMIT: usize = 3;
const UNMERGED_LIMIT: usize = 24;

/// How long after a failure the work is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(64);

/// The background threads. They end when this is dropped, after the step they are in.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    tree: Arc<Tree>,
    packs: Arc<Packs>,
    log: Arc<Journal>,
    state: Mutex<State>,
    /// Somebody waits for the space of what was deleted.
    tidy: AtomicBool,
    /// Something to do, or the end.
    wake: Condvar,
    /// A flush or a merge has ended.
    room: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    flush: Work,
    merge: Work,
    packs: Work,
    /// The last record of the log in the memtable that was sealed last.
    sealed_to: u64,
}

/// The state of one kind of work.
#[derive(Default)]
struct Work {
    due: bool,
    /// Why it failed the last time.
    failure: Option<Failure>,
}

struct Failure {
    reason: String,
    no_space: bool,
    retry: Duration,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts the threads, which first look whether an earlier process left something to merge.
    pub fn start(tree: Arc<Tree>, packs: Arc<Packs>, log: Arc<Journal>) -> io::Result<Self> {
        let merge = Work {
            due: true,
            failure: None,
        };
        let state = Mutex::new(State {
            merge,
            ..State::default()
        });
        let (wake, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared {
            tree,
            packs,
            log,
            state,
            tidy: AtomicBool::new(false),
            wake,
            room,
        });
        let mut workers = Self {
            shared,
            threads: Vec::new(),
        };
        workers.spawn("kfs-flush", Shared::flush_all)?;
        workers.spawn("kfs-merge", Shared::merge_all)?;
        workers.spawn("kfs-packs", Shared::tend_packs)?;
        Ok(workers)
    }

    fn spawn(&mut self, name: &str, work: fn(&Shared)) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&shared))?;
        self.threads.push(thread);
        Ok(())
    }

    /// A memtable was sealed, which ends with the log's record `logged`.
    pub fn sealed(&self, logged: u64) {
        let mut state = self.shared.state.lock();
        state.sealed_to = state.sealed_to.max(logged);
        state.flush.due = true;
        self.shared.wake.notify_all();
    }

    /// Blobs were appended to packs, or have died, or are durable now.
    pub fn look_at_packs(&self) {
        if self.shared.packs_need_work() {
            let mut state = self.shared.state.lock();
            state.packs.due = true;
            self.shared.wake.notify_all();
        }
    }

    /// Has what was deleted taken out of the tables that are there and of what is sealed; comes
    /// back when it is done, or at the deadline.
    pub fn tidy(&self, deadline: Deadline) {
        let mut state = self.shared.state.lock();
        self.shared.tidy.store(true, Ordering::Release);
        state.merge.due = true;
        self.shared.wake.notify_all();
        while self.shared.tidy.load(Ordering::Acquire)
            && state.flush.failure.is_none()
            && state.merge.failure.is_none()
            && !deadline.expired()
        {
            self.shared.room.wait_until(&mut state, deadline.glance());
        }
    }

    /// Waits until the background work has caught up enough for another write.
    pub fn wait_for_room(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        if self.shared.has_room()? {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        while !self.shared.has_room()? {
            if let Some(failure) = state
                .flush
                .failure
                .as_ref()
                .or(state.merge.failure.as_ref())
                .or(state.packs.failure.as_ref())
            {
                return Err(failure.to_error(operation, address));
            }
            deadline.check(operation, address)?;
            self.shared.room.wait_until(&mut state, deadline.glance());
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a background thread of the embedded storage panicked");
            }
        }
    }
}

impl Shared {
    fn has_room(&self) -> Result<bool> {
        let (sealed, unmerged) = self.tree.waiting()?;
        Ok(sealed < SEALED_LIMIT && unmerged < UNMERGED_LIMIT && self.packs.unsynced() < SYNC_MOST)
    }

    fn packs_need_work(&self) -> bool {
        self.packs.unsynced() >= SYNC_AT || self.packs.has_dead_by(self.log.synced())
    }

    fn tend_packs(&self) {
        self.work(
            |state| &mut state.packs,
            |_| {
                if self.packs.unsynced() >= SYNC_AT {
                    ops::sync(&self.packs, &self.log)?;
                }
                self.packs.punch(self.log.synced());
                Ok(false)
            },
        );
    }

    fn flush_all(&self) {
        self.work(
            |state| &mut state.flush,
            |sealed_to| self.flush(sealed_to).map(|()| false),
        );
    }

    fn merge_all(&self) {
        self.work(|state| &mut state.merge, |_| self.merge());
    }

    /// A step of merging, and whether there is more to do.
    fn merge(&self) -> Result<bool> {
        if self.tree.compact()? {
            return Ok(true);
        }
        // What is sealed comes first; this is due again after it.
        if self.tidy.load(Ordering::Acquire) && self.tree.waiting()?.0 == 0 {
            if self.tree.is_littered()? {
                self.tree.compact_all()?;
            }
            self.tidy.store(false, Ordering::Release);
        }
        Ok(false)
    }

    /// Does one kind of work whenever it is due, until the end. `step` says whether there is more.
    fn work(&self, mine: fn(&mut State) -> &mut Work, step: impl Fn(u64) -> Result<bool>) {
        let mut state = self.state.lock();
        while !state.stop {
            if !mine(&mut state).due {
                self.wake.wait(&mut state);
                continue;
            }
            mine(&mut state).due = false;
            let sealed_to = state.sealed_to;
            drop(state);
            let outcome = step(sealed_to);
            state = self.state.lock();
            let work = mine(&mut state);
            match outcome {
                Ok(more) => {
                    work.due |= more;
                    work.failure = None;
                }
                Err(error) => {
                    let failure = Failure::after(work.failure.take(), &error);
                    let again = Deadline::after(failure.retry);
                    work.due = true;
                    work.failure = Some(failure);
                    self.room.notify_all();
                    while !state.stop && !again.expired() {
                        self.wake.wait_until(&mut state, again.instant());
                    }
                }
            }
            self.room.notify_all();
        }
    }

    /// Flushes what is sealed. Then the log up to there is of no use any more.
    fn flush(&self, sealed_to: u64) -> Result<()> {
        self.tree.flush()?;
        if let Err(error) = self.log.release(sealed_to) {
            warn!("the embedded storage's log could not be shortened: {error}");
        }
        self.state.lock().merge.due = true;
        self.wake.notify_all();
        Ok(())
    }
}

impl Failure {
    fn after(earlier: Option<Self>, error: &BackendError) -> Self {
        warn!("the embedded storage's background work failed: {error}");
        let no_space = matches!(error, BackendError::NoSpace { .. });
        let retry = earlier.map_or(RETRY, |earlier| (earlier.retry * 2).min(RETRY_MOST));
        Self {
            reason: error.to_string(),
            no_space,
            retry,
        }
    }

    fn to_error(&self, operation: Operation, address: &[u8]) -> BackendError {
        let address = address.into();
        if self.no_space {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return BackendError::NoSpace {
                operation,
                address,
                source,
            };
        }
        BackendError::Stopped {
            operation,
            address,
            reason: self.reason.clone(),
        }
    }
}
