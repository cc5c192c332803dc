//! Files and directories over a store.
//!
//! This is a stand-in that keeps everything in memory; it has the operations of the real view.
#![allow(missing_docs, clippy::too_many_arguments, reason = "a stand-in")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a stand-in"
)]

mod error;
pub mod names;
pub mod render;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use error::{Name, ViewError};
pub use types::{
    Attr, Caller, DirItem, FileKind, Ino, Invalidate, Lasting, Opened, ROOT, SetAttr, SetTime,
    StatFs, Time,
};

type Result<T> = std::result::Result<T, ViewError>;

#[derive(Debug)]
struct Node {
    attr: Attr,
    data: Vec<u8>,
    entries: BTreeMap<Vec<u8>, (Ino, u64)>,
    next_cookie: u64,
    lookups: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Default)]
struct State {
    nodes: HashMap<Ino, Node>,
    handles: HashMap<u64, Ino>,
}

/// The stand-in.
pub struct View {
    state: RwLock<State>,
    next: AtomicU64,
    invalidate: Mutex<Option<std::sync::Arc<dyn Invalidate>>>,
    pub stopped: std::sync::atomic::AtomicBool,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

fn now() -> Time {
    let d = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Time {
        secs: d.as_secs() as i64,
        nanos: d.subsec_nanos(),
    }
}

fn stale(ino: Ino) -> ViewError {
    ViewError::Stale { ino }
}

impl State {
    fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).ok_or(stale(ino))
    }
    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(stale(ino))
    }
    fn handle(&self, fh: u64) -> Result<Ino> {
        self.handles.get(&fh).copied().ok_or(ViewError::BadHandle {
            fh,
            operation: "anything",
        })
    }
    fn child(&self, parent: Ino, name: &[u8]) -> Result<Ino> {
        let dir = self.node(parent)?;
        dir.entries
            .get(name)
            .map(|e| e.0)
            .ok_or_else(|| ViewError::not_found(parent, name))
    }
    fn attach(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<()> {
        if name.len() > 255 {
            return Err(ViewError::NameTooLong { name: name.into() });
        }
        let dir = self.node_mut(parent)?;
        if dir.entries.contains_key(name) {
            return Err(ViewError::exists(parent, name));
        }
        dir.next_cookie += 1;
        dir.entries.insert(name.to_vec(), (ino, dir.next_cookie));
        dir.attr.mtime = now();
        dir.attr.ctime = dir.attr.mtime;
        Ok(())
    }
    fn detach(&mut self, parent: Ino, name: &[u8]) -> Result<Ino> {
        let dir = self.node_mut(parent)?;
        let (ino, _) = dir
            .entries
            .remove(name)
            .ok_or_else(|| ViewError::not_found(parent, name))?;
        dir.attr.mtime = now();
        dir.attr.ctime = dir.attr.mtime;
        Ok(ino)
    }
    fn dropped(&mut self, ino: Ino) {
        if let Some(n) = self.nodes.get_mut(&ino) {
            n.attr.nlink = if n.attr.kind == FileKind::Dir {
                0
            } else {
                n.attr.nlink.saturating_sub(1)
            };
        }
        self.reap(ino);
    }
    fn reap(&mut self, ino: Ino) {
        if self
            .nodes
            .get(&ino)
            .is_some_and(|n| n.attr.nlink == 0 && n.lookups == 0)
        {
            self.nodes.remove(&ino);
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ViewOptions {
    pub uid: u32,
    pub gid: u32,
    pub file_mode: u32,
    pub dir_mode: u32,
    pub strict: bool,
    pub infer: bool,
    pub read_only: bool,
}

impl View {
    pub fn new(_store: crate::store::Store, _options: ViewOptions) -> Result<std::sync::Arc<Self>> {
        Ok(std::sync::Arc::new(Self::default()))
    }
}

impl Default for View {
    fn default() -> Self {
        Self::in_memory()
    }
}

impl View {
    pub fn in_memory() -> Self {
        let view = Self {
            state: RwLock::default(),
            next: AtomicU64::new(2),
            invalidate: Mutex::new(None),
            stopped: false.into(),
        };
        let who = Caller {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            pid: 0,
        };
        let mut root = view.fresh(&who, FileKind::Dir, 0o755, 0);
        root.attr.ino = ROOT;
        view.state.write().nodes.insert(ROOT, root);
        view
    }

    fn fresh(&self, who: &Caller, kind: FileKind, mode: u32, rdev: u32) -> Node {
        let t = now();
        let ino = self.next.fetch_add(1, Ordering::Relaxed);
        let attr = Attr {
            ino,
            size: 0,
            blocks: 0,
            atime: t,
            mtime: t,
            ctime: t,
            crtime: t,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: if kind == FileKind::Dir { 2 } else { 1 },
            uid: who.uid,
            gid: who.gid,
            rdev,
            blksize: 4096,
            lasting: Lasting::UntilInvalidated,
        };
        Node {
            attr,
            data: Vec::new(),
            entries: BTreeMap::new(),
            next_cookie: 2,
            lookups: 1,
            xattrs: BTreeMap::new(),
        }
    }

    fn make(&self, parent: Ino, name: &[u8], node: Node) -> Result<Attr> {
        let mut s = self.state.write();
        let attr = node.attr;
        s.attach(parent, name, attr.ino)?;
        s.nodes.insert(attr.ino, node);
        Ok(attr)
    }

    fn handle(&self, ino: Ino) -> u64 {
        let fh = self.next.fetch_add(1, Ordering::Relaxed);
        self.state.write().handles.insert(fh, ino);
        fh
    }

    fn write_allowed(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(ViewError::ShuttingDown);
        }
        Ok(())
    }

    pub fn lookup(&self, _: &Caller, parent: Ino, name: &[u8]) -> Result<Attr> {
        if name == b"panic!" {
            panic!("the stand-in was asked to panic");
        }
        if name == b"sleep5" {
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        let mut s = self.state.write();
        let ino = s.child(parent, name)?;
        let n = s.node_mut(ino)?;
        n.lookups += 1;
        Ok(n.attr)
    }

    pub fn forget(&self, ino: Ino, n: u64) {
        let mut s = self.state.write();
        if let Ok(node) = s.node_mut(ino) {
            node.lookups = node.lookups.saturating_sub(n);
        }
        s.reap(ino);
    }

    pub fn getattr(&self, ino: Ino, _fh: Option<u64>) -> Result<Attr> {
        Ok(self.state.read().node(ino)?.attr)
    }

    pub fn setattr(&self, _: &Caller, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let mut s = self.state.write();
        let n = s.node_mut(ino)?;
        let t = now();
        let time = |t2: SetTime| match t2 {
            SetTime::Now => t,
            SetTime::At(t) => t,
        };
        if let Some(m) = set.mode {
            n.attr.perm = (m & 0o7777) as u16;
        }
        n.attr.uid = set.uid.unwrap_or(n.attr.uid);
        n.attr.gid = set.gid.unwrap_or(n.attr.gid);
        if let Some(size) = set.size {
            n.data.resize(size as usize, 0);
            n.attr.size = size;
            n.attr.mtime = t;
        }
        n.attr.atime = set.atime.map_or(n.attr.atime, time);
        n.attr.mtime = set.mtime.map_or(n.attr.mtime, time);
        n.attr.ctime = t;
        Ok(n.attr)
    }

    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        Ok(self.state.read().node(ino)?.data.clone())
    }

    pub fn mknod(
        &self,
        who: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> Result<Attr> {
        self.write_allowed()?;
        let kind = match mode & libc::S_IFMT {
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFCHR => FileKind::CharDev,
            libc::S_IFBLK => FileKind::BlockDev,
            _ => FileKind::File,
        };
        self.make(parent, name, self.fresh(who, kind, mode & !umask, rdev))
    }

    pub fn mkdir(
        &self,
        who: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        self.write_allowed()?;
        self.make(
            parent,
            name,
            self.fresh(who, FileKind::Dir, mode & !umask, 0),
        )
    }

    pub fn symlink(&self, who: &Caller, parent: Ino, name: &[u8], target: &[u8]) -> Result<Attr> {
        let mut n = self.fresh(who, FileKind::Symlink, 0o777, 0);
        n.data = target.to_vec();
        n.attr.size = target.len() as u64;
        self.make(parent, name, n)
    }

    pub fn link(&self, _: &Caller, ino: Ino, newparent: Ino, newname: &[u8]) -> Result<Attr> {
        let mut s = self.state.write();
        s.attach(newparent, newname, ino)?;
        let n = s.node_mut(ino)?;
        n.attr.nlink += 1;
        n.lookups += 1;
        Ok(n.attr)
    }

    pub fn unlink(&self, _: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let mut s = self.state.write();
        let ino = s.detach(parent, name)?;
        s.dropped(ino);
        Ok(())
    }

    pub fn rmdir(&self, _: &Caller, parent: Ino, name: &[u8]) -> Result<()> {
        let mut s = self.state.write();
        let ino = s.child(parent, name)?;
        if !s.node(ino)?.entries.is_empty() {
            return Err(ViewError::NotEmpty {
                parent,
                name: name.into(),
            });
        }
        s.detach(parent, name)?;
        s.dropped(ino);
        Ok(())
    }

    pub fn rename(
        &self,
        _: &Caller,
        parent: Ino,
        name: &[u8],
        newparent: Ino,
        newname: &[u8],
        flags: u32,
    ) -> Result<()> {
        let mut s = self.state.write();
        s.child(parent, name)?;
        let old = s.child(newparent, newname).ok();
        if flags & libc::RENAME_NOREPLACE != 0 && old.is_some() {
            return Err(ViewError::exists(newparent, newname));
        }
        let ino = s.detach(parent, name)?;
        if let Some(old) = old {
            s.detach(newparent, newname)?;
            if flags & libc::RENAME_EXCHANGE != 0 {
                s.attach(parent, name, old)?;
            } else {
                s.dropped(old);
            }
        }
        s.attach(newparent, newname, ino)
    }

    fn opened(&self, ino: Ino, flags: i32) -> Opened {
        Opened {
            fh: self.handle(ino),
            direct_io: false,
            keep_cache: true,
            no_flush: flags & libc::O_ACCMODE == libc::O_RDONLY,
        }
    }

    pub fn create(
        &self,
        who: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Attr, Opened)> {
        self.write_allowed()?;
        let attr = self.make(
            parent,
            name,
            self.fresh(who, FileKind::File, mode & !umask, 0),
        )?;
        Ok((attr, self.opened(attr.ino, flags)))
    }

    pub fn open(&self, _: &Caller, ino: Ino, flags: i32) -> Result<Opened> {
        if flags & libc::O_TRUNC != 0 {
            let mut s = self.state.write();
            let n = s.node_mut(ino)?;
            n.data.clear();
            n.attr.size = 0;
            n.attr.mtime = now();
        }
        Ok(self.opened(ino, flags))
    }

    pub fn read(&self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        let s = self.state.read();
        let n = s.node(s.handle(fh)?)?;
        let start = (offset as usize).min(n.data.len());
        let end = (start + size as usize).min(n.data.len());
        Ok(n.data[start..end].to_vec())
    }

    pub fn write(
        &self,
        _: &Caller,
        fh: u64,
        offset: u64,
        data: &[u8],
        kill_priv: bool,
    ) -> Result<u32> {
        self.write_allowed()?;
        let mut s = self.state.write();
        let ino = s.handle(fh)?;
        let n = s.node_mut(ino)?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        if n.data.len() < end {
            n.data.resize(end, 0);
        }
        n.data[start..end].copy_from_slice(data);
        n.attr.size = n.data.len() as u64;
        n.attr.blocks = n.attr.size.div_ceil(512);
        n.attr.mtime = now();
        n.attr.ctime = n.attr.mtime;
        if kill_priv {
            n.attr.perm &= !0o6000;
        }
        Ok(data.len() as u32)
    }

    pub fn flush(&self, fh: u64) -> Result<()> {
        self.state.read().handle(fh).map(|_| ())
    }

    pub fn release(&self, fh: u64) -> Result<()> {
        self.state.write().handles.remove(&fh);
        Ok(())
    }

    pub fn fsync(&self, fh: u64, _datasync: bool) -> Result<()> {
        self.state.read().handle(fh).map(|_| ())
    }

    pub fn opendir(&self, _: &Caller, ino: Ino) -> Result<u64> {
        self.state.read().node(ino)?;
        Ok(self.handle(ino))
    }

    pub fn readdir(
        &self,
        fh: u64,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        let mut s = self.state.write();
        let ino = s.handle(fh)?;
        for (n, name) in [(1, &b"."[..]), (2, b"..")] {
            let item = DirItem {
                ino,
                offset: n,
                kind: FileKind::Dir,
                name,
                attr: None,
            };
            if offset < n && emit(&item) {
                return Ok(());
            }
        }
        let mut items: Vec<_> = s
            .node(ino)?
            .entries
            .iter()
            .map(|(k, v)| (v.1, v.0, k.clone()))
            .filter(|i| i.0 > offset)
            .collect();
        items.sort_unstable();
        for (cookie, ino, name) in items {
            let Ok(n) = s.node_mut(ino) else { continue };
            let item = DirItem {
                ino,
                offset: cookie,
                kind: n.attr.kind,
                name: &name,
                attr: plus.then_some(&n.attr),
            };
            if emit(&item) {
                break;
            }
            n.lookups += u64::from(plus);
        }
        Ok(())
    }

    pub fn releasedir(&self, fh: u64) -> Result<()> {
        self.release(fh)
    }

    pub fn fsyncdir(&self, fh: u64, datasync: bool) -> Result<()> {
        self.fsync(fh, datasync)
    }

    pub fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            blocks: 1 << 30,
            bfree: 1 << 29,
            bavail: 1 << 29,
            files: 1 << 20,
            ffree: 1 << 20,
            bsize: 4096,
            namelen: 255,
            frsize: 4096,
        })
    }

    pub fn setxattr(
        &self,
        _: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        _flags: i32,
        _position: u32,
    ) -> Result<()> {
        let mut s = self.state.write();
        s.node_mut(ino)?
            .xattrs
            .insert(name.to_vec(), value.to_vec());
        // "user.api.NAME" on the root writes file NAME as an API caller would: no kernel request
        // is behind the change, so the kernel must be told.
        if let (ROOT, Some(file)) = (ino, name.strip_prefix(b"user.api.")) {
            let mut n = self.fresh(
                &Caller {
                    uid: 0,
                    gid: 0,
                    pid: 0,
                },
                FileKind::File,
                0o644,
                0,
            );
            n.lookups = 0;
            n.data = value.to_vec();
            n.attr.size = value.len() as u64;
            match s.child(ROOT, file) {
                Ok(ino) => {
                    let old = s.node_mut(ino)?;
                    old.data = n.data;
                    old.attr.size = n.attr.size;
                    if let Some(i) = &*self.invalidate.lock() {
                        i.inode(ino);
                    }
                }
                Err(_) => {
                    s.attach(ROOT, file, n.attr.ino)?;
                    s.nodes.insert(n.attr.ino, n);
                    if let Some(i) = &*self.invalidate.lock() {
                        i.entry(ROOT, file);
                    }
                }
            }
        }
        Ok(())
    }

    pub fn getxattr(&self, _: &Caller, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let s = self.state.read();
        s.node(ino)?
            .xattrs
            .get(name)
            .cloned()
            .ok_or(ViewError::NoAttribute {
                ino,
                name: name.into(),
            })
    }

    pub fn listxattr(&self, _: &Caller, ino: Ino) -> Result<Vec<u8>> {
        let s = self.state.read();
        Ok(s.node(ino)?
            .xattrs
            .keys()
            .flat_map(|k| k.iter().copied().chain([0]))
            .collect())
    }

    pub fn removexattr(&self, _: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        let mut s = self.state.write();
        s.node_mut(ino)?
            .xattrs
            .remove(name)
            .map(|_| ())
            .ok_or(ViewError::NoAttribute {
                ino,
                name: name.into(),
            })
    }

    pub fn fallocate(&self, _fh: u64, _offset: u64, _len: u64, _mode: i32) -> Result<()> {
        Err(ViewError::NotSupported {
            what: "fallocate".into(),
            why: "not in the stand-in".into(),
        })
    }

    pub fn lseek(&self, fh: u64, offset: i64, whence: i32) -> Result<u64> {
        let s = self.state.read();
        let ino = s.handle(fh)?;
        let size = s.node(ino)?.attr.size;
        if offset as u64 >= size {
            return Err(ViewError::NothingThere {
                ino,
                offset: offset as u64,
            });
        }
        Ok(if whence == libc::SEEK_HOLE {
            size
        } else {
            offset as u64
        })
    }

    pub fn copy_file_range(
        &self,
        who: &Caller,
        fh_in: u64,
        off_in: u64,
        fh_out: u64,
        off_out: u64,
        len: u64,
    ) -> Result<u64> {
        let data = self.read(fh_in, off_in, len.min(1 << 30) as u32)?;
        self.write(who, fh_out, off_out, &data, true).map(u64::from)
    }

    pub fn set_invalidator(&self, invalidate: Box<dyn Invalidate>) {
        *self.invalidate.lock() = Some(invalidate.into());
    }

    pub fn shutdown(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
