//! The kernel's operations, each handed to the view and its answer handed back.
//!
//! Nothing is decided here: an operation translates its arguments, calls the view under
//! [`Adaptor::guard`], and replies.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::convert::{bare_attr, file_attr, file_type, open_flags, set_time};
use super::errno::errno;
use super::init::{self, Protocol};
use super::invalidate::mark_as_answering;
use crate::view::{Attr, Caller, DirItem, FileKind, Lasting, SetAttr, View, ViewError};

/// Inode numbers are never used for another file while the kernel knows them.
const GENERATION: Generation = Generation(0);

/// The longest name that the kernel can take in a listing; a longer one could harm it.
const LONGEST_NAME: usize = 255;

/// A view as fuser wants a filesystem to be.
#[derive(Debug)]
pub(super) struct Adaptor {
    view: Arc<View>,
    protocol: Protocol,
    /// How long the kernel keeps what does not change without its being told.
    lifetime: Duration,
    /// Set when the view is about to be shut down: no operation begins any more.
    closed: Arc<AtomicBool>,
}

impl Adaptor {
    pub(super) fn new(
        view: Arc<View>,
        protocol: Protocol,
        lifetime: Duration,
        closed: Arc<AtomicBool>,
    ) -> Self {
        Self {
            view,
            protocol,
            lifetime,
            closed,
        }
    }

