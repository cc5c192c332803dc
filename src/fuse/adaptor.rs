//! The kernel's operations, each handed to the view and its answer handed back.
//!
//! Nothing is decided here: an operation translates its arguments, calls the view under the
//! [`Guard`], and replies.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::answer::{self, GENERATION, Lifetime};
use super::convert::{bare_attr, file_attr, file_type, set_time};
use super::guard::Guard;
use super::init::{self, Protocol};
use super::wake::{self, Waker};
use crate::view::{Caller, DirItem, FileKind, Lasting, Namespace, SetAttr, ViewError};

/// The longest name that the kernel can take in a listing; a longer one could harm it.
const LONGEST_NAME: usize = 255;

/// A view as fuser wants a filesystem to be.
#[derive(Debug)]
pub(super) struct Adaptor {
    guard: Guard<Namespace>,
    protocol: Protocol,
    lifetime: Lifetime,
    waker: Waker,
}

impl Adaptor {
    pub(super) fn new(
        guard: Guard<Namespace>,
        protocol: Protocol,
        lifetime: Lifetime,
        waker: Waker,
    ) -> Self {
        Self {
            guard,
            protocol,
            lifetime,
            waker,
        }
    }

    /// Answers as if a name that is there had just been made.
    fn made(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let answer = self.guard.run("lookup", parent, |view| {
            view.lookup(&caller(request), parent.0, name.as_bytes())
        });
        self.lifetime.entry(answer, reply);
    }

    /// Lists a directory into a buffer. An error after the first item waits for the next call, as
    /// the view has already counted references to what is in the buffer.
    fn list(
        &self,
        operation: &'static str,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        plus: bool,
        add: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<(), Errno> {
        let mut added = false;
        let mut emit = |item: &DirItem<'_>| {
            if item.name.len() > LONGEST_NAME {
                tracing::error!(ino = ino.0, "a bug: a name of {} bytes", item.name.len());
                return false;
            }
            let full = add(item);
            added |= !full;
            full
        };
        let answer = self.guard.run(operation, ino, |view| {
            view.readdir(fh.0, offset, plus, &mut emit)
        });
        if added { Ok(()) } else { answer }
    }
}

fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

