//! Where a path of keys is among the names of a mount.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::super::names::{NameContext, name_of};
use super::super::types::FileKind;
use super::super::{Result, View, special};
use crate::tree::Node;
use crate::value::Key;

/// A place in a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The directory, from the root of the mount.
    pub dir: PathBuf,
    /// The name in it.
    pub name: Box<[u8]>,
    /// What is committed there; `None` for nothing.
    pub kind: Option<FileKind>,
}

impl View {
    /// Where a path of keys is shown; `None` for the root, and if there is no directory for it.
    ///
    /// # Errors
    /// Damage; a failure of the store.
    pub fn spot(&self, path: &[Key]) -> Result<Option<Spot>> {
        let Some((key, above)) = path.split_last() else {
            return Ok(None);
        };
        let mut dir = PathBuf::new();
        let mut context = NameContext::Root;
        for (depth, step) in above.iter().enumerate() {
            dir.push(OsStr::from_bytes(&name_of(step, context)));
            let at = above.get(..=depth).unwrap_or(above);
            context = match self.entry_at(at)?.map(|found| found.entry.node) {
                Some(Node::Map(_)) => NameContext::Map,
                Some(Node::Vector(_)) => NameContext::Vector,
                _ => return Ok(None),
            };
        }
        Ok(Some(Spot {
            dir,
            name: name_of(key, context).into(),
            kind: self
                .entry_at(path)?
                .map(|found| special::kind(&found.entry.node).0),
        }))
    }
}
