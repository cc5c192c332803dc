//! The threads that do operations.
//!
//! A thread that reads from the kernel does what it has read, which is the fastest way. But an
//! operation that waits for slow storage keeps its thread, and with all of them waiting nobody would
//! read: what could be answered at once would wait too. So the last reader that is free hands what it
//! has read to a helper and goes on reading.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The most helpers. What comes when all of them wait has to wait, too.
const MOST: usize = 256;
/// A helper without work ends after this long.
const IDLE: Duration = Duration::from_secs(10);

/// Reading threads, and helpers as needed.
#[derive(Debug)]
pub(super) struct Crew {
    readers: usize,
    /// Readers that are doing something.
    busy: AtomicUsize,
    helpers: Arc<Helpers>,
}

#[derive(Default)]
struct Helpers {
    state: Mutex<State>,
    work: Condvar,
    finished: Condvar,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl std::fmt::Debug for Helpers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Helpers")
            .field("threads", &state.threads)
            .field("idle", &state.idle)
            .finish_non_exhaustive()
    }
}

/// What makes a reader count as busy.
pub(super) struct Seat<'a>(Cell<Option<Counted<'a>>>);

impl Seat<'_> {
    /// There is nothing to wait for any more. To be said before the answer: that wakes whoever
    /// waits for it, who may ask the next thing before this thread comes back to read.
    pub(super) fn leave(&self) {
        drop(self.0.take());
    }
}

/// Takes one from a count when it goes, also in a panic.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Crew {
    /// A crew with this many reading threads.
    pub(super) fn new(readers: usize) -> Self {
        Self {
            readers,
            busy: AtomicUsize::new(0),
            helpers: Arc::default(),
        }
    }

    /// What has been handed over, to wait for its end.
    pub(super) fn handed_over(&self) -> HandedOver {
        HandedOver(Arc::clone(&self.helpers))
    }

    /// Does `work` on this reading thread or has it done by a helper, with `what` it is about.
    pub(super) fn run<A>(&self, what: &A, work: impl FnOnce(Seat<'_>, &A) + Send + 'static)
    where
        A: ToOwned + ?Sized,
        A::Owned: Send + 'static,
    {
        let others = self.busy.fetch_add(1, Ordering::AcqRel);
        let busy = Counted(&self.busy);
        if others + 1 < self.readers {
            let seat = Seat(Cell::new(Some(busy)));
            return survive(|| work(seat, what));
        }
        let owned = what.to_owned();
        let job: Job = Box::new(move || work(Seat(Cell::new(None)), owned.borrow()));
        if let Err(job) = self.helpers.take(job) {
            survive(job);
        }
    }
}

/// Does a job. The guard stops the panics of operations; one of an answer must not end the thread
/// either. The kernel has its answer, as a reply that is dropped is an error.
fn survive(job: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a bug: answering the kernel panicked");
    }
}

impl Helpers {
    /// Queues a job for a helper, a new one if all have something to do; gives it back if there can
    /// be none.
    fn take(self: &Arc<Self>, job: Job) -> Result<(), Job> {
        let mut state = self.state.lock();
        if state.idle <= state.queue.len() && state.threads < MOST {
            let this = Arc::clone(self);
            let started = thread::Builder::new()
                .name("kfs-helper".to_owned())
                .spawn(move || this.help());
            match started {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    tracing::error!(%error, "no thread for an operation");
                    return Err(job);
                }
                Err(error) => tracing::warn!(%error, "no more threads for operations"),
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    fn help(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                survive(job);
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            self.finished.notify_all();
            let waited = self.work.wait_for(&mut state, IDLE);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// The operations that helpers do.
#[derive(Debug)]
pub(super) struct HandedOver(Arc<Helpers>);

impl HandedOver {
    /// Waits until all are done.
    pub(super) fn finish(&self) {
        let mut state = self.0.state.lock();
        while !state.queue.is_empty() || state.idle < state.threads {
            self.0.finished.wait_for(&mut state, IDLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn whatever_waits_one_reader_is_free() {
        let crew = Crew::new(1);
        let (go, gone) = channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        let (tell, told) = channel();
        for number in 0..50 {
            let (gone, tell) = (Arc::clone(&gone), tell.clone());
            // Comes back although what it was given has not ended.
            crew.run(&number, move |_, number| {
                let _end = gone.lock().recv();
                tell.send(*number).unwrap();
            });
        }
        assert!(told.try_recv().is_err(), "they wait");
        crew.run(&50, move |_, number| tell.send(*number).unwrap());
        assert_eq!(told.recv().unwrap(), 50, "it does not");
        drop(go);
        crew.handed_over().finish();
        let mut rest: Vec<i32> = told.iter().collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_ends_no_thread_and_keeps_nobody_waiting() {
        let crew = Crew::new(1);
        crew.run("a", |_, _| panic!("as a test"));
        let (tell, told) = channel();
        crew.run("b", move |_, _| tell.send(()).unwrap());
        told.recv().unwrap();
        crew.handed_over().finish();
        // On a reading thread.
        Crew::new(2).run("c", |_, _| panic!("as a test"));
    }

    #[test]
    fn a_reader_works_itself_while_another_is_free() {
        let crew = Arc::new(Crew::new(2));
        let (tell, told) = channel();
        let (inner, own) = (Arc::clone(&crew), thread::current().id());
        crew.run("a", move |_, _| {
            assert_eq!(thread::current().id(), own);
            let tell = tell.clone();
            inner.run("b", move |_, _| tell.send(thread::current().id()).unwrap());
        });
        assert_ne!(told.recv().unwrap(), own);
    }

    #[test]
    fn a_reader_that_only_answers_is_free() {
        let crew = Arc::new(Crew::new(2));
        let (tell, told) = channel();
        let (inner, own) = (Arc::clone(&crew), thread::current().id());
        crew.run("a", move |seat, _| {
            seat.leave();
            let tell = tell.clone();
            inner.run("b", move |_, _| tell.send(thread::current().id()).unwrap());
        });
        assert_eq!(told.recv().unwrap(), own);
        assert_eq!(crew.busy.load(Ordering::Acquire), 0);
    }
}
