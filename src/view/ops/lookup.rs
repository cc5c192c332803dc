//! Finding a name, attributes, and the kernel's references.

use std::sync::Arc;

use super::super::inode::Inode;
use super::super::types::{Attr, Caller, Ino};
use super::super::{Result, View, ViewError};
use crate::tree::edit::Found;
use crate::value::Key;

/// What became of an inode since the store was read.
pub(super) enum Since {
    /// Nothing was written, or it is gone: what was read is as good an answer as any.
    Nothing,
    /// These are its attributes now.
    Now(Attr),
    /// It has lost its name to something else.
    Lost,
}

impl View {
    /// The attributes of what a name stands for; counts a reference of the kernel.
    ///
    /// # Errors
    /// [`ViewError::NotFound`] if there is no such name.
    pub fn lookup(&self, _caller: &Caller, parent: Ino, name: &[u8]) -> Result<Attr> {
        loop {
            let since = self.store.writes();
            let (path, dir) = self.dir(parent)?;
            let key = self.key(parent, &path, &dir, name)?;
            let found = match &key {
                Some(key) => self.known_or_stored(parent, &path, &dir, key, since)?,
                None => None,
            };
            let Some((inode, attr)) = found else {
                let kernel = self.kernel.get().map(|kernel| &**kernel);
                self.absent.note(parent, name, kernel);
                return Err(ViewError::not_found(parent, name));
            };
            // It may have been forgotten in between.
            if self.table.refer(&inode) {
                return Ok(attr);
            }
        }
    }

    /// The inode under a key of a directory with its attributes, entering it if it is new. `since` is
    /// the state of the store from before the directory was read.
    pub(super) fn known_or_stored(
        &self,
        parent: Ino,
        path: &[Key],
        dir: &Found,
        key: &Key,
        since: u64,
    ) -> Result<Option<(Arc<Inode>, Attr)>> {
        loop {
            if let Some(inode) = self.at(parent, key)? {
                let work = inode.work.lock();
                if !work.orphan
                    && let Some(entry) = work.entry.clone()
                {
                    let attr = self.attr_of_work(&inode, &work, &entry, work.stamp)?;
                    drop(work);
                    return Ok(Some((inode, attr)));
                }
                drop(work);
                if let Since::Now(attr) = self.written_since(&inode, since)? {
                    return Ok(Some((inode, attr)));
                }
            }
            let Some(found) = self.child(path, dir, key)? else {
                return Ok(None);
            };
            let inode = self.enter(parent, key, &found, false);
            if found.link.is_some() {
                // It may have a working copy under another name.
                let mut work = inode.work.lock();
                let current = self.current(&inode, &mut work)?;
                let attr = self.attr_of_work(&inode, &work, &current.entry, current.stamp)?;
                drop(work);
                return Ok(Some((inode, attr)));
            }
            let attr = match self.written_since(&inode, since)? {
                Since::Now(attr) => attr,
                Since::Nothing => self.attr(inode.ino, &found.entry, found.stamp)?,
                // What was read may be the content that came in its place, and who has it open goes
                // on with the one before: to give it the size of the other would mix them.
                Since::Lost => continue,
            };
            return Ok(Some((inode, attr)));
        }
    }

    /// The attributes that an inode has now, if something was written since then: what was read
    /// before may be from before a commit that has just let go of the working copy, or from before
    /// the kernel was known to know the inode.
    pub(super) fn written_since(&self, inode: &Arc<Inode>, since: u64) -> Result<Since> {
        let mut work = inode.work.lock();
        if work.orphan {
            return Ok(Since::Lost);
        }
        if self.store.writes() == since {
            return Ok(Since::Nothing);
        }
        let found = match self.current(inode, &mut work) {
            Err(ViewError::Stale { .. }) => return Ok(Since::Nothing),
            found => found?,
        };
        if work.orphan {
            return Ok(Since::Lost);
        }
        let attr = self.attr_of_work(inode, &work, &found.entry, found.stamp)?;
        Ok(Since::Now(attr))
    }

    /// The kernel gives back `n` references.
    pub fn forget(&self, ino: Ino, n: u64) {
        self.table.forget(ino, n);
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// [`ViewError::Stale`] if it is gone.
    pub fn getattr(&self, ino: Ino, _fh: Option<u64>) -> Result<Attr> {
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        let found = self.current(&inode, &mut work)?;
        self.attr_of_work(&inode, &work, &found.entry, found.stamp)
    }
}
