//! What surrounds every operation.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fuser::Errno;

use super::errno::errno;
use super::invalidate::mark_as_answering;
use super::operation::Operation;
use crate::backend::Patience;
use crate::meter::Group;
use crate::view::ViewError;

/// An operation that somebody waits for.
#[derive(Debug)]
pub(super) struct Task {
    operation: Operation,
    ino: u64,
    /// The thread that asked for it; 0 if the kernel itself did.
    pid: u32,
    begun: Instant,
}

impl Task {
    /// An operation that begins now.
    pub(super) fn new(operation: Operation, ino: u64, pid: u32) -> Self {
        Self {
            operation,
            ino,
            pid,
            begun: Instant::now(),
        }
    }
}

/// Runs operations on a view.
#[derive(Debug)]
pub(super) struct Guard<V> {
    view: Arc<V>,
    closed: Arc<AtomicBool>,
    /// How long an operation may take.
    timeout: Duration,
    /// Where operations are counted.
    counted: Arc<Group>,
}

impl<V> Guard<V> {
    /// No operation begins any more once `closed` is set.
    pub(super) fn new(
        view: Arc<V>,
        closed: Arc<AtomicBool>,
        timeout: Duration,
        counted: Arc<Group>,
    ) -> Self {
        Self {
            view,
            closed,
            timeout,
            counted,
        }
    }

    /// Runs one operation and counts it, with the time since it came.
    pub(super) fn run<T>(
        &self,
        task: &Task,
        run: impl FnOnce(&V) -> Result<T, ViewError>,
    ) -> Result<T, Errno> {
        let answer = self.answer(task, run);
        self.counted
            .add(task.operation as usize, task.begun, answer.is_err());
        answer
    }

    /// Runs one operation. A panic would end fuser's thread, and with the last thread the mount
    /// would hang for ever: it becomes an I/O error.
    fn answer<T>(
        &self,
        task: &Task,
        run: impl FnOnce(&V) -> Result<T, ViewError>,
    ) -> Result<T, Errno> {
        mark_as_answering();
        let Task {
            operation,
            ino,
            pid,
            begun,
        } = *task;
        if self.closed.load(Ordering::Acquire) {
            return Err(errno(&ViewError::ShuttingDown));
        }
        let end = begun.checked_add(self.timeout).unwrap_or(begun);
        // fuser drops what the kernel says of signals: whoever is killed would wait to the end.
        let patience = Patience::until(end, pid, is_being_killed);
        match catch_unwind(AssertUnwindSafe(|| patience.bound(|| run(&self.view)))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                log(operation.name(), ino, &error);
                Err(errno(&error))
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(
                    operation = operation.name(),
                    ino,
                    panic,
                    "a bug: the operation panicked"
                );
                Err(Errno::EIO)
            }
        }
    }
}

/// Whether SIGKILL waits for a thread. Any other signal that ends its process becomes this one.
fn is_being_killed(thread: u32) -> bool {
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    let pending = || {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
        let signals = status
            .lines()
            .find_map(|line| line.strip_prefix("SigPnd:"))?;
        u64::from_str_radix(signals.trim(), 16).ok()
    };
    thread != 0 && pending().is_some_and(|signals| signals & KILL != 0)
}

/// Faults of the store are for whoever runs it; everything else only for who looks for it.
fn log(operation: &'static str, ino: u64, error: &ViewError) {
    if error.is_fault() {
        let cause = error.source().map(ToString::to_string);
        tracing::error!(operation, ino, cause, "{error}");
    } else {
        tracing::debug!(operation, ino, "{error}");
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "(no message)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::operation::NAMES;

    fn guard() -> Guard<()> {
        Guard::new(
            Arc::new(()),
            Arc::new(AtomicBool::new(false)),
            Duration::from_secs(9),
            Arc::new(Group::new(NAMES)),
        )
    }

    #[test]
    fn a_panic_is_an_io_error_and_the_thread_goes_on() {
        let guard = guard();
        let answer = guard.run(
            &Task::new(Operation::Read, 1, 0),
            |()| -> Result<(), ViewError> { panic!("as a test") },
        );
        assert_eq!(answer, Err(Errno::EIO));
        assert_eq!(
            guard.run(&Task::new(Operation::Read, 1, 0), |()| Ok(7)),
            Ok(7)
        );
    }

    #[test]
    fn errors_become_numbers() {
        let answer = guard().run(&Task::new(Operation::Lookup, 1, 0), |()| {
            Err::<(), _>(ViewError::not_found(1, b"a"))
        });
        assert_eq!(answer, Err(Errno::ENOENT));
    }

    #[test]
    fn nothing_begins_after_the_end() {
        let guard = guard();
        guard.closed.store(true, Ordering::Release);
        let answer = guard.run(
            &Task::new(Operation::Write, 1, 0),
            |()| -> Result<(), ViewError> { panic!("begun") },
        );
        assert_eq!(answer, Err(Errno::ENOTCONN));
    }
}
