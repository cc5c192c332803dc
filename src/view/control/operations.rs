//! The operations, each handed to the view that it is of.

use super::documents::elsewhere;
use super::roots::{Handle, Roots};
use super::{At, COMMIT, KFS, NAME, Namespace, SNAPSHOTS, TRANSACTIONS};
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
                let fh = match fh.map(|fh| self.roots.handle(fh)).transpose()? {
                    Some(Handle::Branch(_, fh)) => Some(fh),
                    _ => None,
                };
                let attr = branch.view.getattr(local, fh)?;
                Ok(self.shown(&branch, attr, false))
            }
        }
    }

    /// See [`View::setattr`](crate::view::View::setattr).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn setattr(&self, caller: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let place = match self.at(ino)? {
            At::Document(node) => {
                let fh = match set.fh.map(|fh| self.roots.handle(fh)).transpose()? {
                    Some(Handle::Document(local)) => Some(local),
                    _ => None,
                };
                let set = SetAttr { fh, ..set.clone() };
                return self.set_document_attr(&node, &set);
            }
            _ => self.to_change(ino)?,
        };
        let fh = match set.fh {
            Some(fh) => Some(self.to_write(fh)?.number),
            None => None,
        };
        let set = SetAttr { fh, ..set.clone() };
        let attr = place.view().setattr(caller, place.number, &set)?;
        Ok(place.show(attr, false))
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
        if let At::Document(dir) = self.at(parent)?
            && mode & libc::S_IFMT == libc::S_IFREG
        {
            self.make_file(caller, &dir, name, mode & !umask, true)?;
            return self.lookup_document(&dir, name);
        }
        let place = self.to_change(parent)?;
        let view = place.view();
        let attr = view.mknod(caller, place.number, name, mode, umask, rdev)?;
        Ok(place.show(attr, true))
    }

    /// Makes a directory; in `.kfs/snapshot`, takes a snapshot; in `.kfs/tx`, begins a transaction.
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
        if parent == TRANSACTIONS {
            return self.begin(name);
        }
        let place = self.to_change(parent)?;
        let view = place.view();
        let attr = view.mkdir(caller, place.number, name, mode, umask)?;
        Ok(place.show(attr, true))
    }

    /// See [`View::unlink`](crate::view::View::unlink).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn unlink(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        if let At::Document(dir) = self.at(parent)? {
            return self.remove_document(&dir, name);
        }
        let place = self.to_change(parent)?;
        place.view().unlink(caller, place.number, name)
    }

    /// Removes a directory; in `.kfs/snapshot`, drops a snapshot with all that is in it; in `.kfs/tx`,
    /// gives up a transaction.
    ///
    /// # Errors
    /// As [`View::rmdir`](crate::view::View::rmdir); [`ViewError::ReadOnly`] in a snapshot.
    pub fn rmdir(&self, caller: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        if parent == SNAPSHOTS {
            return self.drop_snapshot(name);
        }
        if parent == TRANSACTIONS {
            return self.give_up(name);
        }
        if parent == ROOT && name == NAME {
            return Err(of_the_mount());
        }
        let place = self.to_change(parent)?;
        place.view().rmdir(caller, place.number, name)
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
        let place = self.to_change(parent)?;
        let attr = place.view().symlink(caller, place.number, name, target)?;
        Ok(place.show(attr, true))
    }

    /// Renames; a transaction to `.kfs/commit` commits it.
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
        if (parent, new_parent, new_name) == (TRANSACTIONS, KFS, COMMIT) {
            return self.commit(name);
        }
        match (self.at(parent)?, self.at(new_parent)?) {
            (At::Document(from), At::Document(to)) => {
                return self.rename_document((&from, name), (&to, new_name), flags);
            }
            // Programs copy and remove then.
            (At::Document(_), At::Live | At::Branch(..))
            | (At::Live | At::Branch(..), At::Document(_)) => return Err(elsewhere()),
            _ => {}
        }
        let to = self.to_change(new_parent)?;
        if parent == ROOT && name == NAME {
            return Err(of_the_mount());
        }
        let from = self.to_change(parent)?;
        from.with(&to)?;
        let view = from.view();
        view.rename(caller, from.number, name, to.number, new_name, flags)
    }

    /// See [`View::link`](crate::view::View::link).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] in a snapshot.
    pub fn link(&self, caller: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        let to = self.to_change(parent)?;
        let from = self.to_change(ino)?;
        from.with(&to)?;
        let attr = from.view().link(caller, from.number, to.number, name)?;
        Ok(from.show(attr, true))
    }

    /// See [`View::open`](crate::view::View::open).
    ///
    /// # Errors
    /// As there; [`ViewError::ReadOnly`] for writing in a snapshot.
    pub fn open(&self, caller: &Caller, ino: Ino, flags: i32) -> Result<Opened> {
        match self.at(ino)? {
            At::Live => self.live.open(caller, ino, flags),
            At::Control(ino) => self.open_control(ino, flags),
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
        if let At::Document(dir) = self.at(parent)? {
            let (attr, opened) = self.create_document(caller, &dir, name, mode & !umask, flags)?;
            return Ok((attr, known_here(opened)));
        }
        let place = self.to_change(parent)?;
        let view = place.view();
        let (attr, opened) = view.create(caller, place.number, name, mode, umask, flags)?;
        Ok((place.show(attr, true), place.opened(opened)))
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
            Handle::File(fh) => self.read_control(fh, offset, size),
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
        if let Handle::Document(local) = self.roots.handle(fh)? {
            return self.write_document(local, offset, data);
        }
        let place = self.to_write(fh)?;
        let view = place.view();
        view.write(caller, place.number, offset, data, kill_priv)
    }

    /// See [`View::flush`](crate::view::View::flush).
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self, fh: u64) -> Result<()> {
        match self.roots.handle(fh)? {
            Handle::Live => self.live.flush(fh),
            Handle::Control(_) | Handle::File(_) => Ok(()),
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
            Handle::File(fh) => {
                self.release_control(fh);
                Ok(())
            }
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
            Handle::Control(_) | Handle::File(_) => Ok(()),
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
            Handle::Control(_) | Handle::File(_) | Handle::Branch(..) => Ok(()),
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
            Handle::File(_) => Err(ViewError::BadHandle {
                fh,
                operation: "listing",
            }),
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
            Handle::Control(_) | Handle::File(_) => Ok(()),
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
        let place = self.to_change(ino)?;
        let view = place.view();
        view.setxattr(caller, place.number, name, value, flags, position)
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
            At::Branch(branch, ROOT) if name == b"user.kfs.error" && !branch.is_snapshot() => {
                let missing = || ViewError::NoAttribute {
                    ino,
                    name: name.into(),
                };
                self.conflicts(&branch).ok_or_else(missing)
            }
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
        let place = self.to_change(ino)?;
        place.view().removexattr(caller, place.number, name)
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
        let place = self.to_write(fh)?;
        let view = place.view();
        view.fallocate(caller, place.number, offset, len, mode)
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
            Handle::File(_) => Err(ViewError::invalid("lseek", "it has no holes")),
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
        let both = (self.roots.handle(fh_in)?, self.roots.handle(fh_out)?);
        if let (Handle::Document(_), _) | (_, Handle::Document(_)) = both {
            return Err(elsewhere());
        }
        let to = self.to_write(fh_out)?;
        let from = self.to_write(fh_in).map_err(|_| ViewError::CrossDevice {
            from: "a snapshot".into(),
            to: "the present".into(),
        })?;
        from.with(&to)?;
        let view = to.view();
        view.copy_file_range(caller, from.number, off_in, to.number, off_out, len)
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
