//! Freeing pages and evicting keys in a daemon, without being asked.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::sweep::ago;
use crate::gc::{self, GcError, Guard, Pace, Reclaimed, free, mark};
use crate::store::Store;

/// How often to look whether a round is due.
const LOOK: Duration = Duration::from_secs(5);

/// How often keys are evicted, if that is asked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// A thread that frees pages now and then, until it is dropped.
#[derive(Debug)]
pub struct Reclaimer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reclaimer {
    /// Starts the thread. Without it the store only grows, so that a system which has no room for
    /// one more is told of in the log.
    pub fn start(store: &Store, age: Option<Duration>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.clone(), Arc::clone(&stop));
        let work = move || {
            let mut pace = Pace::default();
            let mut swept: Option<Instant> = None;
            while !stopped.load(Ordering::Relaxed) {
                let turn = || {
                    if pace.is_due(&store) {
                        round(&store, &stopped, &mut pace);
                    }
                    if let Some(age) = age
                        && swept.is_none_or(|last| last.elapsed() >= SWEEP.min(age))
                    {
                        sweep(&store, age, &stopped);
                        swept = Some(Instant::now());
                    }
                };
                // A bug must not end the freeing for good.
                if catch_unwind(AssertUnwindSafe(turn)).is_err() {
                    tracing::error!("a bug: freeing pages panicked; trying again");
                }
                thread::park_timeout(LOOK);
            }
        };
        let thread = thread::Builder::new()
            .name("kfs-gc".to_owned())
            .spawn(work)
            .inspect_err(|error| tracing::warn!(%error, "pages are not freed"))
            .ok();
        Self { stop, thread }
    }
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has been logged.
            let _ = thread.join();
        }
    }
}

fn round(store: &Store, stop: &AtomicBool, pace: &mut Pace) {
    let done = Guard::new(store, stop)
        .cutoff()
        .and_then(mark)
        .and_then(free);
    match done {
        Ok(done) => {
            let Reclaimed { freed, live, .. } = done;
            tracing::info!(freed, live, "pages freed");
            pace.note(&done);
        }
        Err(GcError::Stopped) => {}
        Err(error) => tracing::warn!(%error, "pages not freed"),
    }
}

fn sweep(store: &Store, age: Duration, stop: &AtomicBool) {
    let sweep = gc::Sweep {
        cutoff: ago(store, age.as_secs()),
        keep: HashSet::new(),
        dry_run: false,
    };
    match gc::sweep(store, &sweep, stop) {
        Ok(keys) if keys.is_empty() => {}
        Ok(keys) => tracing::info!(keys = keys.len(), "keys evicted"),
        Err(GcError::Stopped) => {}
        Err(error) => tracing::warn!(%error, "keys not evicted"),
    }
}
