//! The operations, one file per family, and what they share.

mod commit;
mod create;
mod file;
mod link;
mod lookup;
mod range;
mod readdir;
mod remove;
mod rename;
mod setattr;
mod spot;
mod statfs;
mod symlink;
mod whole;
mod xattr;

pub use spot::Spot;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attr::ino_of;
use super::buffer::Buffer;
use super::inode::{Inode, Place};
use super::names::{self, NameContext, NameError, Parsed};
use super::special;
use super::types::{FileKind, Ino, ROOT};
use super::work::{State, Work};
use super::{Name, Result, View, ViewError, failure, typing};
use crate::store::{StoreError, Tx};
use crate::tree::edit::{self, Found};
use crate::tree::{Entry, Map, Node, Time, TreeError, links, root_key};
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

    /// The path of an inode, through directories that are still there.
    fn path(&self, ino: Ino) -> Result<Vec<Key>> {
        let chain = self.table.chain(ino).ok_or(ViewError::Stale { ino })?;
        let path: Vec<Key> = chain.iter().map(|(_, key)| key.clone()).collect();
        for (depth, (inode, _)) in chain.iter().enumerate() {
            if inode.ino != ino {
                self.check_dir(inode, path.get(..=depth).unwrap_or(&path))?;
            }
        }
        Ok(path)
    }

    /// The path of a directory that is still there.
    fn dir_path(&self, ino: Ino) -> Result<Vec<Key>> {
        let path = self.path(ino)?;
        if ino != ROOT {
            self.check_dir(&*self.inode(ino)?, &path)?;
        }
        Ok(path)
    }

    /// Looks whether a directory is still what stands at its place, if the API wrote around there.
    fn check_dir(&self, inode: &Inode, path: &[Key]) -> Result<()> {
        let Some(mark) = inode.marked() else {
            return Ok(());
        };
        let found = self.entry_at(path)?;
        match found.filter(|found| found.entry.is_dir() && is_same(inode, found)) {
            Some(found) => {
                self.reread_pending(inode.ino, path, &found.entry);
                inode.settle(mark);
                Ok(())
            }
            None => {
                self.table.unlink(inode);
                inode.settle(mark);
                Err(ViewError::Stale { ino: inode.ino })
            }
        }
    }

    /// Names that are not committed yet stay what they are, whatever kind the directory is of now.
    fn reread_pending(&self, ino: Ino, path: &[Key], dir: &Entry) {
        let context = context(path, dir);
        self.table
            .reread_pending(ino, &|name| match names::parse_name(name, context) {
                Ok(Parsed::Key(key)) => Some(key),
                _ => None,
            });
    }

    /// The inode under a key of a directory, if one is known there and is still what stands there.
    fn at(&self, parent: Ino, key: &Key) -> Result<Option<Arc<Inode>>> {
        let Some(inode) = self.table.at(parent, key) else {
            return Ok(None);
        };
        if inode.marked().is_some() {
            let mut work = inode.work.lock();
            self.refresh(&inode, &mut work)?;
            if work.orphan || !inode.is_at(parent, key) {
                return Ok(None);
            }
        }
        Ok(Some(inode))
    }

    /// What is committed at a path, as a transaction sees it.
    fn find(tx: &mut Tx<'_>, path: &[Key]) -> Result<Option<Found>> {
        match tx.find(path) {
            // A file has come to stand where the path has a directory.
            Err(StoreError::Tree {
                source: TreeError::ThroughScalar { .. },
                ..
            }) => Ok(None),
            found => Ok(found?),
        }
    }

    /// What is committed at a path.
    fn entry_at(&self, path: &[Key]) -> Result<Option<Found>> {
        if path.is_empty() {
            let doc = self.store.doc(&root_key())?;
            let attrs = doc.and_then(|d| d.entry.attrs.clone());
            let entry = Entry {
                attrs,
                node: Node::Map(Map::new()),
            };
            let stamp = edit::stamp_of(&entry, self.store.created());
            return Ok(Some(Found {
                entry,
                stamp,
                link: None,
            }));
        }
        if let Some(id) = links::id_of(path) {
            return Ok(self.store.linked(id)?);
        }
        match self.store.find(path) {
            // A file has come to stand where the path has a directory.
            Err(StoreError::Tree {
                source: TreeError::ThroughScalar { .. },
                ..
            }) => Ok(None),
            found => Ok(found?),
        }
    }

    /// Follows the name of a linked file that was found at a path; `None` if it is gone meanwhile.
    fn follow(&self, path: &[Key], found: Found) -> Result<Option<Found>> {
        let Node::Ref(id) = found.entry.node else {
            return Ok(Some(found));
        };
        match self.store.linked(id)? {
            Some(file) => Ok(Some(file)),
            // What was read before may be out of date.
            None => self.entry_at(path),
        }
    }

    /// A directory by its number: its path and entry.
    fn dir(&self, ino: Ino) -> Result<(Vec<Key>, Found)> {
        let path = self.dir_path(ino)?;
        let found = self.entry_at(&path)?.ok_or(ViewError::Stale { ino })?;
        if !found.entry.is_dir() {
            return Err(ViewError::NotDirectory { ino });
        }
        Ok((path, found))
    }

    /// A directory within a transaction, which commits only if it is still there.
    fn dir_in(&self, tx: &mut Tx<'_>, ino: Ino) -> Result<(Vec<Key>, Found)> {
        let path = self.dir_path(ino)?;
        let found = Self::find(tx, &path)?.ok_or(ViewError::Stale { ino })?;
        if !found.entry.is_dir() {
            return Err(ViewError::NotDirectory { ino });
        }
        let (table, expected) = (Arc::clone(&self.table), path.clone());
        tx.require(move || {
            table.chain(ino).is_some_and(|chain| {
                let keys = chain.iter().map(|(_, key)| key);
                keys.eq(&expected) && chain.iter().all(|(inode, _)| inode.marked().is_none())
            })
        });
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
        let Some(entry) = found else {
            return Ok(None);
        };
        let found = Found {
            stamp: edit::stamp_of(&entry, dir.stamp),
            entry,
            link: None,
        };
        self.follow(&join(path, key), found)
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
        if let (Node::Vector(map), Some(index)) = (&dir.entry.node, key.as_index()) {
            let top = path.first().unwrap_or(&key);
            let len =
                edit::vector_len(map, self.store.pager()).map_err(|e| StoreError::tree(top, e))?;
            check_index(index, len)?;
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

    /// The number of what stands under a key of a directory, known or not.
    fn number_at(&self, parent: Ino, key: &Key, found: &Found) -> Ino {
        if let Some(known) = found.link.and_then(|link| self.table.linked(link.id)) {
            return known.ino;
        }
        let number = ino_of(&found.entry, parent, key, found.stamp);
        self.table.number(parent, key, number)
    }

    /// The inode of what stands under a key of a directory, counting a kernel reference if asked to.
    fn enter(&self, parent: Ino, key: &Key, found: &Found, count: bool) -> Arc<Inode> {
        let number = ino_of(&found.entry, parent, key, found.stamp);
        match found.link {
            Some(link) => self
                .table
                .enter_linked((parent, key), link.id, number, count),
            None => self.table.enter(parent, key, number, count),
        }
    }

    /// Committed children of a directory after a key; empty at the end.
    fn followed_after(
        &self,
        path: &[Key],
        dir: &Found,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Option<Found>)>> {
        let children = self.children_after(path, dir, after, limit)?;
        children
            .into_iter()
            .map(|(key, found)| {
                let found = self.follow(&join(path, &key), found)?;
                Ok((key, found))
            })
            .collect()
    }

    /// Committed children of a directory after a key, names of linked files as such; empty at the
    /// end.
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
                            link: None,
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
                        link: None,
                    },
                )
            })
            .collect())
    }

    /// Brings a working copy in line with what the API did meanwhile.
    fn refresh(&self, inode: &Arc<Inode>, work: &mut Work) -> Result<()> {
        let Some(mark) = inode.marked() else {
            return Ok(());
        };
        if !work.orphan {
            let found = match self.path(inode.ino) {
                Ok(path) => {
                    let found = self.entry_at(&path)?;
                    self.check_names(inode, found.as_ref())?;
                    if let Some(found) = &found
                        && found.entry.is_dir()
                        && is_same(inode, found)
                    {
                        self.reread_pending(inode.ino, &path, &found.entry);
                    }
                    found
                }
                Err(ViewError::Stale { .. }) => {
                    self.lose(inode, work);
                    None
                }
                Err(e) => return Err(e),
            };
            self.compare(inode, work, found)?;
        }
        inode.settle(mark);
        Ok(())
    }

    /// Looks whether an inode has come to be a linked file, and where it has names if it is one.
    fn check_names(&self, inode: &Arc<Inode>, found: Option<&Found>) -> Result<()> {
        let Some((found, link)) = found.and_then(|f| Some((f, f.link?))) else {
            return Ok(());
        };
        if inode.link().is_none() && is_same(inode, found) && !self.is_pending_inode(inode) {
            self.table.adopt(inode, link.id);
        }
        if inode.link() != Some(link.id) {
            return Ok(());
        }
        for name in inode.names() {
            let dir = self.table.path(name.parent);
            let there = match &dir {
                Some(dir) => self.entry_at(&join(dir, &name.key))?,
                None => None,
            };
            if there.and_then(|there| there.link).map(|l| l.id) != Some(link.id) {
                self.table.leave(inode, &name);
            }
        }
        Ok(())
    }

    fn is_pending_inode(&self, inode: &Inode) -> bool {
        let pending = |place: Place| self.table.is_pending(&place);
        inode.place().is_some_and(pending)
    }

    /// Brings a working copy in line with what stands at its place.
    fn compare(&self, inode: &Arc<Inode>, work: &mut Work, found: Option<Found>) -> Result<()> {
        let writers = inode.writers.load(Ordering::Acquire) > 0;
        match (found, &work.entry) {
            _ if work.orphan => {}
            // A name that is not committed yet is none of the API's business.
            (None, _) if work.pending => {}
            // Somebody writes under a name that is not committed yet, and the API has made it.
            (Some(found), _)
                if work.pending && writers && is_file(&found.entry) && found.link.is_none() =>
            {
                if let Some(place) = inode.place() {
                    inode.set_number(ino_of(&found.entry, place.parent, &place.key, found.stamp));
                }
                work.pending = false;
                self.table.committed(inode);
                self.clean(inode, work);
                self.load(inode, work, found)?;
            }
            (Some(found), None) if is_same(inode, &found) => {}
            (Some(found), Some(entry)) if !work.pending && is_same(inode, &found) => {
                let times = edit::times_of(&found.entry, found.stamp);
                let before = edit::times_of(entry, work.stamp);
                if times == before {
                    // The API wrote somewhere around it.
                } else if found.link.is_some() && times.mtime == before.mtime {
                    // The API gave it a name or took one away; its content is what it was.
                    let mut entry = entry.clone();
                    let mut attrs = entry.attrs();
                    attrs.times = Some(times);
                    entry.set_attrs(attrs);
                    work.entry = Some(entry);
                } else if inode.is_open() && !writers {
                    // Who reads keeps what was opened; the name gets another inode.
                    self.lose(inode, work);
                } else {
                    self.clean(inode, work);
                    self.load(inode, work, found)?;
                    if !inode.is_open() {
                        work.settle();
                    }
                }
            }
            _ => self.lose(inode, work),
        }
        Ok(())
    }

    /// An inode has lost its name. What is open lives on without one.
    fn lose(&self, inode: &Arc<Inode>, work: &mut Work) {
        self.table.unlink(inode);
        work.pending = false;
        work.orphan = true;
        self.give_up(inode, work);
    }

    /// What an inode without a name has to commit goes no further than its working copy.
    fn give_up(&self, inode: &Inode, work: &mut Work) {
        if let Some(mut entry) = work.entry.take() {
            entry.set_attrs(work.written_attrs(&entry, work.stamp));
            work.entry = Some(entry);
        }
        self.clean(inode, work);
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
    fn current(&self, inode: &Arc<Inode>, work: &mut Work) -> Result<Found> {
        self.refresh(inode, work)?;
        if let Some(entry) = &work.entry {
            return Ok(Found {
                entry: entry.clone(),
                stamp: work.stamp,
                link: None,
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
        let place = inode.names().into_iter().next();
        let path = place.and_then(|place| self.table.path_at(&place));
        let shown = match path.map(|path| self.shown_path(&path)) {
            Some(Ok(names)) => Name::from(&*names.join(&b'/')).to_string(),
            _ => format!("inode {}", inode.ino),
        };
        self.keep_error(format!("{shown}: {text}"));
        work.error = Some(text);
    }
}

/// Whether an entry at the place of an inode is the one that the inode was made for.
fn is_same(inode: &Inode, found: &Found) -> bool {
    let number = |place: Place| ino_of(&found.entry, place.parent, &place.key, found.stamp);
    inode.place().map(number) == Some(inode.number())
}

fn is_file(entry: &Entry) -> bool {
    special::kind(&entry.node).0 == FileKind::File
}

/// Whether an index may be written in a vector of this length.
fn check_index(index: u64, len: u64) -> Result<()> {
    if index < FREE_INDEX || index < len.saturating_add(INDEX_STEP) {
        return Ok(());
    }
    Err(ViewError::TooBig {
        what: "the vector's index".into(),
        size: index,
        limit: len.saturating_add(INDEX_STEP - 1).max(FREE_INDEX - 1),
    })
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
