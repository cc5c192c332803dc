//! The engine's errors and panics as this crate's.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::backend::{BackendError, Operation, Result};

/// Runs a call of the engine. Whatever it does with damaged files, a panic included, comes out as
/// an error that names the operation and the address.
///
/// The engine guards its state with its own locks, which a panic poisons: a later call fails
/// rather than sees something half-done.
pub fn guarded<T>(
    operation: Operation,
    address: &[u8],
    call: impl FnOnce() -> lsm_tree::Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| from_engine(operation, address, error)),
        Err(panic) => {
            let reason = format!("the engine panicked: {}", message(panic.as_ref()));
            Err(BackendError::Damage {
                operation,
                address: address.into(),
                reason,
            })
        }
    }
}

fn from_engine(operation: Operation, address: &[u8], error: lsm_tree::Error) -> BackendError {
    let damage = |reason| BackendError::Damage {
        operation,
        address: address.into(),
        reason,
    };
    match error {
        // Those that speak of the files' content rather than of the system.
        lsm_tree::Error::Io(source) => match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound
            | io::ErrorKind::Other => damage(source.to_string()),
            _ => BackendError::io(operation, address, source),
        },
        other => damage(other.to_string()),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
