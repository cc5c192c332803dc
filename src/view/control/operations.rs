//! The operations, each handed to the view that it is of.

use super::documents::elsewhere;
use super::roots::{Handle, Roots};
use super::{At, NAME, Namespace, SNAPSHOTS};
use crate::view::types::{Attr, Caller, DirItem, Ino, Opened, ROOT, SetAttr, StatFs};
use crate::view::{Result, ViewError};

impl Namespace {
    /// See [`View::lookup`](crate::view::View::lookup).
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<Attr> {
        match self.at(parent)? {
            At::Live if parent == ROOT && name == NAME => self.lookup_control(parent, name),
            At::Live => self.live.lookup(caller, parent, name),
            At::Control(dir) => self.lookup_control(dir, name),
            At::Document(dir) => self.lookup_document(&dir, name),
            At::Branch(branch, local) => {
                let attr = branch.view.lookup(caller, local, name)?;
                Ok(self.shown(&branch, attr, true))
            }
        }
    }

    /// The kernel gives back `n` references.
    pub fn forget(&self, ino: Ino, n: u64) {
        if ino & super::BESIDE == 0 {
            self.live.forget(ino, n);
        } else if ino & super::DOCUMENT != 0 {
            self.documents.forget(ino, n);
        } else {
            self.roots.forget(ino, n);
        }
    }

    /// See [`View::getattr`](crate::view::View::getattr).
    ///
    /// # Errors
    /// As there.
    pub fn getattr(&self, ino: Ino, fh: Option<u64>) -> Result<Attr> {
        match self.at(ino)? {
            At::Live => self.live.getattr(ino, fh),
            At::Control(dir) => Ok(self.control_attr(dir)),
            At::Document(node) => self.document_node_attr(&node),
            At::Branch(branch, local) => {
                let attr = branch.view.getattr(local, None)?;
                Ok(self.shown(&branch, attr, false))
            }
        }
    }

