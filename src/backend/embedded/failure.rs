//! The engine's errors and panics as this crate's.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fjall::LsmError;

use crate::backend::{BackendError, Operation, Result};

/// Runs a call of the engine. Whatever it does with damaged files, a panic included, comes out as
/// an error that names the operation and the address.
///
/// The engine guards its state with its own locks, which a panic poisons: a later call fails
/// rather than sees something half-done.
pub fn guarded<T>(
    operation: Operation,
    address: &[u8],
    call: impl FnOnce() -> fjall::Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| translate(operation, address, error)),
        Err(panic) => Err(BackendError::Damage {
            operation,
            address: address.into(),
            reason: format!("the engine panicked: {}", message(panic.as_ref())),
        }),
    }
}

fn translate(operation: Operation, address: &[u8], error: fjall::Error) -> BackendError {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source)) => {
            from_io(operation, address, source)
        }
        fjall::Error::Poisoned => BackendError::Stopped {
            operation,
            address: address.into(),
            reason: "a write, a sync or the background work failed".to_owned(),
        },
        other => BackendError::Damage {
            operation,
            address: address.into(),
            reason: other.to_string(),
        },
    }
}

/// Of the errors that carry an [`io::Error`], those that speak of the files' content are damage.
fn from_io(operation: Operation, address: &[u8], source: io::Error) -> BackendError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::NotFound
        | io::ErrorKind::Other => BackendError::Damage {
            operation,
            address: address.into(),
            reason: source.to_string(),
        },
        _ => BackendError::io(operation, address, source),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
