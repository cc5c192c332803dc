//! Carrying what waits to the back.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

use super::queue::{Content, Queue, Record};
use super::{Bound, Standing, bytes};
use crate::backend::log::record::Write;
use crate::backend::log::{applied, from_log};
use crate::backend::{Backend, BackendError, Batch, Deadline, Operation, Precondition, Result};
use crate::journal::Journal;
use crate::meter::Counter;

/// As much goes to the back together.
const PORTION: u64 = 8 * 1024 * 1024;
/// What waits goes to the back after so long, for all of the same moment to go together.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a portion may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a failure the back is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(64);

/// What a queue and its background thread share.
#[derive(Debug)]
pub struct Shared {
    /// Where the queue is.
    dir: PathBuf,
    pub back: Arc<dyn Backend>,
    pub queue: RwLock<Queue>,
    state: Mutex<State>,
    /// One portion at a time, so that they come in order.
    carrying: Mutex<()>,
    /// Something to do, or the end.
    wake: Condvar,
    /// The back has taken something, or failed to.
    room: Condvar,
    carried: Counter,
    failures: Counter,
}

#[derive(Debug, Default)]
struct State {
    stop: bool,
    /// When the oldest write of those that wait came.
    since: Option<Instant>,
    failure: Option<Failure>,
}

/// Why the back took nothing the last time.
#[derive(Debug)]
struct Failure {
    reason: String,
    no_space: bool,
    retry: Duration,
    again: Instant,
}

impl Shared {
    pub fn new(dir: PathBuf, back: Arc<dyn Backend>, queue: Queue) -> Self {
        let state = State {
            since: (queue.len() > 0).then(Instant::now),
            ..State::default()
        };
        Self {
            dir,
            back,
            queue: RwLock::new(queue),
            state: Mutex::new(state),
            carrying: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            carried: Counter::default(),
            failures: Counter::default(),
        }
    }

    pub fn standing(&self) -> Standing {
        let state = self.state.lock();
        let queue = self.queue.read();
        Standing {
            bytes: queue.size(),
            records: queue.len() as u64,
            carried: self.carried.get(),
            failures: self.failures.get(),
            failure: state.failure.as_ref().map(|failure| failure.reason.clone()),
        }
    }

    /// Waits until there is room for a record of `size` bytes; the first one always fits. Only the one
    /// writer calls this.
    pub fn wait_for_room(
        &self,
        (operation, address): (Operation, &[u8]),
        size: u64,
        bound: Bound,
        deadline: Deadline,
    ) -> Result<()> {
        let has_room = || {
            let waiting = self.queue.read().size();
            waiting == 0 || waiting + size <= bound.0
        };
        if has_room() {
            return Ok(());
        }
        let mut state = self.state.lock();
        if let Some(failure) = &mut state.failure {
            // Somebody waits for it now.
            failure.again = failure.again.min(Instant::now() + RETRY);
        }
        while !has_room() {
            self.wake.notify_all();
            if let Err(over) = deadline.check(operation, address) {
                return Err(match &state.failure {
                    Some(failure) if matches!(over, BackendError::Deadline { .. }) => {
                        failure.to_error(operation, address)
                    }
                    _ => over,
                });
            }
            self.room.wait_until(&mut state, deadline.glance());
        }
        Ok(())
    }

