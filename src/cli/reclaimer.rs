//! Freeing pages in a daemon, without being asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::gc::{GcError, Guard, Pace, Reclaimed, free, mark};
use crate::store::Store;

/// How often to look whether a round is due.
const LOOK: Duration = Duration::from_secs(5);

/// A thread that frees pages now and then, until it is dropped.
#[derive(Debug)]
pub struct Reclaimer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reclaimer {
    /// Starts the thread. Without it the store only grows, so that a system which has no room for
    /// one more is told of in the log.
    pub fn start(store: &Store) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (store.clone(), Arc::clone(&stop));
        let work = move || {
            let mut pace = Pace::default();
            while !stopped.load(Ordering::Relaxed) {
                if pace.is_due(&store) {
                    round(&store, &stopped, &mut pace);
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
    let reclaim = || {
        Guard::new(store, stop)
            .cutoff()
            .and_then(mark)
            .and_then(free)
    };
    let Ok(done) = catch_unwind(AssertUnwindSafe(reclaim)) else {
        return tracing::error!("a bug: freeing pages panicked; trying again");
    };
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
