//! What surrounds every operation.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::Errno;

use super::errno::errno;
use super::invalidate::mark_as_answering;
use crate::view::ViewError;

/// Runs operations on a view.
#[derive(Debug)]
pub(super) struct Guard<V> {
    view: Arc<V>,
    closed: Arc<AtomicBool>,
}

impl<V> Guard<V> {
    /// No operation begins any more once `closed` is set.
    pub(super) fn new(view: Arc<V>, closed: Arc<AtomicBool>) -> Self {
        Self { view, closed }
    }

    /// Runs one operation. A panic would end fuser's thread, and with the last thread the mount
    /// would hang for ever: it becomes an I/O error.
    pub(super) fn run<T>(
        &self,
        operation: &'static str,
        ino: impl Into<u64>,
        run: impl FnOnce(&V) -> Result<T, ViewError>,
    ) -> Result<T, Errno> {
        mark_as_answering();
        let ino = ino.into();
        if self.closed.load(Ordering::Acquire) {
            return Err(errno(&ViewError::ShuttingDown));
        }
        match catch_unwind(AssertUnwindSafe(|| run(&self.view))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                log(operation, ino, &error);
                Err(errno(&error))
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(operation, ino, panic, "a bug: the operation panicked");
                Err(Errno::EIO)
            }
        }
    }
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

    fn guard() -> Guard<()> {
        Guard::new(Arc::new(()), Arc::new(AtomicBool::new(false)))
    }

    #[test]
    fn a_panic_is_an_io_error_and_the_thread_goes_on() {
        let guard = guard();
        let answer = guard.run("read", 1_u64, |()| -> Result<(), ViewError> {
            panic!("as a test")
        });
        assert_eq!(answer, Err(Errno::EIO));
        assert_eq!(guard.run("read", 1_u64, |()| Ok(7)), Ok(7));
    }

    #[test]
    fn errors_become_numbers() {
        let answer = guard().run("lookup", 1_u64, |()| {
            Err::<(), _>(ViewError::not_found(1, b"a"))
        });
        assert_eq!(answer, Err(Errno::ENOENT));
    }

    #[test]
    fn nothing_begins_after_the_end() {
        let guard = guard();
        guard.closed.store(true, Ordering::Release);
        let answer = guard.run("write", 1_u64, |()| -> Result<(), ViewError> {
            panic!("begun")
        });
        assert_eq!(answer, Err(Errno::ENOTCONN));
    }
}
