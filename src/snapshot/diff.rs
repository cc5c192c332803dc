//! What differs between two states of a store.

use std::collections::BTreeSet;

use super::SnapshotError;
use crate::store::{Changed, Store, StoreError};
use crate::tree::diff::{Diff, Difference};
use crate::tree::links::{self, Links};
use crate::tree::{Entry, Node, TreeError, edit, is_hidden, links_key};
use crate::value::{Key, KeyPath};

/// Documents compared in one go.
const DOCS: usize = 256;

/// What hears of a difference; an error of it ends the comparison.
pub type Each<'e> = &'e mut dyn FnMut(Difference) -> Result<(), SnapshotError>;

/// Calls `each` with what `new` has otherwise than `old`, at and below a path: two snapshots, or one
/// and the present. Values and attributes count, times do not; the files that names of linked files
/// lead to are given in their place. The time follows the difference, but for documents with names of
/// linked files that changed, which are gone through.
///
/// # Errors
/// Those of `each`; [`StoreError::NoSnapshot`] if one is dropped meanwhile; damage.
pub fn diff(old: &Store, new: &Store, within: &[Key], each: Each<'_>) -> Result<(), SnapshotError> {
    let later = |store: &Store| store.epoch().unwrap_or(u64::MAX);
    match later(old).cmp(&later(new)) {
        std::cmp::Ordering::Less => Comparison::new(old, new)?.within(within, each),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            Comparison::new(new, old)?.within(within, &mut |mut found| {
                std::mem::swap(&mut found.old, &mut found.new);
                each(found)
            })
        }
    }
}

/// A snapshot beside a later state.
struct Comparison<'a> {
    earlier: &'a Store,
    later: &'a Store,
    /// The linked files that are in both and not the same.
    files: BTreeSet<u64>,
}

impl<'a> Comparison<'a> {
    fn new(earlier: &'a Store, later: &'a Store) -> Result<Self, SnapshotError> {
        let key = links_key();
        let root = |store: &Store| -> Result<Option<Entry>, StoreError> {
            Ok(store.doc(&key)?.map(|doc| doc.entry.clone()))
        };
        let mut files = BTreeSet::new();
        for found in Diff::new(&key, root(earlier)?, root(later)?, earlier.pager()) {
            let found = found.map_err(|e| StoreError::tree(&key, e))?;
            // The file itself, not the count of its names.
            if found.path.get(2).and_then(Key::as_index) == Some(0) {
                files.extend(links::id_of(&found.path));
            }
        }
        Ok(Self {
            earlier,
            later,
            files,
        })
    }

