//! The kernel's operations, each handed to the view and its answer handed back.
//!
//! Nothing is decided here: an operation translates its arguments, calls the view under the
//! [`Guard`], and replies, on a thread that the [`Crew`] chooses.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::answer::{self, GENERATION, Lifetime};
use super::convert::{bare_attr, file_attr, file_type, set_time};
use super::crew::{Crew, Seat};
use super::guard::{Guard, Task};
use super::init::{self, Protocol};
use super::operation::Operation;
use super::poll::{self, Pollers};
use super::wake::{self, Waker};
use crate::view::{Caller, DirItem, FileKind, Lasting, Namespace, SetAttr, ViewError};

/// The longest name that the kernel can take in a listing; a longer one could harm it.
const LONGEST_NAME: usize = 255;

/// A view as fuser wants a filesystem to be.
#[derive(Debug)]
pub(super) struct Adaptor {
    desk: Arc<Desk>,
    protocol: Protocol,
    crew: Crew,
}

/// What operations are done with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) guard: Guard<Namespace>,
    pub(super) lifetime: Lifetime,
    pub(super) waker: Waker,
    pub(super) pollers: Arc<Pollers>,
}

/// An operation on the thread that does it.
struct Doing<'s> {
    desk: Arc<Desk>,
    task: Task,
    caller: Caller,
    seat: Seat<'s>,
}

impl Doing<'_> {
    /// Asks the view, once. What follows is the answer.
    fn run<T>(
        &self,
        run: impl FnOnce(&Namespace, &Caller) -> Result<T, ViewError>,
    ) -> Result<T, Errno> {
        let caller = &self.caller;
        let answer = self.desk.guard.run(&self.task, |view| run(view, caller));
        self.seat.leave();
        answer
    }

    /// Answers as if a name that is there had just been made.
    fn made(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let answer = self.run(|view, caller| view.lookup(caller, parent.0, name.as_bytes()));
        self.desk.lifetime.entry(answer, reply);
    }

    /// Lists a directory into a buffer. An error after the first item waits for the next call, as
    /// the view has already counted references to what is in the buffer.
    fn list(
        &self,
        fh: FileHandle,
        offset: u64,
        plus: bool,
        add: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<(), Errno> {
        let mut added = false;
        let mut emit = |item: &DirItem<'_>| {
            if item.name.len() > LONGEST_NAME {
                tracing::error!(fh = fh.0, "a bug: a name of {} bytes", item.name.len());
                return false;
            }
            let full = add(item);
            added |= !full;
            full
        };
        let answer = self.run(|view, _| view.readdir(fh.0, offset, plus, &mut emit));
        if added { Ok(()) } else { answer }
    }
}

impl Adaptor {
    pub(super) fn new(desk: Desk, protocol: Protocol, crew: Crew) -> Self {
        Self {
            desk: Arc::new(desk),
            protocol,
            crew,
        }
    }

    /// Does an operation on an inode, or has it done, with `what` it is about.
    fn run<A>(
        &self,
        request: &Request,
        operation: Operation,
        ino: INodeNo,
        what: &A,
        work: impl FnOnce(&Doing<'_>, &A) + Send + 'static,
    ) where
        A: ToOwned + ?Sized,
        A::Owned: Send + 'static,
    {
        let desk = Arc::clone(&self.desk);
        let task = Task::new(operation, ino.0, request.pid());
        let caller = Caller {
            uid: request.uid(),
            gid: request.gid(),
            pid: request.pid(),
        };
        self.crew.run(what, move |seat, what| {
            let doing = Doing {
                desk,
                task,
                caller,
                seat,
            };
            work(&doing, what);
        });
    }
}

impl Filesystem for Adaptor {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(self.protocol, config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.run(
            request,
            Operation::Lookup,
            parent,
            name,
            move |this, name| {
                let Desk {
                    waker, lifetime, ..
                } = &*this.desk;
                if waker.hides(&this.caller, name) {
                    return reply.error(Errno::ENOENT);
                }
                if waker.shows(&this.caller, name) {
                    let attr = bare_attr(wake::GONE, FileKind::File);
                    return reply.entry(&Duration::ZERO, &attr, GENERATION);
                }
                let answer =
                    this.run(
                        |view, caller| match view.lookup(caller, parent.0, name.as_bytes()) {
                            Err(ViewError::NotFound {
                                lasting: Lasting::UntilInvalidated,
                                ..
                            }) => Ok(None),
                            other => other.map(Some),
                        },
                    );
                match answer {
                    Ok(None) => lifetime.absence(reply),
                    Ok(Some(attr)) => lifetime.entry(Ok(attr), reply),
                    Err(errno) => reply.error(errno),
                }
            },
        );
    }

    fn forget(&self, request: &Request, ino: INodeNo, count: u64) {
        self.run(request, Operation::Forget, ino, &(), move |this, ()| {
            // There is no reply to a FORGET; the guard has logged what there was to say.
            let _logged = this.run(|view, _| {
                view.forget(ino.0, count);
                Ok(())
            });
        });
    }

