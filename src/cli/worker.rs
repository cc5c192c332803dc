//! Threads of a daemon that do something now and then, without being asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Such a thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread that takes a turn, pauses and so on. A turn ends early when what it is given is
    /// set. What is not done because the system has no room for a thread is told in the log.
    pub fn start(
        name: &str,
        pause: Duration,
        mut turn: impl FnMut(&AtomicBool) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, own) = (Arc::clone(&stop), name.to_owned());
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                // A bug must not end the work for good.
                if catch_unwind(AssertUnwindSafe(|| turn(&stopped))).is_err() {
                    tracing::error!(thread = own, "a bug: a turn panicked; trying again");
                }
                thread::park_timeout(pause);
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .inspect_err(|error| tracing::warn!(%error, thread = name, "not started"))
            .ok();
        Self { stop, thread }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has been logged.
            let _ = thread.join();
        }
    }
}
