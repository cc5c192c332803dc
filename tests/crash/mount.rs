//! A filesystem in memory that writes down what is done to it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;

use crate::disk::{Change, Content, Disk, Ino, ROOT};

/// The kernel is to ask each time: the disk below it is exchanged.
const TTL: Duration = Duration::ZERO;
const GENERATION: Generation = Generation(0);

/// What happened, in order.
#[derive(Clone, Debug)]
pub enum Event {
    Change(Change),
    /// A step of the sequence begins.
    Begin,
    /// It has ended: the store has had so many states, and these of them are synced.
    End {
        states: usize,
        synced: usize,
    },
}

/// The disk that is mounted, and the log of what is done to it.
#[derive(Debug)]
pub struct Recorder {
    disk: Disk,
    log: Vec<Event>,
    next: Ino,
    /// So many syncs until one fails.
    fail_sync: Option<u32>,
}

impl Recorder {
    fn change(&mut self, change: Change) {
        self.disk.apply(&change);
        self.log.push(Event::Change(change));
    }

    fn sync(&mut self, change: Change, lost: Change) -> Result<(), Errno> {
        let left = self.fail_sync.take();
        self.fail_sync = left.and_then(|left| left.checked_sub(1));
        if left == Some(0) {
            self.change(lost);
            return Err(Errno::EIO);
        }
        self.change(change);
        Ok(())
    }

