//! The operations, one file per family, and what they share.

mod commit;
mod create;
mod file;
mod lookup;
mod range;
mod readdir;
mod remove;
mod rename;
mod setattr;
mod statfs;
mod symlink;
mod xattr;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::buffer::Buffer;
use super::inode::Inode;
use super::names::{self, NameContext, NameError, Parsed};
use super::special;
use super::types::{FileKind, Ino};
use super::work::{State, Work};
use super::{Result, View, ViewError, failure, typing};
use crate::store::{StoreError, Tx};
use crate::tree::edit::{self, Found};
use crate::tree::{Entry, Map, Node, Time, root_key};
use crate::value::Key;

/// An index below this may be written in a vector of any length.
const FREE_INDEX: u64 = 1 << 24;
/// Beyond it, at most so far past the end.
const INDEX_STEP: u64 = 65_536;

impl View {
    /// Runs a transaction whose steps may be refused with an error of the view.
    fn transact<T>(&self, mut f: impl FnMut(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let mut refused = None;
        let done = self.store.transact_as(self.origin, |tx| {
            f(tx).map_err(|e| {
                refused = Some(e);
                StoreError::Update("refused".into())
            })
        });
        match (done, refused) {
            (Ok(out), _) => Ok(out),
            (Err(_), Some(e)) => Err(e),
            (Err(e), None) => Err(e.into()),
        }
    }

    fn inode(&self, ino: Ino) -> Result<Arc<Inode>> {
        self.table.get(ino).ok_or(ViewError::Stale { ino })
    }

    fn path(&self, ino: Ino) -> Result<Vec<Key>> {
        self.table.path(ino).ok_or(ViewError::Stale { ino })
    }

    /// What is committed at a path.
    fn entry_at(&self, path: &[Key]) -> Result<Option<Found>> {
        let Some((key, rest)) = path.split_first() else {
            let doc = self.store.doc(&root_key())?;
            let attrs = doc.and_then(|d| d.entry.attrs.clone());
            let entry = Entry {
                attrs,
                node: Node::Map(Map::new()),
            };
            let stamp = edit::stamp_of(&entry, self.store.created());
            return Ok(Some(Found { entry, stamp }));
        };
        let Some(doc) = self.store.doc(key)? else {
            return Ok(None);
        };
        match edit::find(&doc.entry, rest, self.store.pager()) {
            Ok(found) => Ok(found),
            // A file has come to stand where the path has a directory.
            Err(crate::tree::TreeError::ThroughScalar { .. }) => Ok(None),
            Err(e) => Err(StoreError::tree(key, e).into()),
        }
    }

    /// A directory by its number: its path and entry.
    fn dir(&self, ino: Ino) -> Result<(Vec<Key>, Found)> {
        let path = self.path(ino)?;
        let found = self.entry_at(&path)?.ok_or(ViewError::Stale { ino })?;
        if !found.entry.is_dir() {
            return Err(ViewError::NotDirectory { ino });
        }
        Ok((path, found))
    }

    /// A directory within a transaction, which commits only if it is still there.
    fn dir_in(&self, tx: &mut Tx<'_>, ino: Ino) -> Result<(Vec<Key>, Found)> {
        let path = self.path(ino)?;
        let found = tx.find(&path)?.ok_or(ViewError::Stale { ino })?;
        if !found.entry.is_dir() {
            return Err(ViewError::NotDirectory { ino });
        }
        let (table, expected) = (Arc::clone(&self.table), path.clone());
        tx.require(move || table.path(ino).as_ref() == Some(&expected));
        Ok((path, found))
    }

    /// What is committed under a key of a directory.
    fn child(&self, path: &[Key], dir: &Found, key: &Key) -> Result<Option<Found>> {
        if path.is_empty() {
            return self.entry_at(std::slice::from_ref(key));
        }
        let Some(map) = dir.entry.children() else {
            return Ok(None);
        };
        let top = path.first().unwrap_or(key);
        let found = map
            .get(key, self.store.pager())
            .map_err(|e| StoreError::tree(top, e))?;
        Ok(found.map(|entry| Found {
            stamp: edit::stamp_of(&entry, dir.stamp),
            entry,
        }))
    }

    /// The key that a name means in a directory; `None` if it can only name a key that is not there.
    fn key(&self, parent: Ino, path: &[Key], dir: &Found, name: &[u8]) -> Result<Option<Key>> {
        match names::parse_name(name, context(path, &dir.entry)) {
            Ok(Parsed::Key(key)) => Ok(Some(key)),
            Ok(Parsed::Hashed { hash, .. }) => self.key_with_hash(path, dir, &hash),
            Err(NameError::TooLong) => Err(ViewError::NameTooLong { name: name.into() }),
            Err(NameError::Invalid) => {
                Err(ViewError::invalid("name", "it is empty or has a / or NUL"))
            }
            Err(NameError::Reserved) => Err(ViewError::not_found(parent, name)),
        }
    }

    /// The key that a name to be made means in a directory.
    fn new_key(&self, path: &[Key], dir: &Found, name: &[u8]) -> Result<Key> {
        let key = match names::parse_name(name, context(path, &dir.entry)) {
            Ok(Parsed::Key(key)) => key,
            Ok(Parsed::Hashed { hash, .. }) => {
                self.key_with_hash(path, dir, &hash)?.ok_or_else(|| {
                    ViewError::invalid(
                        "name",
                        "it stands for a key too long to be shown, and there is no such key",
                    )
                })?
            }
            Err(NameError::TooLong) => return Err(ViewError::NameTooLong { name: name.into() }),
            Err(NameError::Invalid) => {
                return Err(ViewError::invalid("name", "it is empty or has a / or NUL"));
            }
            Err(NameError::Reserved) => {
                return Err(ViewError::NotPermitted {
                    what: ".kfs".into(),
                    why: "the name is reserved at the root".into(),
                });
            }
        };
        if let (Node::Vector(map), Some(index)) = (&dir.entry.node, key.as_index())
            && index >= FREE_INDEX
        {
            let top = path.first().unwrap_or(&key);
            let len =
                edit::vector_len(map, self.store.pager()).map_err(|e| StoreError::tree(top, e))?;
            if index >= len.saturating_add(INDEX_STEP) {
                return Err(ViewError::TooBig {
                    what: "the vector's index".into(),
                    size: index,
                    limit: (len + INDEX_STEP - 1).max(FREE_INDEX - 1),
                });
            }
        }
        Ok(key)
    }

    fn key_with_hash(&self, path: &[Key], dir: &Found, hash: &[u8]) -> Result<Option<Key>> {
        let mut after: Option<Key> = None;
        loop {
            let keys = self.keys_after(path, dir, after.as_ref(), 512)?;
            if keys.is_empty() {
                return Ok(None);
            }
            if let Some(key) = keys.iter().find(|k| names::hash_of(k) == hash) {
                return Ok(Some(key.clone()));
            }
            after = keys.last().cloned();
        }
    }

    fn keys_after(
        &self,
        path: &[Key],
        dir: &Found,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Key>> {
        Ok(self
            .children_after(path, dir, after, limit)?
            .into_iter()
            .map(|(k, _)| k)
            .collect())
    }

    /// Committed children of a directory after a key; empty at the end.
    fn children_after(
        &self,
        path: &[Key],
        dir: &Found,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Found)>> {
        let Some(top) = path.first() else {
            let (docs, _) = self.store.docs_after(after, limit)?;
            let root = self.store.created();
            return Ok(docs
                .into_iter()
                .map(|(k, d)| {
                    (
                        k,
                        Found {
                            stamp: edit::stamp_of(&d.entry, root),
                            entry: d.entry.clone(),
                        },
                    )
                })
                .collect());
        };
        let Some(map) = dir.entry.children() else {
            return Ok(Vec::new());
        };
        let page = map
            .page_after(after, limit, self.store.pager())
            .map_err(|e| StoreError::tree(top, e))?;
        Ok(page
            .into_iter()
            .map(|(k, entry)| {
                (
                    k,
                    Found {
                        stamp: edit::stamp_of(&entry, dir.stamp),
                        entry,
                    },
                )
            })
            .collect())
    }

    /// Brings a working copy in line with what the API did meanwhile.
    fn refresh(&self, inode: &Inode, work: &mut Work) -> Result<()> {
        if inode.detached.load(Ordering::Acquire) && !work.orphan {
            work.orphan = true;
            work.pending = false;
            self.clean(inode, work);
        }
        // The mark goes before the look: a write that comes in between marks again.
        if work.orphan || !inode.replaced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let found = match self.table.path(inode.ino) {
            Some(path) => self.entry_at(&path).inspect_err(|_| {
                inode.replaced.store(true, Ordering::Release);
            })?,
            None => None,
        };
        self.clean(inode, work);
        work.pending = false;
        match found {
            Some(found) if work.entry.is_some() => self.load(inode, work, found)?,
            Some(_) => work.settle(),
            None => {
                // What was open lives on without a name.
                work.orphan = true;
                self.table.unlink(inode);
            }
        }
        Ok(())
    }

    /// There is nothing to commit any more.
    fn clean(&self, inode: &Inode, work: &mut Work) {
        work.state = State::Clean;
        work.mtime = None;
        work.kill = false;
        self.dirty.remove(inode);
        self.table.settled(inode);
    }

    /// Makes an entry the working copy.
    fn load(&self, inode: &Inode, work: &mut Work, found: Found) -> Result<()> {
        if special::kind(&found.entry.node).0 == FileKind::File {
            let (content, newline) = typing::file_bytes(&found.entry, self.store.pager())
                .map_err(failure::in_inode(inode.ino))?;
            work.buffer = Some(Buffer::new(content, newline));
        }
        work.stamp = found.stamp;
        work.entry = Some(found.entry);
        Ok(())
    }

    /// The entry of an inode as its working copy or the tree has it.
    fn current(&self, inode: &Inode, work: &mut Work) -> Result<Found> {
        self.refresh(inode, work)?;
        if let Some(entry) = &work.entry {
            return Ok(Found {
                entry: entry.clone(),
                stamp: work.stamp,
            });
        }
        let path = self.path(inode.ino)?;
        self.entry_at(&path)?
            .ok_or(ViewError::Stale { ino: inode.ino })
    }

    /// A time for changes: the machine's clock as it is, which may step back; births use the store's.
    fn time(&self) -> Time {
        Time::now()
    }

    /// Keeps the reason of a failure for `user.kfs.error` and `.kfs/last-error`.
    fn note_failure(&self, inode: &Inode, work: &mut Work, e: &ViewError) {
        let text = match std::error::Error::source(e) {
            Some(source) => format!("{e}: {source}"),
            None => e.to_string(),
        };
        *self.last_error.lock() = Some(format!("inode {}: {text}", inode.ino));
        work.error = Some(text);
    }
}

/// How names in a directory are read.
fn context(path: &[Key], dir: &Entry) -> NameContext {
    match dir.node {
        _ if path.is_empty() => NameContext::Root,
        Node::Vector(_) => NameContext::Vector,
        _ => NameContext::Map,
    }
}

/// A path with one key more.
fn join(path: &[Key], key: &Key) -> crate::value::KeyPath {
    path.iter()
        .chain(std::iter::once(key))
        .cloned()
        .collect::<Vec<_>>()
        .into()
}