    /// Notes what the log's record `seq` says, for readers all at the same moment.
    pub fn push(&self, seq: u64, writes: &[Write<'_>]) {
        let mut state = self.state.lock();
        let mut queue = self.queue.write();
        queue.push(seq, writes);
        let enough = queue.size() >= PORTION;
        drop(queue);
        let first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        if first || enough {
            self.wake.notify_all();
        }
    }

    /// Carries a portion of what waits.
    pub fn carry(&self, log: &Journal, deadline: Deadline) -> Result<bool> {
        let _turn = deadline.lock(&self.carrying, Operation::Apply, b"")?;
        let portion = self.queue.read().portion(PORTION);
        let Some(last) = portion.last().map(|record| record.seq) else {
            return Ok(false);
        };
        let done = self.put_into_back(&portion, last, log, deadline);
        let mut state = self.state.lock();
        match &done {
            Ok(()) => {
                let mut queue = self.queue.write();
                queue.forget(last);
                state.since = (queue.len() > 0).then(Instant::now);
                state.failure = None;
                self.carried.add(portion.len() as u64);
            }
            Err(error) => {
                self.failures.add(1);
                state.failure = Some(Failure::after(state.failure.take(), error));
            }
        }
        drop(state);
        self.room.notify_all();
        done?;
        if let Err(error) = log.release(last) {
            warn!("the log of the queue could not be shortened: {error}");
        }
        Ok(true)
    }

    fn put_into_back(
        &self,
        portion: &[Record],
        last: u64,
        log: &Journal,
        deadline: Deadline,
    ) -> Result<()> {
        // The log first: the back must not be ahead of what a power loss leaves of the log.
        log.sync_to(last)
            .map_err(|e| from_log(Operation::Sync, bytes(&self.dir), e))?;
        let writes = portion.iter().flat_map(|record| record.writes.iter());
        let able = self.back.capabilities();
        if able.atomic_batch {
            let mut batches = Batches {
                back: &*self.back,
                most: able.max_batch,
                deadline,
                writes: BTreeMap::new(),
                size: 0,
            };
            for record in portion {
                batches.add(record)?;
            }
            batches.flush()?;
        } else {
            for (address, content) in writes {
                match content {
                    Some(bytes) => {
                        let any = Precondition::Any;
                        self.back.put(address, bytes, any, deadline)?;
                    }
                    None => {
                        self.back.delete(address, Precondition::Any, deadline)?;
                    }
                }
            }
        }
        self.back.sync(deadline)?;
        applied::write(&self.dir, last)
    }

    fn work(&self, log: &Journal) {
        let mut state = self.state.lock();
        while !state.stop {
            let now = Instant::now();
            let due = state.since.map(|since| {
                let full = self.queue.read().size() >= PORTION;
                let calm = if full { since } else { since + PERIOD };
                let again = state.failure.as_ref().map(|failure| failure.again);
                again.map_or(calm, |again| again.max(calm))
            });
            match due {
                None => self.wake.wait(&mut state),
                Some(due) if due > now => {
                    self.wake.wait_until(&mut state, due);
                }
                Some(_) => {
                    drop(state);
                    // It is noted where whoever asks looks.
                    let _done = self.carry(log, Deadline::after(PATIENCE));
                    state = self.state.lock();
                }
            }
        }
    }
}

/// Whole records put together into batches that the back takes.
struct Batches<'a> {
    back: &'a dyn Backend,
    most: u64,
    deadline: Deadline,
    /// The last write to each address.
    writes: BTreeMap<Arc<[u8]>, Content>,
    size: u64,
}

impl Batches<'_> {
    fn add(&mut self, record: &Record) -> Result<()> {
        let length = |content: &Content| content.as_ref().map_or(0, |bytes| bytes.len());
        let sizes = record.writes.iter();
        let size: usize = sizes.map(|(a, content)| a.len() + length(content)).sum();
        let size = size as u64;
        if self.size + size > self.most {
            self.flush()?;
        }
        self.size += size;
        for (address, content) in record.writes.iter() {
            self.writes.insert(Arc::clone(address), content.clone());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.size = 0;
        let mut batch = Batch::new();
        for (address, content) in std::mem::take(&mut self.writes) {
            match content {
                Some(bytes) => batch.put(&*address, &*bytes, Precondition::Any),
                None => batch.delete(&*address, Precondition::Any),
            };
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.back.apply(batch, self.deadline)
    }
}

/// The background thread. It ends when this is dropped; what waits then waits for the next opening.
pub struct Carrier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

impl Carrier {
    pub fn start(shared: &Arc<Shared>, log: Arc<Journal>) -> io::Result<Self> {
        let own = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name("kfs-behind".to_owned())
            .spawn(move || own.work(&log))?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
        })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            warn!("the background thread of the queue panicked");
        }
    }
}

impl Failure {
    fn after(earlier: Option<Self>, error: &BackendError) -> Self {
        warn!("what waits could not be carried to the store's own storage: {error}");
        let retry = earlier.map_or(RETRY, |earlier| (earlier.retry * 2).min(RETRY_MOST));
        Self {
            reason: error.to_string(),
            no_space: matches!(error, BackendError::NoSpace { .. }),
            retry,
            again: Instant::now() + retry,
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
            reason: format!("the queue is full, and is not emptied: {}", self.reason),
        }
    }
}
