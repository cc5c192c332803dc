//! Waking those who wait for `.kfs/events` with poll(2).
//!
//! A reader of the file never waits: at its end it gets nothing. Who wants to wait polls, and the
//! kernel is told when there is more, by a thread of its own that runs while somebody waits. So neither a commit nor the end of the mount ever waits for a watcher.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;

use fuser::{PollEvents, PollFlags, PollNotifier};
use parking_lot::Mutex;

use crate::view::events::Events;

/// Who is to be told, by the kernel's number for an open file.
#[derive(Debug, Default)]
pub(super) struct Pollers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, PollNotifier>,
    started: bool,
}

/// What is ready, of what was asked for. Any file but one can always be read and written.
pub(super) fn ready(asked: PollEvents, has_more: bool) -> PollEvents {
    let readable = PollEvents::POLLIN | PollEvents::POLLRDNORM;
    let writable = PollEvents::POLLOUT | PollEvents::POLLWRNORM;
    let now = if has_more {
        readable | writable
    } else {
        PollEvents::empty()
    };
    now & asked
}

impl Pollers {
    /// Has a process told when there is more, if it waits. It is to look again after this call: what
    /// came before may not be told.
    ///
    /// # Errors
    /// If there is no thread that could tell.
    pub(super) fn add(
        self: &Arc<Self>,
        notifier: PollNotifier,
        flags: PollFlags,
        events: &Arc<Events>,
    ) -> io::Result<()> {
        if !flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY) {
            return Ok(());
        }
        let seen = events.last();
        let mut state = self.0.lock();
        state.waiting.insert(notifier.handle().0, notifier);
        if !state.started {
            let (pollers, events) = (Arc::clone(self), Arc::clone(events));
            thread::Builder::new()
                .name("kfs-events".to_owned())
                .spawn(move || pollers.run(&events, seen))?;
            state.started = true;
        }
        Ok(())
    }

    fn run(&self, events: &Events, mut seen: u64) {
        while let Some(last) = events.wait_after(seen) {
            seen = last;
            self.tell();
            let mut state = self.0.lock();
            if state.waiting.is_empty() {
                state.started = false;
                return;
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        for (_, notifier) in waiting {
            if let Err(error) = notifier.notify() {
                tracing::debug!(%error, "the kernel did not take a wake-up");
            }
        }
    }
}