    fn attr(&self, ino: Ino) -> Result<FileAttr, Errno> {
        let (kind, size) = if self.disk.dirs.contains_key(&ino) {
            (FileType::Directory, 0)
        } else {
            let file = self.disk.files.get(&ino).ok_or(Errno::ENOENT)?;
            (FileType::RegularFile, file.len())
        };
        Ok(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn find(&self, dir: INodeNo, name: &OsStr) -> Result<Ino, Errno> {
        self.disk.lookup(dir.0, name).ok_or(Errno::ENOENT)
    }

    fn enter(&mut self, dir: INodeNo, name: &OsStr, is_dir: bool) -> Result<FileAttr, Errno> {
        if self.disk.lookup(dir.0, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let ino = self.next;
        self.next += 1;
        self.change(Change::Enter {
            dir: dir.0,
            name: name.into(),
            ino,
            is_dir,
        });
        self.attr(ino)
    }

    fn leave(&mut self, dir: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let ino = self.find(dir, name)?;
        if self.disk.dirs.get(&ino).is_some_and(|d| !d.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(Change::Leave {
            dir: dir.0,
            name: name.into(),
        });
        Ok(())
    }

    fn rename(
        &mut self,
        from: (Ino, OsString),
        to: (Ino, OsString),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let ino = self.disk.lookup(from.0, &from.1).ok_or(Errno::ENOENT)?;
        let taken = self.disk.lookup(to.0, &to.1);
        if flags == RenameFlags::RENAME_NOREPLACE && taken.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags != RenameFlags::empty() && flags != RenameFlags::RENAME_NOREPLACE {
            return Err(Errno::EINVAL);
        }
        if taken != Some(ino) {
            self.change(Change::Move { from, to, ino });
        }
        Ok(())
    }
}

/// The recorder as fuser wants a filesystem to be.
struct Recording(Arc<Mutex<Recorder>>);

fn entry(reply: ReplyEntry, answer: Result<FileAttr, Errno>) {
    match answer {
        Ok(attr) => reply.entry(&TTL, &attr, GENERATION),
        Err(errno) => reply.error(errno),
    }
}

fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Recording {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Large writes in one piece.
        let _most = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let recorder = self.0.lock();
        let found = recorder
            .find(parent, name)
            .and_then(|ino| recorder.attr(ino));
        entry(reply, found);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().attr(ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut recorder = self.0.lock();
        if let Some(to) = size {
            recorder.change(Change::Length { ino: ino.0, to });
        }
        match recorder.attr(ino.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.0.lock().enter(dir, name, true));
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.0.lock().leave(dir, name));
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.0.lock().leave(dir, name));
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        to_dir: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((dir.0, name.into()), (to_dir.0, to_name.into()));
        empty(reply, self.0.lock().rename(from, to, flags));
    }

    fn link(&self, _: &Request, ino: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut recorder = self.0.lock();
        if recorder.find(dir, name).is_ok() {
            return reply.error(Errno::EEXIST);
        }
        recorder.change(Change::Enter {
            dir: dir.0,
            name: name.into(),
            ino: ino.0,
            is_dir: false,
        });
        entry(reply, recorder.attr(ino.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.0.lock().enter(dir, name, false) {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attr, GENERATION, FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().disk.files.get(&ino.0) {
            Some(file) => reply.data(&file.read(offset, size as usize)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.0.lock().change(Change::Write {
            ino: ino.0,
            at: offset,
            data: data.into(),
        });
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut recorder = self.0.lock();
        let end = offset + length;
        match mode {
            0 => {
                let now = recorder.disk.files.get(&ino.0).map_or(0, Content::len);
                if end > now {
                    recorder.change(Change::Length {
                        ino: ino.0,
                        to: end,
                    });
                }
                reply.ok();
            }
            mode if mode == libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE => {
                let now = recorder.disk.files.get(&ino.0).map_or(0, Content::len);
                let count = end.min(now).saturating_sub(offset);
                let data = vec![0; usize::try_from(count).unwrap()].into();
                recorder.change(Change::Write {
                    ino: ino.0,
                    at: offset,
                    data,
                });
                reply.ok();
            }
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let (sync, lost) = (
            Change::SyncFile { ino: ino.0 },
            Change::LoseSync { ino: ino.0 },
        );
        empty(reply, self.0.lock().sync(sync, lost));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let (sync, lost) = (
            Change::SyncDir { ino: ino.0 },
            Change::LoseSync { ino: ino.0 },
        );
        empty(reply, self.0.lock().sync(sync, lost));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let recorder = self.0.lock();
        let Some(dir) = recorder.disk.dirs.get(&ino.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let skip = usize::try_from(offset).unwrap();
        for (at, (name, child)) in dir.iter().enumerate().skip(skip) {
            let kind = if recorder.disk.dirs.contains_key(child) {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if reply.add(INodeNo(*child), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 30, 1 << 29, 1 << 29, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}

/// The mounted filesystem; unmounted when dropped.
pub struct Mount {
    recorder: Arc<Mutex<Recorder>>,
    session: Option<BackgroundSession>,
    dir: tempfile::TempDir,
}

impl Mount {
    /// `first`: the number of the first file made.
    pub fn new(first: Ino) -> Self {
        let recorder = Arc::new(Mutex::new(Recorder {
            disk: Disk::new(),
            log: Vec::new(),
            next: first,
            fail_sync: None,
        }));
        let dir = tempfile::Builder::new()
            .prefix("kfs-crash.")
            .tempdir()
            .unwrap();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("kfs-crash".to_owned())];
        let recording = Recording(Arc::clone(&recorder));
        let session = fuser::spawn_mount(recording, dir.path(), &config).unwrap();
        Self {
            recorder,
            session: Some(session),
            dir,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory for a store.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// Puts another disk below the mount. Nothing may be open.
    pub fn load(&self, disk: Disk) {
        let mut recorder = self.recorder.lock();
        // A number is never used for two files: the kernel would take one for the other.
        let used: BTreeSet<Ino> = disk.files.keys().chain(disk.dirs.keys()).copied().collect();
        recorder.next = recorder.next.max(used.last().map_or(ROOT, |last| last + 1));
        recorder.disk = disk;
        recorder.log.clear();
    }

    pub fn fail_sync(&self, after: Option<u32>) {
        self.recorder.lock().fail_sync = after;
    }

    pub fn disk(&self) -> Disk {
        self.recorder.lock().disk.clone()
    }

    /// Notes something between the changes.
    pub fn mark(&self, event: Event) {
        self.recorder.lock().log.push(event);
    }

    pub fn log_len(&self) -> usize {
        self.recorder.lock().log.len()
    }

    pub fn take_log(&self) -> Vec<Event> {
        std::mem::take(&mut self.recorder.lock().log)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Files that a failed test left open must not keep the mount.
            let detached = nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH);
            if detached.is_ok() && !std::thread::panicking() {
                drop(session.join());
            } else {
                drop(session);
            }
        }
    }
}