    fn getattr(&self, request: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        self.run(request, Operation::Getattr, ino, &(), move |this, ()| {
            let answer = this.run(|view, _| view.getattr(ino.0, fh.map(|fh| fh.0)));
            this.desk.lifetime.attr(answer, reply);
        });
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
        self.run(request, Operation::Setattr, ino, &(), move |this, ()| {
            let answer = this.run(|view, caller| {
                if this.desk.waker.keeps(caller) {
                    return view.getattr(ino.0, set.fh);
                }
                view.setattr(caller, ino.0, &set)
            });
            Lifetime::changed(answer, reply);
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.run(request, Operation::Readlink, ino, &(), move |this, ()| {
            answer::data(this.run(|view, _| view.readlink(ino.0)), reply);
        });
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
        self.run(
            request,
            Operation::Mknod,
            parent,
            name,
            move |this, name| {
                if this.desk.waker.hides(&this.caller, name) {
                    return this.made(parent, name, reply);
                }
                let answer = this.run(|view, caller| {
                    view.mknod(caller, parent.0, name.as_bytes(), mode, umask, rdev)
                });
                this.desk.lifetime.entry(answer, reply);
            },
        );
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
        self.run(
            request,
            Operation::Mkdir,
            parent,
            name,
            move |this, name| {
                if this.desk.waker.hides(&this.caller, name) {
                    return this.made(parent, name, reply);
                }
                let answer = this
                    .run(|view, caller| view.mkdir(caller, parent.0, name.as_bytes(), mode, umask));
                this.desk.lifetime.entry(answer, reply);
            },
        );
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run(
            request,
            Operation::Unlink,
            parent,
            name,
            move |this, name| {
                if this.desk.waker.shows(&this.caller, name) {
                    return reply.ok();
                }
                let answer =
                    this.run(|view, caller| view.unlink(caller, parent.0, name.as_bytes()));
                answer::empty(answer, reply);
            },
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run(
            request,
            Operation::Rmdir,
            parent,
            name,
            move |this, name| {
                let answer = this.run(|view, caller| view.rmdir(caller, parent.0, name.as_bytes()));
                answer::empty(answer, reply);
            },
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.to_owned();
        self.run(
            request,
            Operation::Symlink,
            parent,
            name,
            move |this, name| {
                let target = target.as_os_str().as_bytes();
                let answer = this
                    .run(|view, caller| view.symlink(caller, parent.0, name.as_bytes(), target));
                this.desk.lifetime.entry(answer, reply);
            },
        );
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
        let newname = newname.to_owned();
        self.run(
            request,
            Operation::Rename,
            parent,
            name,
            move |this, name| {
                let answer = this.run(|view, caller| {
                    if !known.contains(flags) {
                        return Err(ViewError::invalid("rename", "unknown flags"));
                    }
                    let (old, new) = (name.as_bytes(), newname.as_bytes());
                    view.rename(caller, parent.0, old, newparent.0, new, flags.bits())
                });
                answer::empty(answer, reply);
            },
        );
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.run(request, Operation::Link, ino, newname, move |this, name| {
            let answer =
                this.run(|view, caller| view.link(caller, ino.0, newparent.0, name.as_bytes()));
            this.desk.lifetime.linked(answer, reply);
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = self.protocol.open_flags(flags.0);
        self.run(request, Operation::Open, ino, &(), move |this, ()| {
            if this.desk.waker.keeps(&this.caller) {
                let (fh, kept) = (FileHandle(wake::TOUCHED), FopenFlags::FOPEN_KEEP_CACHE);
                return reply.opened(fh, kept);
            }
            answer::opened(
                this.run(|view, caller| view.open(caller, ino.0, flags)),
                reply,
            );
        });
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
        self.run(
            request,
            Operation::Create,
            parent,
            name,
            move |this, name| {
                let answer = this.run(|view, caller| {
                    view.create(caller, parent.0, name.as_bytes(), mode, umask, flags)
                });
                this.desk.lifetime.created(answer, reply);
            },
        );
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.run(request, Operation::Read, ino, &(), move |this, ()| {
            answer::data(this.run(|view, _| view.read(fh.0, offset, size)), reply);
        });
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
        self.run(request, Operation::Write, ino, data, move |this, data| {
            let answer = this.run(|view, caller| view.write(caller, fh.0, offset, data, kill_priv));
            answer::written(answer, reply);
        });
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.run(request, Operation::Flush, ino, &(), move |this, ()| {
            if fh.0 == wake::TOUCHED {
                return reply.ok();
            }
            answer::empty(this.run(|view, _| view.flush(fh.0)), reply);
        });
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.run(request, Operation::Release, ino, &(), move |this, ()| {
            if fh.0 == wake::TOUCHED {
                return reply.ok();
            }
            answer::empty(this.run(|view, _| view.release(fh.0)), reply);
        });
    }

    fn fsync(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run(request, Operation::Fsync, ino, &(), move |this, ()| {
            answer::empty(this.run(|view, _| view.fsync(fh.0, datasync)), reply);
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.run(
            request,
            Operation::Opendir,
            ino,
            &(),
            move |this, ()| match this.run(|view, caller| view.opendir(caller, ino.0)) {
                Ok(fh) => reply.opened(FileHandle(fh), FopenFlags::empty()),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.run(request, Operation::Readdir, ino, &(), move |this, ()| {
            let answer = this.list(fh, offset, false, &mut |item| {
                let name = OsStr::from_bytes(item.name);
                reply.add(INodeNo(item.ino), item.offset, file_type(item.kind), name)
            });
            match answer {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.run(
            request,
            Operation::Readdirplus,
            ino,
            &(),
            move |this, ()| {
                let answer = this.list(fh, offset, true, &mut |item| {
                    // `.` and `..` come without attributes: the kernel takes only their number and kind.
                    let (attr, lifetime) = match item.attr {
                        Some(attr) => (file_attr(attr), this.desk.lifetime.of_attr(attr)),
                        None => (bare_attr(item.ino, item.kind), Duration::ZERO),
                    };
                    let name = OsStr::from_bytes(item.name);
                    reply.add(attr.ino, item.offset, name, &lifetime, &attr, GENERATION)
                });
                match answer {
                    Ok(()) => reply.ok(),
                    Err(errno) => reply.error(errno),
                }
            },
        );
    }

    fn releasedir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.run(request, Operation::Releasedir, ino, &(), move |this, ()| {
            answer::empty(this.run(|view, _| view.releasedir(fh.0)), reply);
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.run(request, Operation::Fsyncdir, ino, &(), move |this, ()| {
            answer::empty(this.run(|view, _| view.fsyncdir(fh.0, datasync)), reply);
        });
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.run(
            request,
            Operation::Statfs,
            ino,
            &(),
            move |this, ()| match this.run(|view, _| view.statfs()) {
                Ok(s) => reply.statfs(
                    s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
                ),
                Err(errno) => reply.error(errno),
            },
        );
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
        let name = name.to_owned();
        self.run(
            request,
            Operation::Setxattr,
            ino,
            value,
            move |this, value| {
                let answer = this.run(|view, caller| {
                    view.setxattr(caller, ino.0, name.as_bytes(), value, flags, position)
                });
                answer::empty(answer, reply);
            },
        );
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.run(
            request,
            Operation::Getxattr,
            ino,
            name,
            move |this, name| {
                let answer = this.run(|view, caller| view.getxattr(caller, ino.0, name.as_bytes()));
                answer::xattr(answer, size, reply);
            },
        );
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.run(request, Operation::Listxattr, ino, &(), move |this, ()| {
            let answer = this.run(|view, caller| view.listxattr(caller, ino.0));
            answer::xattr(answer, size, reply);
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.run(
            request,
            Operation::Removexattr,
            ino,
            name,
            move |this, name| {
                let answer =
                    this.run(|view, caller| view.removexattr(caller, ino.0, name.as_bytes()));
                answer::empty(answer, reply);
            },
        );
    }

    fn poll(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        notifier: PollNotifier,
        asked: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        self.run(request, Operation::Poll, ino, &(), move |this, ()| {
            let answer = this.run(|view, _| {
                if view.has_more(fh.0)? {
                    return Ok(true);
                }
                let added = this.desk.pollers.add(notifier, flags, view.events());
                added.map_err(|e| ViewError::io("waiting for events", e))?;
                // What came meanwhile has perhaps been told to those before.
                view.has_more(fh.0)
            });
            match answer {
                Ok(has_more) => reply.poll(poll::ready(asked, has_more)),
                Err(errno) => reply.error(errno),
            }
        });
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
        self.run(request, Operation::Fallocate, ino, &(), move |this, ()| {
            if fh.0 == wake::TOUCHED {
                return reply.ok();
            }
            let answer =
                this.run(|view, caller| view.fallocate(caller, fh.0, offset, length, mode));
            answer::empty(answer, reply);
        });
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.run(
            request,
            Operation::Lseek,
            ino,
            &(),
            move |this, ()| match this.run(|view, _| view.lseek(fh.0, offset, whence)) {
                Ok(found) => reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
                Err(errno) => reply.error(errno),
            },
        );
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
        self.run(
            request,
            Operation::CopyFileRange,
            ino,
            &(),
            move |this, ()| {
                let answer = this.run(|view, caller| {
                    if !flags.is_empty() {
                        return Err(ViewError::invalid("copy_file_range", "unknown flags"));
                    }
                    let copied = view
                        .copy_file_range(caller, fh_in.0, offset_in, fh_out.0, offset_out, len)?;
                    Ok(u32::try_from(copied).unwrap_or(u32::MAX))
                });
                answer::written(answer, reply);
            },
        );
    }
}