    /// Runs an operation. A panic would end fuser's thread, and with the last thread the mount
    /// would hang for ever: it becomes an I/O error.
    fn guard<T>(
        &self,
        operation: &'static str,
        ino: impl Into<u64>,
        run: impl FnOnce(&View) -> Result<T, ViewError>,
    ) -> Result<T, Errno> {
        mark_as_answering();
        let ino = ino.into();
        if self.closed.load(Ordering::Acquire) {
            return Err(errno(&ViewError::ShuttingDown));
        }
        match catch_unwind(AssertUnwindSafe(|| run(&self.view))) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                log(operation, ino, &error);
                Err(errno(&error))
            }
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(operation, ino, panic, "a bug: the operation panicked");
                Err(Errno::EIO)
            }
        }
    }

    fn lifetime(&self, lasting: Lasting) -> Duration {
        match lasting {
            Lasting::UntilInvalidated => self.lifetime,
            Lasting::Momentary => Duration::ZERO,
        }
    }

    fn reply_entry(&self, answer: Result<Attr, Errno>, reply: ReplyEntry) {
        match answer {
            Ok(attr) => reply.entry(&self.lifetime(attr.lasting), &file_attr(&attr), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn reply_attr(&self, answer: Result<Attr, Errno>, reply: ReplyAttr) {
        match answer {
            Ok(attr) => reply.attr(&self.lifetime(attr.lasting), &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Lists a directory into a buffer; whether the reply is an error. One that comes after some
    /// items waits for the next call: the kernel already counts references to these.
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
        let answer = self.guard(operation, ino, |view| {
            view.readdir(fh.0, offset, plus, &mut emit)
        });
        if added { Ok(()) } else { answer }
    }
}

/// Faults of the store are for whoever runs it; everything else only for who looks for it.
fn log(operation: &'static str, ino: u64, error: &ViewError) {
    if error.is_fault() {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(operation, ino, %error, cause);
    } else {
        tracing::debug!(operation, ino, %error);
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "(no message)",
    }
}

fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

fn reply_empty(answer: Result<(), Errno>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

fn reply_data(answer: Result<Vec<u8>, Errno>, reply: ReplyData) {
    match answer {
        Ok(data) => reply.data(&data),
        Err(errno) => reply.error(errno),
    }
}

/// Size 0 asks how long the value is.
fn reply_xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match (answer, size) {
        (Err(errno), _) => reply.error(errno),
        (Ok(value), 0) => match u32::try_from(value.len()) {
            Ok(length) => reply.size(length),
            Err(_) => reply.error(Errno::E2BIG),
        },
        (Ok(value), size) if value.len() > size as usize => reply.error(Errno::ERANGE),
        (Ok(value), _) => reply.data(&value),
    }
}

impl Filesystem for Adaptor {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(self.protocol, config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let answer = self.guard("lookup", parent, |view| {
            match view.lookup(&caller(request), parent.0, name.as_bytes()) {
                Err(ViewError::NotFound {
                    lasting: Lasting::UntilInvalidated,
                    ..
                }) => Ok(None),
                other => other.map(Some),
            }
        });
        match answer {
            // Inode 0 is how the kernel is told that it may remember an absence.
            Ok(None) => {
                let nothing = bare_attr(0, FileKind::File);
                reply.entry(&self.lifetime, &nothing, GENERATION);
            }
            Ok(Some(attr)) => self.reply_entry(Ok(attr), reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        // There is no reply to a FORGET; the guard has logged what there was to say.
        let _logged = self.guard("forget", ino, |view| {
            view.forget(ino.0, count);
            Ok(())
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let answer = self.guard("getattr", ino, |view| {
            view.getattr(ino.0, fh.map(|fh| fh.0))
        });
        self.reply_attr(answer, reply);
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
        let answer = self.guard("setattr", ino, |view| {
            view.setattr(&caller(request), ino.0, &set)
        });
        self.reply_attr(answer, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        reply_data(
            self.guard("readlink", ino, |view| view.readlink(ino.0)),
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
        let answer = self.guard("mknod", parent, |view| {
            let name = name.as_bytes();
            view.mknod(&caller(request), parent.0, name, mode, umask, rdev)
        });
        self.reply_entry(answer, reply);
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
        let answer = self.guard("mkdir", parent, |view| {
            view.mkdir(&caller(request), parent.0, name.as_bytes(), mode, umask)
        });
        self.reply_entry(answer, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.guard("unlink", parent, |view| {
            view.unlink(&caller(request), parent.0, name.as_bytes())
        });
        reply_empty(answer, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.guard("rmdir", parent, |view| {
            view.rmdir(&caller(request), parent.0, name.as_bytes())
        });
        reply_empty(answer, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let answer = self.guard("symlink", parent, |view| {
            let target = target.as_os_str().as_bytes();
            view.symlink(&caller(request), parent.0, name.as_bytes(), target)
        });
        self.reply_entry(answer, reply);
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
        let answer = self.guard("rename", parent, |view| {
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
        reply_empty(answer, reply);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let answer = self.guard("link", ino, |view| {
            view.link(&caller(request), ino.0, newparent.0, newname.as_bytes())
        });
        self.reply_entry(answer, reply);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = self.protocol.open_flags(flags.0);
        match self.guard("open", ino, |view| {
            view.open(&caller(request), ino.0, flags)
        }) {
            Ok(opened) => reply.opened(FileHandle(opened.fh), open_flags(&opened)),
            Err(errno) => reply.error(errno),
        }
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
        let answer = self.guard("create", parent, |view| {
            let name = name.as_bytes();
            view.create(&caller(request), parent.0, name, mode, umask, flags)
        });
        match answer {
            Ok((attr, opened)) => reply.created(
                &self.lifetime(attr.lasting),
                &file_attr(&attr),
                GENERATION,
                FileHandle(opened.fh),
                open_flags(&opened),
            ),
            Err(errno) => reply.error(errno),
        }
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
        reply_data(
            self.guard("read", ino, |view| view.read(fh.0, offset, size)),
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
        let answer = self.guard("write", ino, |view| {
            view.write(&caller(request), fh.0, offset, data, kill_priv)
        });
        match answer {
            Ok(written) => reply.written(written),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply_empty(self.guard("flush", ino, |view| view.flush(fh.0)), reply);
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
        reply_empty(self.guard("release", ino, |view| view.release(fh.0)), reply);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let answer = self.guard("fsync", ino, |view| view.fsync(fh.0, datasync));
        reply_empty(answer, reply);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.guard("opendir", ino, |view| view.opendir(&caller(request), ino.0)) {
            Ok(fh) => reply.opened(FileHandle(fh), fuser::FopenFlags::empty()),
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
                Some(attr) => (file_attr(attr), self.lifetime(attr.lasting)),
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
        let answer = self.guard("releasedir", ino, |view| view.releasedir(fh.0));
        reply_empty(answer, reply);
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let answer = self.guard("fsyncdir", ino, |view| view.fsyncdir(fh.0, datasync));
        reply_empty(answer, reply);
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        match self.guard("statfs", ino, View::statfs) {
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
        let answer = self.guard("setxattr", ino, |view| {
            let name = name.as_bytes();
            view.setxattr(&caller(request), ino.0, name, value, flags, position)
        });
        reply_empty(answer, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let answer = self.guard("getxattr", ino, |view| {
            view.getxattr(&caller(request), ino.0, name.as_bytes())
        });
        reply_xattr(answer, size, reply);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let answer = self.guard("listxattr", ino, |view| {
            view.listxattr(&caller(request), ino.0)
        });
        reply_xattr(answer, size, reply);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = self.guard("removexattr", ino, |view| {
            view.removexattr(&caller(request), ino.0, name.as_bytes())
        });
        reply_empty(answer, reply);
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
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let answer = self.guard("fallocate", ino, |view| {
            view.fallocate(fh.0, offset, length, mode)
        });
        reply_empty(answer, reply);
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
        match self.guard("lseek", ino, |view| view.lseek(fh.0, offset, whence)) {
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
        let answer = self.guard("copy_file_range", ino, |view| {
            if !flags.is_empty() {
                return Err(ViewError::invalid("copy_file_range", "unknown flags"));
            }
            let who = caller(request);
            view.copy_file_range(&who, fh_in.0, offset_in, fh_out.0, offset_out, len)
        });
        match answer {
            Ok(copied) => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }
}
