//! Changing attributes: everything that one call says, in one step.

use std::sync::Arc;

use super::super::inode::Inode;
use super::super::special;
use super::super::types::{Attr, Caller, FileKind, Ino, SetAttr, SetTime};
use super::super::work::{Work, clear_setid};
use super::super::{Result, View, ViewError};
use super::create::is_dirty;
use crate::tree::edit::{self, Found};
use crate::tree::{Attrs, Time, Times};

impl View {
    /// Changes attributes. A new size given by path is committed at once; one given through a handle
    /// with the next commit of the content.
    ///
    /// # Errors
    /// [`ViewError::ReadOnly`]; [`ViewError::Stale`]; those of a commit.
    pub fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        self.writable()?;
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        if let Some(size) = set.size {
            let found = self.current(&inode, &mut work)?;
            let before = work.content();
            self.set_size(&inode, &mut work, &found, size, caller)?;
            if set.fh.is_none()
                && let Err(e) = self.commit_work(&inode, &mut work)
            {
                if e.is_refusal() {
                    // What is refused has not happened, for whoever has the file open neither.
                    self.clean(&inode, &mut work);
                    work.restore(before);
                    if is_dirty(&work) {
                        self.dirty.add(&inode);
                    }
                }
                if !inode.is_open() {
                    work.settle();
                }
                return Err(e);
            }
        }
        let now = self.time();
        if changes_attrs(set) {
            // What was written moves mtime before it is set to something else.
            if !work.pending && is_dirty(&work) && !work.orphan {
                self.commit_work(&inode, &mut work)?;
            }
            self.change_attrs(&inode, &mut work, &mut |found, pending| {
                let mut attrs = found.entry.attrs();
                let mut owner = self.owner_of(&found.entry);
                let mut times = edit::times_of(&found.entry, found.stamp);
                if let Some(mode) = set.mode {
                    owner.mode = mode & 0o7777;
                    super::xattr::mode_to_acl(&mut attrs, owner.mode);
                }
                if set.uid.is_some() || set.gid.is_some() {
                    owner.uid = set.uid.unwrap_or(owner.uid);
                    owner.gid = set.gid.unwrap_or(owner.gid);
                    attrs.xattrs.remove("security.capability".as_bytes());
                }
                attrs.owner = Some(owner);
                let is_file = special::kind(&found.entry.node).0 != FileKind::Dir;
                if (set.uid.is_some() || set.gid.is_some()) && set.mode.is_none() && is_file {
                    clear_setid(&mut attrs);
                }
                if let Some(t) = set.atime {
                    attrs.atime = Some(at(t, now));
                }
                if let Some(t) = set.mtime {
                    times.mtime = at(t, now);
                }
                times.ctime = now;
                attrs.times = Some(times);
                if pending && set.mtime.is_none() {
                    attrs.times = Some(Times {
                        ctime: now,
                        ..times
                    });
                }
                Ok(attrs)
            })?;
            if set.mtime.is_some() {
                work.mtime = None;
            }
            if set.mode.is_some() {
                // A mode given after the write stands.
                work.kill = false;
            }
        }
        let found = self.current(&inode, &mut work)?;
        self.attr_of_work(&inode, &work, &found.entry, found.stamp)
    }

    fn set_size(
        &self,
        inode: &Arc<Inode>,
        work: &mut Work,
        found: &Found,
        size: u64,
        caller: &Caller,
    ) -> Result<()> {
        match special::kind(&found.entry.node).0 {
            FileKind::File => {}
            FileKind::Dir => return Err(ViewError::IsDirectory { ino: inode.ino }),
            _ => return Err(ViewError::invalid("size", "only files have one")),
        }
        if work.buffer.is_none() {
            self.load(inode, work, found.clone())?;
        }
        work.kill |= caller.uid != 0;
        self.resize(inode, work, size)
    }

    /// Changes the attributes of an inode: of the working copy where only that has them, else in one
    /// commit.
    pub(super) fn change_attrs(
        &self,
        inode: &Arc<Inode>,
        work: &mut Work,
        change: &mut dyn FnMut(&Found, bool) -> Result<Attrs>,
    ) -> Result<()> {
        loop {
            let mut found = self.current(inode, work)?;
            if work.pending || work.orphan {
                // What a write took away may be given again.
                work.settle_kill();
                if let Some(entry) = &work.entry {
                    found.entry = entry.clone();
                }
                let attrs = change(&found, true)?;
                if let Some(entry) = &mut work.entry {
                    entry.set_attrs(attrs);
                }
                return Ok(());
            }
            let ino = inode.ino;
            let done = self.transact(|tx| {
                // What the API wrote is looked into first: it may have to replace the working copy.
                if inode.marked().is_some() {
                    return Ok(None);
                }
                let path = self.path(ino)?;
                let mut found = Self::find(tx, &path)?.ok_or(ViewError::Stale { ino })?;
                self.settle_times(ino, &mut found);
                let attrs = change(&found, false)?;
                tx.set_attrs(path.clone().into(), attrs.clone())?;
                found.entry.set_attrs(attrs);
                let (table, inode) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.require(move || {
                    table.path(ino).as_ref() == Some(&path) && inode.marked().is_none()
                });
                Ok(Some(found))
            })?;
            if let Some(found) = done {
                if let Some(entry) = &mut work.entry {
                    entry.attrs = found.entry.attrs;
                }
                return Ok(());
            }
        }
    }
}

/// Whether more than the size is set. A call that sets nothing, as `chown(-1, -1)`, moves ctime.
fn changes_attrs(set: &SetAttr) -> bool {
    set.size.is_none()
        || set.mode.is_some()
        || set.uid.is_some()
        || set.gid.is_some()
        || set.atime.is_some()
        || set.mtime.is_some()
}

fn at(time: SetTime, now: Time) -> Time {
    match time {
        SetTime::Now => now,
        SetTime::At(t) => t,
    }
}
