//! Errors of the store as errors of files.

use super::error::ViewError;
use super::types::{Ino, ROOT};
use crate::backend::BackendError;
use crate::journal::JournalError;
use crate::store::StoreError;
use crate::tree::TreeError;

impl From<StoreError> for ViewError {
    fn from(e: StoreError) -> Self {
        from_store(e)
    }
}

fn from_store(e: StoreError) -> ViewError {
    match e {
        StoreError::ReadOnly => ViewError::ReadOnly {
            what: "the store".into(),
        },
        StoreError::Released => ViewError::ShuttingDown,
        // It ended while somebody looked into it.
        StoreError::NoSnapshot { .. } | StoreError::Sealed => ViewError::Stale { ino: ROOT },
        StoreError::Damaged { key, source } => ViewError::Damaged {
            key,
            source: Box::new(source),
        },
        StoreError::Tree { key, source } => from_tree(key, source),
        StoreError::Backend(e) => from_backend("the store", e),
        StoreError::Journal(e) => from_journal(e),
        StoreError::Contention { .. } => ViewError::Busy {
            what: "the document".into(),
            why: e.to_string().into(),
        },
        StoreError::NotMultiKey => ViewError::CrossDevice {
            from: "one key".into(),
            to: "another".into(),
        },
        StoreError::Backlog { ref reason } if reason.contains("no space") => ViewError::NoSpace {
            what: "the store".into(),
        },
        e @ (StoreError::Exists { .. }
        | StoreError::Missing { .. }
        | StoreError::NotAStore { .. }
        | StoreError::BadLocation { .. }
        | StoreError::WrongId { .. }
        | StoreError::KeyNeeded { .. }
        | StoreError::NotEncrypted { .. }
        | StoreError::Key { .. }
        | StoreError::Format { .. }
        | StoreError::Setting { .. }
        | StoreError::InUse { .. }
        | StoreError::Front { .. }
        | StoreError::Behind { .. }
        | StoreError::SnapshotExists { .. }
        | StoreError::HalfReceived { .. }
        | StoreError::EmptyPath
        | StoreError::Occupied { .. }
        | StoreError::NothingThere { .. }
        | StoreError::IntoItself { .. }
        | StoreError::NotBinary { .. }
        | StoreError::NotALog { .. }
        | StoreError::Precondition { .. }
        | StoreError::Backlog { .. }
        | StoreError::Source(_)
        | StoreError::Update(_)
        | StoreError::Io { .. }) => ViewError::io("the store", e),
    }
}

/// An error of a document's tree.
pub fn from_tree(key: String, e: TreeError) -> ViewError {
    match e {
        TreeError::Backend(e) => from_backend("the store", e),
        e @ (TreeError::MissingPage { .. }
        | TreeError::DamagedPage { .. }
        | TreeError::Malformed { .. }) => ViewError::Damaged {
            key,
            source: Box::new(e),
        },
        e @ TreeError::TooDeep { .. } => ViewError::invalid(key, e.to_string()),
        e @ (TreeError::ThroughScalar { .. }
        | TreeError::NotFound { .. }
        | TreeError::BadIndex { .. }) => ViewError::Io {
            what: key.into(),
            source: Box::new(e),
        },
    }
}

fn from_backend(what: &'static str, e: BackendError) -> ViewError {
    match e {
        BackendError::NoSpace { .. } => ViewError::NoSpace { what: what.into() },
        BackendError::Deadline { .. } => ViewError::TimedOut { what: what.into() },
        BackendError::Abandoned { .. } => ViewError::Interrupted { what: what.into() },
        BackendError::ReadOnly { .. } => ViewError::ReadOnly { what: what.into() },
        BackendError::TooLarge { size, limit, .. } => too_big(size, limit),
        e @ BackendError::Damage { .. } => ViewError::Damaged {
            key: what.to_owned(),
            source: Box::new(e),
        },
        e => ViewError::io(what, e),
    }
}

fn from_journal(e: JournalError) -> ViewError {
    match e {
        e if e.is_no_space() => ViewError::NoSpace {
            what: "the journal".into(),
        },
        JournalError::TooLarge { size, limit } => too_big(size as u64, limit as u64),
        e @ JournalError::Damage { .. } => ViewError::Damaged {
            key: "the journal".to_owned(),
            source: Box::new(e),
        },
        e => ViewError::io("the journal", e),
    }
}

fn too_big(size: u64, limit: u64) -> ViewError {
    ViewError::TooBig {
        what: "the entry with its name and attributes".into(),
        size,
        limit,
    }
}

/// An error on the way to an inode's content.
pub fn in_inode(ino: Ino) -> impl Fn(TreeError) -> ViewError {
    move |e| from_tree(format!("inode {ino}"), e)
}
