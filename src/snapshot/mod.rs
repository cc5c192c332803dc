//! The store as it was at one instant.
//!
//! [`take`] costs the same whatever the store holds; [`open`] gives a handle that shows it and refuses
//! writes. How the store keeps what it replaces says `store::epochs`. A [`Transaction`] is a private
//! state over such an instant, and becomes part of the store in one write. A [`Sender`] and
//! [`receive`](fn@receive) bring a snapshot, or what it has otherwise than an earlier one, into another
//! store.

pub mod automatic;
mod diff;
mod error;
mod frame;
mod history;
mod receive;
mod restore;
mod retention;
mod send;
pub mod stream;
#[cfg(test)]
mod tests;
mod transaction;

pub use crate::tree::diff::Difference;
pub use diff::{Each, diff};
pub use error::SnapshotError;
pub use frame::StreamError;
pub use history::{Version, history};
pub use receive::{ReceiveOptions, Received, receive, resume_position};
pub use restore::{restore, roll_back};
pub use retention::Retention;
pub use send::Sender;
pub use transaction::{Clash, Conflict, Transaction};

use crate::store::{Store, StoreError};
use crate::tree::Time;
use crate::tree::snapshots::Listed;

/// The longest name in bytes, as for a file.
const MAX_NAME: usize = 255;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was taken, by the store's clock.
    pub time: Time,
    /// The number of the journal record that took it: later ones have higher numbers.
    pub epoch: u64,
}

impl Snapshot {
    fn of(listed: Listed) -> Option<Self> {
        let (name, time) = listed.taken?;
        let epoch = listed.epoch;
        Some(Self { name, time, epoch })
    }
}

/// Refuses what cannot be a snapshot's name: it is a file's name in the mount, and stands behind a
/// path and an `@`, or beside another and `..`, on the command line.
///
/// # Errors
/// [`SnapshotError::BadName`], saying why.
pub fn check_name(name: &str) -> Result<(), SnapshotError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it has more than 255 bytes"
    } else if name.starts_with(['.', '-']) {
        "it begins with a dot or a dash"
    } else if name.contains("..") {
        "two dots stand between two names"
    } else if let Some(bad) = name
        .chars()
        .find(|c| matches!(c, '/' | '@') || c.is_control())
    {
        match bad {
            '/' => "it has a slash",
            '@' => "an @ stands before the name",
            _ => "it has a control character",
        }
    } else {
        return Ok(());
    };
    Err(SnapshotError::BadName {
        name: name.escape_debug().to_string(),
        why,
    })
}

/// Takes a snapshot: what every key holds at this moment.
///
/// # Errors
/// [`SnapshotError::BadName`]; [`StoreError::SnapshotExists`]; those of the journal.
pub fn take(store: &Store, name: &str) -> Result<Snapshot, SnapshotError> {
    check_name(name)?;
    let taken = store.take_snapshot(name)?;
    Snapshot::of(taken).ok_or_else(|| no_snapshot(name).into())
}

/// All snapshots, the oldest first.
///
/// # Errors
/// Damage of the list; a failure of the backend.
pub fn list(store: &Store) -> Result<Vec<Snapshot>, SnapshotError> {
    let listed = store.snapshots()?;
    Ok(listed.into_iter().filter_map(Snapshot::of).collect())
}

/// The snapshot of a name.
///
/// # Errors
/// [`StoreError::NoSnapshot`]; as [`list`].
pub fn find(store: &Store, name: &str) -> Result<Snapshot, SnapshotError> {
    let found = list(store)?.into_iter().find(|found| found.name == name);
    found.ok_or_else(|| no_snapshot(name).into())
}

/// Drops a snapshot. What it alone needs is freed by the next collection of garbage.
///
/// # Errors
/// [`StoreError::NoSnapshot`]; those of the journal.
pub fn remove(store: &Store, name: &str) -> Result<(), SnapshotError> {
    Ok(store.drop_snapshot(name)?)
}

/// The store as a snapshot shows it, for reading only.
///
/// # Errors
/// As [`find`].
pub fn open(store: &Store, name: &str) -> Result<Store, SnapshotError> {
    Ok(store.as_of(name)?)
}

fn no_snapshot(name: &str) -> StoreError {
    StoreError::NoSnapshot {
        name: name.to_owned(),
    }
}
