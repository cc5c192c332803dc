//! The work in the background: what is in the log goes into files.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

use super::disk::Disk;
use super::overlay::{Generation, Overlay};
use crate::backend::log::record::Write;
use crate::backend::log::{applied, from_log};
use crate::backend::{BackendError, Deadline, Operation, Result};
use crate::journal::Journal;

/// A generation of this many bytes goes into files.
const ENOUGH: u64 = 8 * 1024 * 1024;
/// One that is this old does, too.
const PERIOD: Duration = Duration::from_secs(5);

/// How long after a failure the work is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(64);

/// What the storage and its background thread share.
#[derive(Debug)]
pub struct Shared {
    pub root: PathBuf,
    pub disk: Disk,
    pub overlay: RwLock<Overlay>,
    state: Mutex<State>,
    /// Something to do, or the end.
    wake: Condvar,
    /// The sealed generation is in files, or could not be put there.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// Somebody waits until everything is in files.
    asked: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    no_space: bool,
    retry: Duration,
}

/// The background thread. It ends when this is dropped, with everything in files if that can be.
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Shared {
    pub fn new(root: PathBuf, disk: Disk) -> Self {
        Self {
            root,
            disk,
            overlay: RwLock::default(),
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Waits until there is room for another write. Only the one writer calls this.
    pub fn wait_for_room(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        if self.overlay.read().active.size < ENOUGH {
            return Ok(());
        }
        let mut state = self.state.lock();
        loop {
            {
                let mut overlay = self.overlay.write();
                overlay.seal();
                self.wake.notify_all();
                if overlay.active.size < ENOUGH {
                    return Ok(());
                }
            }
            if let Some(failure) = &state.failure {
                return Err(failure.to_error(operation, address));
            }
            deadline.check(operation, address)?;
            self.room.wait_until(&mut state, deadline.glance());
        }
    }

    /// Does the writes of the log's record `seq`, for readers all at the same moment.
    pub fn write(&self, writes: &[Write<'_>], seq: u64) {
        let mut overlay = self.overlay.write();
        let first = overlay.active.since.is_none();
        overlay.write(writes, seq);
        drop(overlay);
        if first {
            // The worker does not look while this is held, so it is waiting or will look.
            drop(self.state.lock());
            self.wake.notify_all();
        }
    }

    /// Waits until everything that was written is in files.
    pub fn settle(&self, deadline: Deadline) -> Result<()> {
        let mut state = self.state.lock();
        state.asked = true;
        self.wake.notify_all();
        while state.asked {
            if let Some(failure) = &state.failure {
                return Err(failure.to_error(Operation::Sync, b""));
            }
            deadline.check(Operation::Sync, b"")?;
            self.room.wait_until(&mut state, deadline.glance());
        }
        Ok(())
    }

    fn work(&self, log: &Journal) {
        let mut state = self.state.lock();
        loop {
            let stop = state.stop;
            let generation = match self.next(stop || state.asked) {
                Next::Generation(generation) => generation,
                Next::Nothing if stop => return,
                Next::Nothing => {
                    state.asked = false;
                    self.room.notify_all();
                    self.wake.wait(&mut state);
                    continue;
                }
                Next::At(moment) => {
                    self.wake.wait_until(&mut state, moment);
                    continue;
                }
            };
            drop(state);
            let outcome = self.put_into_files(&generation, log);
            state = self.state.lock();
            match outcome {
                Ok(()) => state.failure = None,
                Err(error) => {
                    let failure = Failure::after(state.failure.take(), &error);
                    let again = Instant::now() + failure.retry;
                    state.failure = Some(failure);
                    self.room.notify_all();
                    // At the end there is one attempt: the log has it all.
                    if stop {
                        return;
                    }
                    while !state.stop && Instant::now() < again {
                        self.wake.wait_until(&mut state, again);
                    }
                }
            }
            self.room.notify_all();
        }
    }

    /// What to do next; `now`, whatever there is.
    fn next(&self, now: bool) -> Next {
        let mut overlay = self.overlay.write();
        if overlay.sealed.is_none() {
            match overlay.active.since {
                None => return Next::Nothing,
                Some(since) if !now && overlay.active.size < ENOUGH && since.elapsed() < PERIOD => {
                    return Next::At(since + PERIOD);
                }
                Some(_) => overlay.seal(),
            }
        }
        overlay
            .sealed
            .as_ref()
            .map_or(Next::Nothing, |sealed| Next::Generation(Arc::clone(sealed)))
    }

    /// Puts the sealed generation into files, so that the log needs it no more.
    fn put_into_files(&self, generation: &Generation, log: &Journal) -> Result<()> {
        // The log first: no file may be newer than what a power loss leaves of the log.
        let dir = self.root.as_os_str().as_encoded_bytes();
        log.sync_to(generation.last)
            .map_err(|e| from_log(Operation::Sync, dir, e))?;
        self.disk.write(generation.writes())?;
        applied::write(&self.root, generation.last)?;
        self.overlay.write().sealed = None;
        if let Err(error) = log.release(generation.last) {
            warn!("the log of the file storage could not be shortened: {error}");
        }
        Ok(())
    }
}

enum Next {
    Generation(Arc<Generation>),
    At(Instant),
    Nothing,
}

impl Worker {
    pub fn start(shared: &Arc<Shared>, log: Arc<Journal>) -> io::Result<Self> {
        let own = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name("kfs-files".to_owned())
            .spawn(move || own.work(&log))?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            warn!("the background thread of the file storage panicked");
        }
    }
}

impl Failure {
    fn after(earlier: Option<Self>, error: &BackendError) -> Self {
        warn!("putting blobs into files failed: {error}");
        Self {
            reason: error.to_string(),
            no_space: matches!(error, BackendError::NoSpace { .. }),
            retry: earlier.map_or(RETRY, |earlier| (earlier.retry * 2).min(RETRY_MOST)),
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
