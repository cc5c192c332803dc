//! The versions of one path over the snapshots.

use super::diff::{at, followed};
use super::{Snapshot, SnapshotError, list};
use crate::store::{Store, StoreError};
use crate::tree::diff::Diff;
use crate::tree::{Entry, Time};
use crate::value::Key;

/// What stood at a path, from one snapshot on.
#[derive(Clone, Debug)]
pub struct Version {
    /// The oldest snapshot that has it; `None`: none has it yet, it is the present.
    pub since: Option<Snapshot>,
    /// When the document was last written in that state; `None` where it is not there.
    pub last_write: Option<Time>,
    /// What was there.
    pub entry: Option<Entry>,
}

/// The versions of a path over all snapshots, the present first. Versions that no snapshot has are
/// not remembered.
///
/// # Errors
/// Damage; a failure of the backend; [`StoreError::EmptyPath`].
pub fn history(store: &Store, path: &[Key]) -> Result<Vec<Version>, SnapshotError> {
    let Some((key, rest)) = path.split_first() else {
        return Err(StoreError::EmptyPath.into());
    };
    let mut versions: Vec<Version> = Vec::new();
    let states = list(store)?.into_iter().map(Some).chain([None]);
    for since in states {
        let shown = match &since {
            Some(snapshot) => store.at(snapshot.epoch),
            None => store.clone(),
        };
        let doc = shown.doc(key)?;
        let entry = match &doc {
            Some(doc) => followed(&shown, key, at(&doc.entry, key, rest, &shown)?)?,
            None => None,
        };
        let before = versions.last().and_then(|last| last.entry.clone());
        let differs = Diff::new(key, before, entry.clone(), store.pager()).next();
        let differs = differs.transpose().map_err(|e| StoreError::tree(key, e))?;
        if differs.is_some() {
            let last_write = entry.as_ref().and(doc).map(|doc| doc.last_write);
            versions.push(Version {
                since,
                last_write,
                entry,
            });
        }
    }
    versions.reverse();
    Ok(versions)
}