impl Filesystem for Adaptor {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(self.protocol, config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if self.waker.hides(request, name) {
            return reply.error(Errno::ENOENT);
        }
        if self.waker.shows(request, name) {
            let attr = bare_attr(wake::GONE, FileKind::File);
            return reply.entry(&Duration::ZERO, &attr, GENERATION);
        }
        let answer = self.guard.run("lookup", parent, |view| {
            match view.lookup(&caller(request), parent.0, name.as_bytes()) {
                Err(ViewError::NotFound {
                    lasting: Lasting::UntilInvalidated,
                    ..
                }) => Ok(None),
                other => other.map(Some),
            }
        });
        match answer {
            Ok(None) => self.lifetime.absence(reply),
            Ok(Some(attr)) => self.lifetime.entry(Ok(attr), reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        // There is no reply to a FORGET; the guard has logged what there was to say.
        let _logged = self.guard.run("forget", ino, |view| {
            view.forget(ino.0, count);
            Ok(())
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let answer = self.guard.run("getattr", ino, |view| {
            view.getattr(ino.0, fh.map(|fh| fh.0))
        });
        self.lifetime.attr(answer, reply);
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            fh: fh.map(|fh| fh.0),
        };
        let answer = self.guard.run("setattr", ino, |view| {
            if size.is_some() && self.waker.keeps(request) {
                return view.getattr(ino.0, set.fh);
            }
            view.setattr(&caller(request), ino.0, &set)
        });
        self.lifetime.attr(answer, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer::data(
            self.guard.run("readlink", ino, |view| view.readlink(ino.0)),
            reply,
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        if self.waker.hides(request, name) {
            return self.made(request, parent, name, reply);
        }
        let answer = self.guard.run("mknod", parent, |view| {
            let name = name.as_bytes();
            view.mknod(&caller(request), parent.0, name, mode, umask, rdev)
        });
        self.lifetime.entry(answer, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        if self.waker.hides(request, name) {
            return self.made(request, parent, name, reply);
        }
        let answer = self.guard.run("mkdir", parent, |view| {
            view.mkdir(&caller(request), parent.0, name.as_bytes(), mode, umask)
        });
        self.lifetime.entry(answer, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if self.waker.shows(request, name) {
            return reply.ok();
        }
        let answer = self.guard.run("unlink", parent, |view| {
            view.unlink(&caller(request), parent.0, name.as_bytes())
        });
        answer::empty(answer, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.guard.run("rmdir", parent, |view| {
            view.rmdir(&caller(request), parent.0, name.as_bytes())
        });
        answer::empty(answer, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let answer = self.guard.run("symlink", parent, |view| {
            let target = target.as_os_str().as_bytes();
            view.symlink(&caller(request), parent.0, name.as_bytes(), target)
        });
        self.lifetime.entry(answer, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let known = RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE;
        let answer = self.guard.run("rename", parent, |view| {
            if !known.contains(flags) {
                return Err(ViewError::invalid("rename", "unknown flags"));
            }
            view.rename(
                &caller(request),
                parent.0,
                name.as_bytes(),
                newparent.0,
                newname.as_bytes(),
                flags.bits(),
            )
        });
        answer::empty(answer, reply);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let answer = self.guard.run("link", ino, |view| {
            view.link(&caller(request), ino.0, newparent.0, newname.as_bytes())
        });
        self.lifetime.entry(answer, reply);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = self.protocol.open_flags(flags.0);
        let answer = self.guard.run("open", ino, |view| {
            view.open(&caller(request), ino.0, flags)
        });
        answer::opened(answer, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let flags = self.protocol.open_flags(flags);
        let answer = self.guard.run("create", parent, |view| {
            let name = name.as_bytes();
            view.create(&caller(request), parent.0, name, mode, umask, flags)
        });
        self.lifetime.created(answer, reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer::data(
            self.guard
                .run("read", ino, |view| view.read(fh.0, offset, size)),
            reply,
        );
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill_priv = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let answer = self.guard.run("write", ino, |view| {
            view.write(&caller(request), fh.0, offset, data, kill_priv)
        });
        answer::written(answer, reply);
    }

    fn flush(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        answer::empty(self.guard.run("flush", ino, |view| view.flush(fh.0)), reply);
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        answer::empty(
            self.guard.run("release", ino, |view| view.release(fh.0)),
            reply,
        );
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let answer = self
            .guard
            .run("fsync", ino, |view| view.fsync(fh.0, datasync));
        answer::empty(answer, reply);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self
            .guard
            .run("opendir", ino, |view| view.opendir(&caller(request), ino.0))
        {
            Ok(fh) => reply.opened(FileHandle(fh), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let answer = self.list("readdir", ino, fh, offset, false, &mut |item| {
            let name = OsStr::from_bytes(item.name);
            reply.add(INodeNo(item.ino), item.offset, file_type(item.kind), name)
        });
        match answer {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let answer = self.list("readdirplus", ino, fh, offset, true, &mut |item| {
            // `.` and `..` come without attributes: the kernel takes only their number and kind.
            let (attr, lifetime) = match item.attr {
                Some(attr) => (file_attr(attr), self.lifetime.of_attr(attr)),
                None => (bare_attr(item.ino, item.kind), Duration::ZERO),
            };
            let name = OsStr::from_bytes(item.name);
            reply.add(attr.ino, item.offset, name, &lifetime, &attr, GENERATION)
        });
        match answer {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let answer = self
            .guard
            .run("releasedir", ino, |view| view.releasedir(fh.0));
        answer::empty(answer, reply);
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let answer = self
            .guard
            .run("fsyncdir", ino, |view| view.fsyncdir(fh.0, datasync));
        answer::empty(answer, reply);
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        match self.guard.run("statfs", ino, Namespace::statfs) {
            Ok(s) => reply.statfs(
                s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        position: u32,
        reply: ReplyEmpty,
    ) {
        let answer = self.guard.run("setxattr", ino, |view| {
            let name = name.as_bytes();
            view.setxattr(&caller(request), ino.0, name, value, flags, position)
        });
        answer::empty(answer, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let answer = self.guard.run("getxattr", ino, |view| {
            view.getxattr(&caller(request), ino.0, name.as_bytes())
        });
        answer::xattr(answer, size, reply);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let answer = self.guard.run("listxattr", ino, |view| {
            view.listxattr(&caller(request), ino.0)
        });
        answer::xattr(answer, size, reply);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.guard.run("removexattr", ino, |view| {
            view.removexattr(&caller(request), ino.0, name.as_bytes())
        });
        answer::empty(answer, reply);
    }

    /// Asked only without `default_permissions`, where everybody may do everything: the kernel
    /// takes this answer for "yes", once and for all.
    fn access(&self, _: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    /// What ext4, too, answers to an ioctl that it does not know.
    fn ioctl(
        &self,
        _: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let answer = self.guard.run("fallocate", ino, |view| {
            view.fallocate(&caller(request), fh.0, offset, length, mode)
        });
        answer::empty(answer, reply);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self
            .guard
            .run("lseek", ino, |view| view.lseek(fh.0, offset, whence))
        {
            Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The reply has room for 32 bits.
        let len = len.min(u64::from(u32::MAX));
        let answer = self.guard.run("copy_file_range", ino, |view| {
            if !flags.is_empty() {
                return Err(ViewError::invalid("copy_file_range", "unknown flags"));
            }
            let who = caller(request);
            let copied =
                view.copy_file_range(&who, fh_in.0, offset_in, fh_out.0, offset_out, len)?;
            Ok(u32::try_from(copied).unwrap_or(u32::MAX))
        });
        answer::written(answer, reply);
    }
}