    /// See [`View::setattr`](crate::view::View::setattr).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        match self.at(ino)? {
            At::Document(node) => {
                let fh = match set.fh.map(|fh| self.roots.handle(fh)).transpose()? {
                    Some(Handle::Document(local)) => Some(local),
                    _ => None,
                };
                let set = SetAttr { fh, ..set.clone() };
                self.set_document_attr(&node, &set)
            }
            _ => self.to_change(ino)?.setattr(caller, ino, set),
        }
    }

    /// See [`View::readlink`](crate::view::View::readlink).
    ///
    /// # Errors
    /// As there.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        match self.at(ino)? {
            At::Live => self.live.readlink(ino),
            At::Control(_) | At::Document(_) => {
                Err(ViewError::invalid("readlink", "this is no symbolic link"))
            }
            At::Branch(branch, local) => branch.view.readlink(local),
        }
    }

    /// See [`View::mknod`](crate::view::View::mknod).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> Result<Attr> {
        match self.at(parent)? {
            At::Document(dir) if mode & libc::S_IFMT == libc::S_IFREG => {
                self.make_file(caller, &dir, name, mode & !umask, true)?;
                self.lookup_document(&dir, name)
            }
            _ => {
                let view = self.to_change(parent)?;
                view.mknod(caller, parent, name, mode, umask, rdev)
            }
        }
    }

    /// Makes a directory; in `.kfs/snapshot`, takes a snapshot.
    ///
    /// # Errors
    /// As [`View::mkdir`](crate::view::View::mkdir); [`ViewError::ReadOnly`] in a snapshot.
    pub fn mkdir(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        if parent == SNAPSHOTS {
            return self.take(name);
        }
        let view = self.to_change(parent)?;
        view.mkdir(caller, parent, name, mode, umask)
    }

    /// See [`View::unlink`](crate::view::View::unlink).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        match self.at(parent)? {
            At::Document(dir) => self.remove_document(&dir, name),
            _ => self.to_change(parent)?.unlink(caller, parent, name),
        }
    }

    /// Removes a directory; in `.kfs/snapshot`, drops a snapshot with all that is in it.
    ///
    /// # Errors
    /// As [`View::rmdir`](crate::view::View::rmdir); [`ViewError::ReadOnly`] in a snapshot.
    pub fn rmdir(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        if parent == SNAPSHOTS {
            return self.drop_snapshot(name);
        }
        if parent == ROOT && name == NAME {
            return Err(of_the_mount());
        }
        self.to_change(parent)?.rmdir(caller, parent, name)
    }

    /// See [`View::symlink`](crate::view::View::symlink).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        let view = self.to_change(parent)?;
        view.symlink(caller, parent, name, target)
    }

    /// See [`View::rename`](crate::view::View::rename).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn rename(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        match (self.at(parent)?, self.at(new_parent)?) {
            (At::Document(from), At::Document(to)) => {
                return self.rename_document((&from, name), (&to, new_name), flags);
            }
            // Programs copy and remove then.
            (At::Document(_), At::Live) | (At::Live, At::Document(_)) => return Err(elsewhere()),
            _ => {}
        }
        self.to_change(new_parent)?;
        if parent == ROOT && name == NAME {
            return Err(of_the_mount());
        }
        let view = self.to_change(parent)?;
        view.rename(caller, parent, name, new_parent, new_name, flags)
    }

    /// See [`View::link`](crate::view::View::link).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn link(&self, caller: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.to_change(parent)?;
        self.to_change(ino)?.link(caller, ino, parent, name)
    }

    /// See [`View::open`](crate::view::View::open).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] for writing in a snapshot.
    pub fn open(&self, caller: &Caller, ino: Ino, flags: i32) -> Result<Opened> {
        match self.at(ino)? {
            At::Live => self.live.open(caller, ino, flags),
            At::Control(ino) => Err(ViewError::IsDirectory { ino }),
            At::Document(node) => Ok(known_here(self.open_document(&node, flags)?)),
            At::Branch(branch, local) => {
                let opened = branch.view.open(caller, local, flags)?;
                let fh = branch.opened(opened.fh);
                Ok(Opened { fh, ..opened })
            }
        }
    }

    /// See [`View::create`](crate::view::View::create).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Attr, Opened)> {
        match self.at(parent)? {
            At::Document(dir) => {
                let made = self.create_document(caller, &dir, name, mode & !umask, flags)?;
                Ok((made.0, known_here(made.1)))
            }
            _ => {
                let view = self.to_change(parent)?;
                view.create(caller, parent, name, mode, umask, flags)
            }
        }
    }

    /// See [`View::read`](crate::view::View::read).
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.read(fh, offset, size),
            Handle::Control(ino) => Err(ViewError::IsDirectory { ino }),
            Handle::Document(local) => self.read_document(local, offset, size),
            Handle::Branch(branch, local) => branch.view.read(local, offset, size),
        }
    }

    /// See [`View::write`](crate::view::View::write).
    ///
    /// # Errors
    /// As there.
    pub fn write(
        &self,
        caller: &Caller,
        fh: u64,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
    ) -> Result<u32> {
        match self.roots.handle(fh)? {
            Handle::Document(local) => self.write_document(local, offset, data),
            _ => self.live.write(caller, fh, offset, data, kill_priv),
        }
    }

    /// See [`View::flush`](crate::view::View::flush).
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self, fh: u64) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.flush(fh),
            Handle::Control(_) => Ok(()),
            Handle::Document(local) => self.flush_document(local),
            Handle::Branch(branch, local) => branch.view.flush(local),
        }
    }

    /// See [`View::release`](crate::view::View::release).
    ///
    /// # Errors
    /// As there.
    pub fn release(&self, fh: u64) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.release(fh),
            Handle::Control(_) => Ok(()),
            Handle::Document(local) => self.release_document(local),
            Handle::Branch(branch, local) => {
                branch.view.release(local)?;
                branch.closed();
                Ok(())
            }
        }
    }

    /// See [`View::fsync`](crate::view::View::fsync).
    ///
    /// # Errors
    /// As there.
    pub fn fsync(&self, fh: u64, datasync: bool) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.fsync(fh, datasync),
            Handle::Control(_) => Ok(()),
            Handle::Document(local) => self.sync_document(local),
            Handle::Branch(branch, local) => branch.view.fsync(local, datasync),
        }
    }

    /// See [`View::fsyncdir`](crate::view::View::fsyncdir).
    ///
    /// # Errors
    /// As there.
    pub fn fsyncdir(&self, fh: u64, datasync: bool) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.fsyncdir(fh, datasync),
            Handle::Document(_) => self.sync_documents(),
            // Taking a snapshot was durable when it returned.
            Handle::Control(_) | Handle::Branch(..) => Ok(()),
        }
    }

    /// See [`View::opendir`](crate::view::View::opendir).
    ///
    /// # Errors
    /// As there.
    pub fn opendir(&self, caller: &Caller, ino: Ino) -> Result<u64> {
        match self.at(ino)? {
            At::Live => self.live.opendir(caller, ino),
            At::Control(ino) => Ok(Roots::control_handle(ino)),
            At::Document(node) => Ok(Roots::document_handle(self.open_documents(&node)?)),
            At::Branch(branch, local) => {
                let fh = branch.view.opendir(caller, local)?;
                Ok(branch.opened(fh))
            }
        }
    }

    /// See [`View::readdir`](crate::view::View::readdir).
    ///
    /// # Errors
    /// As there.
    pub fn readdir(
        &self,
        fh: u64,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.readdir(fh, offset, plus, emit),
            Handle::Control(dir) => self.list_control(dir, offset, plus, emit),
            Handle::Document(local) => self.list_documents(local, offset, plus, emit),
            Handle::Branch(branch, local) => {
                branch.view.readdir(local, offset, plus, &mut |item| {
                    let attr = item.attr.map(|attr| self.shown(&branch, *attr, true));
                    let shown = DirItem {
                        ino: match &attr {
                            Some(attr) => attr.ino,
                            None => self.roots.enter(&branch, item.ino, 0),
                        },
                        attr: attr.as_ref(),
                        ..*item
                    };
                    let full = emit(&shown);
                    if let (true, Some(attr)) = (full, &attr) {
                        // The view takes its reference back by itself.
                        self.roots.leave(attr.ino, 1);
                    }
                    full
                })
            }
        }
    }

    /// See [`View::releasedir`](crate::view::View::releasedir).
    ///
    /// # Errors
    /// As there.
    pub fn releasedir(&self, fh: u64) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.releasedir(fh),
            Handle::Control(_) => Ok(()),
            Handle::Document(local) => {
                self.close_documents(local);
                Ok(())
            }
            Handle::Branch(branch, local) => {
                branch.view.releasedir(local)?;
                branch.closed();
                Ok(())
            }
        }
    }

    /// See [`View::statfs`](crate::view::View::statfs).
    ///
    /// # Errors
    /// As there.
    pub fn statfs(&self) -> Result<StatFs> {
        self.live.statfs()
    }

    /// See [`View::setxattr`](crate::view::View::setxattr).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn setxattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        flags: i32,
        position: u32,
    ) -> Result<()> {
        // As a file system without attributes answers: programs go on without them.
        if let At::Document(_) = self.at(ino)? {
            return Err(ViewError::NotSupported {
                what: "a document".into(),
                why: "it has no extended attributes of its own".into(),
            });
        }
        let view = self.to_change(ino)?;
        view.setxattr(caller, ino, name, value, flags, position)
    }

    /// See [`View::getxattr`](crate::view::View::getxattr).
    ///
    /// # Errors
    /// As there.
    pub fn getxattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        match self.at(ino)? {
            At::Live => self.live.getxattr(caller, ino, name),
            At::Control(ino) => Err(ViewError::NoAttribute {
                ino,
                name: name.into(),
            }),
            At::Document(node) => self.document_xattr(ino, &node, name),
            At::Branch(branch, local) => branch.view.getxattr(caller, local, name),
        }
    }

    /// See [`View::listxattr`](crate::view::View::listxattr).
    ///
    /// # Errors
    /// As there.
    pub fn listxattr(&self, caller: &Caller, ino: Ino) -> Result<Vec<u8>> {
        match self.at(ino)? {
            At::Live => self.live.listxattr(caller, ino),
            At::Control(_) | At::Document(_) => Ok(Vec::new()),
            At::Branch(branch, local) => branch.view.listxattr(caller, local),
        }
    }

    /// See [`View::removexattr`](crate::view::View::removexattr).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.to_change(ino)?.removexattr(caller, ino, name)
    }

    /// See [`View::fallocate`](crate::view::View::fallocate).
    ///
    /// # Errors
    /// As there.
    pub fn fallocate(
        &self,
        caller: &Caller,
        fh: u64,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Document(_) => Err(ViewError::NotSupported {
                what: "a document".into(),
                why: "it has nothing to allocate".into(),
            }),
            _ => self.live.fallocate(caller, fh, offset, len, mode),
        }
    }

    /// See [`View::lseek`](crate::view::View::lseek).
    ///
    /// # Errors
    /// As there.
    pub fn lseek(&self, fh: u64, offset: i64, whence: i32) -> Result<u64> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.lseek(fh, offset, whence),
            Handle::Control(ino) => Err(ViewError::IsDirectory { ino }),
            Handle::Document(local) => self.seek_document(local, offset, whence),
            Handle::Branch(branch, local) => branch.view.lseek(local, offset, whence),
        }
    }

    /// See [`View::copy_file_range`](crate::view::View::copy_file_range).
    ///
    /// # Errors
    /// As there; [`ViewError::CrossDevice`] from a snapshot: the caller then reads and writes.
    pub fn copy_file_range(
        &self,
        caller: &Caller,
        fh_in: u64,
        off_in: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
    ) -> Result<u64> {
        match (self.roots.handle(fh_in)?, self.roots.handle(fh_out)?) {
            (Handle::Live, Handle::Live) => {
                let live = &self.live;
                live.copy_file_range(caller, fh_in, off_in, fh_out, off_out, len)
            }
            _ => Err(ViewError::CrossDevice {
                from: "a snapshot or document".into(),
                to: "something else".into(),
            }),
        }
    }
}

/// What was opened as a document, by the number that the kernel gets.
fn known_here(opened: Opened) -> Opened {
    let fh = Roots::document_handle(opened.fh);
    Opened { fh, ..opened }
}

fn of_the_mount() -> ViewError {
    ViewError::NotPermitted {
        what: ".kfs".into(),
        why: "it belongs to the mount".into(),
    }
}
