//! Removing names.

use std::sync::Arc;

use super::super::inode::Inode;
use super::super::types::{Caller, Ino};
use super::super::work::Work;
use super::super::{Result, View, ViewError};
use super::{is_file, join};
use crate::tree::edit::{self, Found};
use crate::tree::{Entry, Time, Times};
use crate::value::Key;

impl View {
    /// Removes the name of a file; what has it open keeps it.
    ///
    /// # Errors
    /// [`ViewError::NotFound`]; [`ViewError::IsDirectory`].
    pub fn unlink(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        let missing = || ViewError::not_found(parent, name);
        loop {
            let (path, dir) = self.dir(parent)?;
            let key = self.key(parent, &path, &dir, name)?.ok_or_else(missing)?;
            let known = self.at(parent, &key)?;
            let mut work = known.as_ref().map(|inode| inode.work.lock());
            let now = self.time();
            if let (Some(inode), Some(work)) = (&known, &mut work) {
                self.refresh(inode, work)?;
                if work.orphan || !inode.is_at(parent, &key) {
                    // The API has just replaced it: look again.
                    continue;
                }
                if work.pending {
                    // Nothing to take away, but the directory has changed, twice.
                    self.transact(|tx| {
                        let (path, mut dir) = self.dir_in(tx, parent)?;
                        edit::touch(&mut dir.entry, dir.stamp, now);
                        Ok(tx.set_attrs(path.into(), dir.entry.attrs())?)
                    })?;
                    if let Some(entry) = &work.entry {
                        self.leave_hint(parent, &key, entry);
                    }
                    self.lose(inode, work);
                    unnamed(work, now);
                    return Ok(());
                }
            }
            let found = self.transact(|tx| {
                let (path, _) = self.dir_in(tx, parent)?;
                let at = join(&path, &key);
                let found = Self::find(tx, &at)?.ok_or_else(missing)?;
                if found.entry.is_dir() {
                    return Err(ViewError::IsDirectory { ino: parent });
                }
                tx.remove(at, Some(now))?;
                let (table, key, known) = (Arc::clone(&self.table), key.clone(), known.clone());
                let last = is_last(&found);
                tx.on_commit(move || table.remove(parent, &key, known.as_ref(), last));
                Ok(found)
            })?;
            self.leave_hint(parent, &key, &found.entry);
            if let (Some(inode), Some(work)) = (&known, &mut work) {
                self.unnamed(inode, work, found, now);
            }
            return Ok(());
        }
    }

    /// The working copy of an inode that has lost a name, perhaps its last.
    pub(super) fn unnamed(&self, inode: &Inode, work: &mut Work, found: Found, now: Time) {
        if is_last(&found) {
            self.orphaned(inode, work, found, now);
        } else {
            unnamed(work, now);
        }
    }

    /// The working copy of an inode whose name is gone: what is open lives on.
    fn orphaned(&self, inode: &Inode, work: &mut Work, found: Found, now: Time) {
        if work.entry.is_none() {
            work.entry = Some(found.entry);
            work.stamp = found.stamp;
        }
        work.pending = false;
        work.orphan = true;
        self.give_up(inode, work);
        unnamed(work, now);
    }

    /// Remembers the type of a name that is freed.
    pub(super) fn leave_hint(&self, parent: Ino, key: &Key, entry: &Entry) {
        if is_file(entry) {
            self.hints.leave(parent, key, entry, self.store.pager());
        } else {
            self.hints.clear(parent, key);
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
        let known = self.at(parent, &key)?;
        let mut work = known.as_ref().map(|inode| inode.work.lock());
        if work.as_ref().is_some_and(|work| work.pending) {
            return Err(ViewError::NotDirectory { ino: parent });
        }
        let now = self.time();
        let found = self.transact(|tx| {
            let (path, _) = self.dir_in(tx, parent)?;
            let at = join(&path, &key);
            let found = Self::find(tx, &at)?.ok_or_else(missing)?;
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
            }
            let (table, key, known) = (Arc::clone(&self.table), key.clone(), known.clone());
            tx.on_commit(move || table.remove(parent, &key, known.as_ref(), true));
            Ok(found)
        })?;
        self.leave_hint(parent, &key, &found.entry);
        if let (Some(inode), Some(work)) = (&known, &mut work) {
            self.orphaned(inode, work, found, now);
        }
        Ok(())
    }
}

/// Whether what was found has no other name.
pub(super) fn is_last(found: &Found) -> bool {
    found.link.is_none_or(|link| link.names <= 1)
}

/// Losing a name moves the ctime of a file.
fn unnamed(work: &mut Work, now: Time) {
    let Some(entry) = &mut work.entry else { return };
    let mut attrs = entry.attrs();
    attrs.times = Some(Times {
        ctime: now,
        ..edit::times_of(entry, work.stamp)
    });
    entry.set_attrs(attrs);
}
