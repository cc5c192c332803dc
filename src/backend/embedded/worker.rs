//! The work in the background: memtables become tables, tables are merged.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::warn;

use super::tree::Tree;
use crate::backend::{BackendError, Deadline, Operation, Result};
use crate::journal::Journal;

/// A writer waits while this many memtables are sealed and not yet flushed, or this many tables
/// not yet merged: memory and reads would suffer.
const SEALED_LIMIT: usize = 3;
const UNMERGED_LIMIT: usize = 24;

/// How long after a failed flush it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The background threads. They end when this is dropped, after the step they are in.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    tree: Arc<Tree>,
    log: Arc<Journal>,
    state: Mutex<State>,
    /// Something to do, or the end.
    wake: Condvar,
    /// A flush or a merge has ended.
    room: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    flush: bool,
    merge: bool,
    /// The last record of the log in the memtable that was sealed last.
    sealed_to: u64,
    failure: Option<Failure>,
}

/// Why the last flush or merge failed.
struct Failure {
    reason: String,
    no_space: bool,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts the threads, which first look whether an earlier process left something to merge.
    pub fn start(tree: Arc<Tree>, log: Arc<Journal>) -> io::Result<Self> {
        let state = Mutex::new(State {
            merge: true,
            ..State::default()
        });
        let (wake, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared {
            tree,
            log,
            state,
            wake,
            room,
        });
        let mut workers = Self {
            shared,
            threads: Vec::new(),
        };
        workers.spawn("kfs-flush", Shared::flush_all)?;
        workers.spawn("kfs-merge", Shared::merge_all)?;
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
        state.flush = true;
        self.shared.wake.notify_all();
    }

    /// Waits until the background work has caught up enough for another write.
    pub fn wait_for_room(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        if self.shared.has_room() {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        while !self.shared.has_room() {
            if let Some(failure) = &state.failure {
                return Err(failure.to_error(operation, address));
            }
            deadline.check(operation, address)?;
            self.shared.room.wait_until(&mut state, deadline.instant());
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
    fn has_room(&self) -> bool {
        self.tree.sealed() < SEALED_LIMIT && self.tree.unmerged() < UNMERGED_LIMIT
    }

    fn flush_all(&self) {
        let mut state = self.state.lock();
        loop {
            while !state.flush && !state.stop {
                self.wake.wait(&mut state);
            }
            if state.stop {
                return;
            }
            state.flush = false;
            let sealed_to = state.sealed_to;
            drop(state);
            let outcome = self.flush(sealed_to);
            state = self.state.lock();
            state.failure = outcome.err().map(|error| Failure::of("flushing", &error));
            self.room.notify_all();
            if state.failure.is_some() {
                state.flush = true;
                self.wake.wait_for(&mut state, RETRY);
            } else {
                state.merge = true;
                self.wake.notify_all();
            }
        }
    }

    /// Flushes what is sealed. Then the log up to there is of no use any more.
    fn flush(&self, sealed_to: u64) -> Result<()> {
        self.tree.flush()?;
        if let Err(error) = self.log.release(sealed_to) {
            warn!("the embedded storage's log could not be shortened: {error}");
        }
        Ok(())
    }

    fn merge_all(&self) {
        let mut state = self.state.lock();
        loop {
            while !state.merge && !state.stop {
                self.wake.wait(&mut state);
            }
            if state.stop {
                return;
            }
            state.merge = false;
            drop(state);
            let outcome = self.tree.compact();
            state = self.state.lock();
            match outcome {
                Ok(again) => state.merge |= again,
                Err(error) => state.failure = Some(Failure::of("merging", &error)),
            }
            self.room.notify_all();
        }
    }
}

impl Failure {
    fn of(doing: &str, error: &BackendError) -> Self {
        warn!("the embedded storage failed in {doing} tables: {error}");
        let no_space = matches!(error, BackendError::NoSpace { .. });
        Self {
            reason: error.to_string(),
            no_space,
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