    fn within(&self, within: &[Key], each: Each<'_>) -> Result<(), SnapshotError> {
        if let Some((key, rest)) = within.split_first() {
            let found = |store: &Store| -> Result<Option<Entry>, SnapshotError> {
                let doc = store.doc(key)?;
                doc.map_or(Ok(None), |doc| at(&doc.entry, key, rest, store))
            };
            let above = within.split_last().map_or(&[][..], |(_, above)| above);
            let last = within.last().unwrap_or(key);
            return self.entry(above, last, found(self.earlier)?, found(self.later)?, each);
        }
        let from = self.earlier.epoch().unwrap_or(u64::MAX);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let to = self.later.epoch();
            let (changed, next) = self
                .earlier
                .changes_after(from, to, after.as_deref(), DOCS)?;
            for Changed { key, old, new } in changed {
                if !is_hidden(&key) {
                    let entry = |doc: Option<std::sync::Arc<crate::store::Doc>>| {
                        doc.map(|doc| doc.entry.clone())
                    };
                    self.entry(&[], &key, entry(old), entry(new), each)?;
                }
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Compares what stands under a key of the directory at `above`.
    fn entry(
        &self,
        above: &[Key],
        key: &Key,
        old: Option<Entry>,
        new: Option<Entry>,
        each: Each<'_>,
    ) -> Result<(), SnapshotError> {
        let top = above.first().unwrap_or(key);
        let fail = |e: TreeError| StoreError::tree(top, e);
        let full = |path: &[Key]| KeyPath::from([above, path].concat());
        let names = match (&old, &new) {
            (Some(old), Some(new)) if self.has_changed_files(top)? => {
                self.changed_names(key, old, new).map_err(fail)?
            }
            _ => Vec::new(),
        };
        let above_in_vector = self.in_vector(above)?;
        for found in Diff::new(key, old, new, self.earlier.pager()) {
            let found = found.map_err(fail)?;
            // The first key of what was found is one of the directory above.
            let below = found.in_vector.get(1..).unwrap_or_default();
            each(Difference {
                path: full(&found.path),
                in_vector: [&above_in_vector[..], below].concat(),
                old: followed(self.earlier, top, found.old)?,
                new: followed(self.later, top, found.new)?,
            })?;
        }
        for (path, id) in names {
            let name = || Some(Entry::plain(Node::Ref(id)));
            let path = full(&path);
            each(Difference {
                in_vector: self.in_vector(path.split_last().map_or(&[], |(_, above)| above))?,
                path,
                old: followed(self.earlier, top, name())?,
                new: followed(self.later, top, name())?,
            })?;
        }
        Ok(())
    }

    /// Which keys of a path into a directory are places in a vector, and whether the next one is.
    fn in_vector(&self, dir: &[Key]) -> Result<Vec<bool>, SnapshotError> {
        let mut found = vec![false];
        let Some((top, rest)) = dir.split_first() else {
            return Ok(found);
        };
        let doc = match self.later.doc(top)? {
            Some(doc) => Some(doc),
            None => self.earlier.doc(top)?,
        };
        let mut entry = doc.map(|doc| doc.entry.clone());
        for key in rest.iter().map(Some).chain([None]) {
            let here = entry.as_ref().map(|entry| &entry.node);
            found.push(matches!(here, Some(Node::Vector(_))));
            let children = entry.as_ref().and_then(Entry::children);
            let (Some(key), Some(map)) = (key, children) else {
                continue;
            };
            let child = map.get(key, self.later.pager());
            entry = child.map_err(|e| StoreError::tree(top, e))?;
        }
        Ok(found)
    }

    /// Whether a document may hold names of files that changed.
    fn has_changed_files(&self, doc: &Key) -> Result<bool, SnapshotError> {
        if self.files.is_empty() {
            return Ok(false);
        }
        let key = links_key();
        let root = self.later.doc(&key)?;
        let links = Links::new(root.as_deref().map(|doc| &doc.entry), self.later.pager());
        Ok(links.names_in(doc).map_err(|e| StoreError::tree(&key, e))? > 0)
    }

    /// The names in both versions that lead to the same file, which changed.
    fn changed_names(
        &self,
        key: &Key,
        old: &Entry,
        new: &Entry,
    ) -> Result<Vec<(Vec<Key>, u64)>, TreeError> {
        let pager = self.earlier.pager();
        let before: BTreeSet<_> = links::names_below(key, old, pager)?.into_iter().collect();
        let mut names = links::names_below(key, new, pager)?;
        names.retain(|name| self.files.contains(&name.1) && before.contains(name));
        Ok(names)
    }
}

/// What stands at a path below a document; names of linked files as such.
pub(super) fn at(
    doc: &Entry,
    key: &Key,
    rest: &[Key],
    store: &Store,
) -> Result<Option<Entry>, SnapshotError> {
    match edit::find(doc, rest, store.pager()) {
        Err(TreeError::ThroughScalar { .. }) => Ok(None),
        found => {
            let found = found.map_err(|e| StoreError::tree(key, e))?;
            Ok(found.map(|found| found.entry))
        }
    }
}

/// The file that a name leads to in a state of the store; anything else as it is.
pub(super) fn followed(
    store: &Store,
    key: &Key,
    entry: Option<Entry>,
) -> Result<Option<Entry>, SnapshotError> {
    let Some(Node::Ref(id)) = entry.as_ref().map(|entry| &entry.node) else {
        return Ok(entry);
    };
    match store.linked(*id)? {
        Some(file) => Ok(Some(file.entry)),
        None => Err(StoreError::tree(key, links::dangling(*id)).into()),
    }
}
