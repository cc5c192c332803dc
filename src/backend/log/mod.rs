//! A storage's own log of writes, which is a journal: what its records say, up to which one everything
//! is where it belongs, and what goes wrong in it.

pub mod applied;
pub mod changes;
pub mod record;

use super::{BackendError, Operation};
use crate::journal::JournalError;

/// A failure of the log as one of the storage.
pub fn from_log(operation: Operation, address: &[u8], error: JournalError) -> BackendError {
    let address = address.into();
    match error {
        JournalError::Io { source, .. } => match BackendError::io(operation, b"", source) {
            BackendError::NoSpace { source, .. } => BackendError::NoSpace {
                operation,
                address,
                source,
            },
            BackendError::Io { source, .. } => BackendError::Io {
                operation,
                address,
                source,
            },
            other => other,
        },
        JournalError::Failed { reason, .. } => BackendError::Stopped {
            operation,
            address,
            reason,
        },
        JournalError::TooLarge { size, limit } => BackendError::TooLarge {
            operation,
            address,
            size: size as u64,
            limit: limit as u64,
        },
        other => BackendError::Damage {
            operation,
            address,
            reason: other.to_string(),
        },
    }
}
