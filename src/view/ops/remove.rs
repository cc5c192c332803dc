//! Removing names.

use std::sync::Arc;

use super::super::special;
use super::super::types::{Caller, FileKind, Ino};
use super::super::{Result, View, ViewError};
use super::join;
use crate::tree::edit::{self, Found};
use crate::tree::{Entry, Times};
use crate::value::Key;

impl View {
    /// Removes the name of a file; what has it open keeps it.
    ///
    /// # Errors
    /// [`ViewError::NotFound`]; [`ViewError::IsDirectory`].
    pub fn unlink(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let (path, dir) = self.dir(parent)?;
        let missing = || ViewError::not_found(parent, name);
        let key = self.key(parent, &path, &dir, name)?.ok_or_else(missing)?;
        let known = self.table.at(parent, &key);
        let mut work = known.as_ref().map(|inode| inode.work.lock());
        if let (Some(inode), Some(work)) = (&known, &mut work) {
            self.refresh(inode, work)?;
            if work.pending {
                // Nobody but this mount knows of it: nothing to commit.
                work.orphan = true;
                work.pending = false;
                self.clean(inode, work);
                if let Some(entry) = &work.entry {
                    self.leave_hint(parent, &key, entry);
                }
                self.table.unlink(inode);
                return Ok(());
            }
        }
        let now = self.time();
        let found = self.transact(|tx| {
            let (path, _) = self.dir_in(tx, parent)?;
            let at = join(&path, &key);
            let found = tx.find(&at)?.ok_or_else(missing)?;
            if found.entry.is_dir() {
                return Err(ViewError::IsDirectory { ino: parent });
            }
            tx.remove(at, Some(now))?;
            if let Some(inode) = &known {
                let (table, inode) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.on_commit(move || table.unlink(&inode));
            }
            Ok(found)
        })?;
        self.leave_hint(parent, &key, &found.entry);
        if let (Some(inode), Some(work)) = (&known, &mut work) {
            if work.entry.is_none() {
                self.load(inode, work, unlinked(found, now))?;
            }
            work.orphan = true;
            self.clean(inode, work);
        }
        Ok(())
    }

    /// Remembers the type of a name that is freed.
    pub(super) fn leave_hint(&self, parent: Ino, key: &Key, entry: &Entry) {
        if special::kind(&entry.node).0 == FileKind::File {
            self.hints.leave(parent, key, entry, self.store.pager());
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`ViewError::NotFound`]; [`ViewError::NotDirectory`]; [`ViewError::NotEmpty`].
    pub fn rmdir(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let missing = || ViewError::not_found(parent, name);
        let (path, dir) = self.dir(parent)?;
        let key = self.key(parent, &path, &dir, name)?.ok_or_else(missing)?;
        let known = self.table.at(parent, &key);
        let mut work = known.as_ref().map(|inode| inode.work.lock());
        let now = self.time();
        let found = self.transact(|tx| {
            let (path, _) = self.dir_in(tx, parent)?;
            let at = join(&path, &key);
            let found = tx.find(&at)?.ok_or_else(missing)?;
            let Some(children) = found.entry.children() else {
                return Err(ViewError::NotDirectory { ino: parent });
            };
            let ino = known.as_ref().map(|i| i.ino);
            if !children.is_empty() || ino.is_some_and(|ino| self.table.pending_time(ino).is_some())
            {
                return Err(ViewError::NotEmpty {
                    parent,
                    name: name.into(),
                });
            }
            tx.remove(at, Some(now))?;
            if let Some(inode) = &known {
                let (table, gone) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.require(move || table.pending_time(gone.ino).is_none());
                let (table, inode) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.on_commit(move || table.unlink(&inode));
            }
            Ok(found)
        })?;
        if let Some(work) = &mut work {
            let found = unlinked(found, now);
            work.entry = Some(found.entry);
            work.stamp = found.stamp;
            work.orphan = true;
        }
        Ok(())
    }
}

/// An entry as it is after its name was taken: with a new ctime.
pub(super) fn unlinked(found: Found, now: crate::tree::Time) -> Found {
    let Found { mut entry, stamp } = found;
    let times = edit::times_of(&entry, stamp);
    let mut attrs = entry.attrs();
    attrs.times = Some(Times {
        ctime: now,
        ..times
    });
    entry.set_attrs(attrs);
    Found { entry, stamp }
}
