//! Whole values at paths of keys: what documents show and save.

use super::super::names::{NameContext, name_of};
use super::super::types::{ROOT, Time};
use super::super::{Result, View, ViewError};
use super::context;
use crate::store::{StoreError, Tx};
use crate::tree::convert::Declared;
use crate::tree::edit::Found;
use crate::tree::{Content, Entry, Node, TreeError};
use crate::value::{Key, KeyPath, Value};

/// Children looked at in one go.
const BATCH: usize = 256;
/// The least that an entry adds to the text of what it is in, in bytes.
const PER_ENTRY: u64 = 4;

/// What a value becomes, given what stands there.
pub type Make<'f> = &'f dyn Fn(Option<&Value>) -> Value;

impl View {
    /// The map or vector at a path; the root has the empty one.
    pub(in crate::view) fn directory(&self, path: &[Key]) -> Result<Option<Found>> {
        let found = self.entry_at(path)?;
        Ok(found.filter(|found| found.entry.is_dir()))
    }

    /// What a name stands for in a directory.
    pub(in crate::view) fn named(
        &self,
        path: &[Key],
        dir: &Found,
        name: &[u8],
    ) -> Result<Option<(Key, Found)>> {
        let key = match self.key(ROOT, path, dir, name) {
            Ok(Some(key)) => key,
            Ok(None) | Err(ViewError::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let found = self.child(path, dir, &key)?;
        Ok(found.map(|found| (key, found)))
    }

    /// The key that a name of something new means in a directory.
    pub(in crate::view) fn new_name(&self, path: &[Key], dir: &Found, name: &[u8]) -> Result<Key> {
        self.new_key(path, dir, name)
    }

    /// Some children of a directory after a key, and whether each is a directory; none at the end.
    pub(in crate::view) fn children(
        &self,
        path: &[Key],
        dir: &Found,
        after: Option<&Key>,
    ) -> Result<(NameContext, Vec<(Key, bool)>)> {
        let found = self.children_after(path, dir, after, BATCH)?;
        let shown = found
            .into_iter()
            .map(|(key, found)| (key, found.entry.is_dir()))
            .collect();
        Ok((context(path, &dir.entry), shown))
    }

    /// The names that the mount shows for a path of keys.
    pub(in crate::view) fn shown_path(&self, path: &[Key]) -> Result<Vec<Vec<u8>>> {
        let mut shown = Vec::new();
        for (depth, key) in path.iter().enumerate() {
            let above = path.get(..depth).unwrap_or_default();
            let context = match self.directory(above)? {
                Some(dir) => context(above, &dir.entry),
                None => NameContext::Map,
            };
            shown.push(name_of(key, context));
        }
        Ok(shown)
    }

    /// When what is at a path, or anything in the same document, was written last.
    pub(in crate::view) fn last_write(&self, path: &[Key]) -> Result<Option<Time>> {
        let Some(key) = path.first() else {
            return Ok(None);
        };
        Ok(self.store.get_meta(key)?.map(|meta| meta.last_write))
    }

    /// The value at a path.
    ///
    /// # Errors
    /// [`ViewError::TooBig`] if its text would surely have more than `limit` bytes; it is not read
    /// then. Damage; a failure of the store.
    pub(in crate::view) fn whole(&self, path: &[Key], limit: u64) -> Result<Option<Value>> {
        let Some(found) = self.entry_at(path)? else {
            return Ok(None);
        };
        if !self.is_moderate(path, &found.entry, limit)? {
            return Err(ViewError::TooBig {
                what: "the value".into(),
                size: limit.saturating_add(1),
                limit,
            });
        }
        self.store.get_in(path).map_err(refused)
    }

    /// Puts a value at a path as the API does, in one step, without waiting for the disk; entries that
    /// hold what they did stay as they are, and nothing is written if all do. `make` is not given what
    /// is too big to be read.
    pub(in crate::view) fn put_whole(
        &self,
        path: &[Key],
        limit: u64,
        make: Make<'_>,
    ) -> Result<()> {
        self.writable()?;
        let done = self.store.transact_as(0, |tx| {
            let old = self.moderate(tx, path, limit)?;
            let new = make(old.as_ref());
            if old.as_ref() == Some(&new) {
                return Ok(());
            }
            tx.merge_in(path, &new, Declared::Kept)
        });
        done.map_err(refused)?;
        self.catch_up();
        Ok(())
    }

    /// Nobody is to see through the mount what was there before once this has returned.
    fn catch_up(&self) {
        if let Some(kernel) = self.kernel.get() {
            kernel.catch_up();
        }
    }

    /// Takes away what is at a path, as the API does, and says whether something was there.
    pub(in crate::view) fn remove_whole(&self, path: &[Key]) -> Result<bool> {
        self.writable()?;
        let removed = self.store.unsynced().dissoc_in(path);
        self.catch_up();
        removed.map_err(refused)
    }

    /// Moves a value in one step. Where something stands already its value is replaced as if it had
    /// been saved; else the value moves with all its attributes, as what is too big to be read does.
    pub(in crate::view) fn move_whole(
        &self,
        from: &[Key],
        to: &[Key],
        limit: u64,
        make: &dyn Fn(Value, &Value) -> Value,
    ) -> Result<()> {
        self.writable()?;
        if from == to {
            return Ok(());
        }
        if from.starts_with(to) || to.starts_with(from) {
            return Err(ViewError::invalid(
                "rename",
                "a value cannot be moved into itself or what is in it",
            ));
        }
        let merged = self.store.transact_as(0, |tx| {
            let (Some(old), Some(new)) = (
                self.moderate(tx, to, limit)?,
                self.moderate(tx, from, limit)?,
            ) else {
                return Ok(false);
            };
            let now = tx.now;
            tx.merge_in(to, &make(new, &old), Declared::Kept)?;
            tx.remove(KeyPath::from(from.to_vec()), Some(now))?;
            Ok(true)
        });
        if !merged.map_err(refused)? {
            let store = self.store.unsynced();
            store.rename(from, to, false).map_err(refused)?;
        }
        self.catch_up();
        Ok(())
    }

    /// Exchanges two values in one step.
    pub(in crate::view) fn swap_whole(&self, a: &[Key], b: &[Key]) -> Result<()> {
        self.writable()?;
        self.store.unsynced().swap(a, b).map_err(refused)?;
        self.catch_up();
        Ok(())
    }

    /// The value at a path, if there is one that is not too big to be read.
    fn moderate(
        &self,
        tx: &mut Tx<'_>,
        path: &[Key],
        limit: u64,
    ) -> Result<Option<Value>, StoreError> {
        let found = match tx.find(path) {
            // What that means the write itself says.
            Err(StoreError::Tree {
                source: TreeError::ThroughScalar { .. },
                ..
            }) => None,
            found => found?,
        };
        match found {
            Some(found) if self.is_moderate(path, &found.entry, limit)? => tx.value(path),
            _ => Ok(None),
        }
    }

    fn is_moderate(&self, path: &[Key], entry: &Entry, limit: u64) -> Result<bool, StoreError> {
        let mut left = limit;
        let Some(top) = path.first() else {
            return Ok(false);
        };
        self.weigh(top, entry, &mut left)
    }

    /// Takes off what the text of an entry has at least; false once nothing is left.
    fn weigh(&self, top: &Key, entry: &Entry, left: &mut u64) -> Result<bool, StoreError> {
        let mut take = |bytes: u64| {
            let rest = left.checked_sub(bytes);
            *left = rest.unwrap_or(0);
            rest.is_some()
        };
        match &entry.node {
            Node::Scalar(_) => Ok(take(1)),
            Node::ScalarPage(page) => Ok(take(page.len)),
            Node::Text(content) => Ok(take(content.len())),
            Node::Bytes(content) => Ok(take(content.len().saturating_mul(2))),
            Node::Ref(id) => match self.store.linked(*id)?.map(|found| found.entry.node) {
                Some(Node::Text(content) | Node::Bytes(content)) => {
                    Ok(take(Content::len(&content)))
                }
                _ => Ok(take(1)),
            },
            Node::Map(map) | Node::Vector(map) => {
                if !take(map.len().saturating_mul(PER_ENTRY)) {
                    return Ok(false);
                }
                let mut after: Option<Key> = None;
                loop {
                    let page = map.page_after(after.as_ref(), BATCH, self.store.pager());
                    let page = page.map_err(|e| StoreError::tree(top, e))?;
                    let Some((last, _)) = page.last() else {
                        return Ok(true);
                    };
                    after = Some(last.clone());
                    for (_, entry) in &page {
                        if !self.weigh(top, entry, left)? {
                            return Ok(false);
                        }
                    }
                }
            }
        }
    }
}

/// An error of the store, where the path or value is to blame as what the program gets told.
fn refused(e: StoreError) -> ViewError {
    match e {
        StoreError::Tree {
            source:
                TreeError::BadIndex { .. }
                | TreeError::ThroughScalar { .. }
                | TreeError::NotFound { .. }
                | TreeError::TooDeep { .. },
            ..
        }
        | StoreError::IntoItself { .. }
        | StoreError::NothingThere { .. } => ViewError::invalid("the value", e.to_string()),
        e => e.into(),
    }
}
