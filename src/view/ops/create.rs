//! Making files, directories and special files.

use std::sync::Arc;

use super::super::attr::ino_of;
use super::super::handles::FileHandle;
use super::super::inode::{Inode, derived_ino};
use super::super::render::TypeName;
use super::super::special;
use super::super::types::{Attr, Caller, FileKind, Ino, Opened};
use super::super::work::{State, Work};
use super::super::{Result, View, ViewError, xattrs};
use super::join;
use crate::tree::edit::Found;
use crate::tree::{Attrs, Content, Entry, Map, Node, Owner, Time, Times};
use crate::value::Key;

const S_IFMT: u32 = libc::S_IFMT;
const S_ISGID: u32 = 0o2000;

impl View {
    /// Creates a file and opens it. The name is committed with the first commit of the content.
    ///
    /// # Errors
    /// [`ViewError::Exists`] if the name is taken and `flags` say `O_EXCL`; those of
    /// [`View::open`] if it is taken and they do not.
    pub fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        flags: i32,
    ) -> Result<(Attr, Opened)> {
        self.writable()?;
        let since = self.store.writes();
        let (path, dir) = self.dir(parent)?;
        let key = self.new_key(&path, &dir, name)?;
        if let Some((inode, _)) = self.known_or_stored(parent, &path, &dir, &key, since)? {
            let opened = self.open_existing(caller, parent, name, flags);
            self.table.settled(&inode);
            return opened;
        }
        let birth = self.store.now();
        let mut attrs = self.new_attrs(caller, &dir, mode, umask, birth, false);
        attrs.declared = self.hints.take(parent, &key, self.store.pager());
        let entry = Entry::plain(Node::Text(Content::empty())).with_attrs(Attrs {
            bare: true,
            ..attrs
        });
        let ino = derived_ino(parent, &key, birth);
        let work = Work::created(entry.clone(), birth);
        let Some(inode) = self.table.create(parent, (&key, name), ino, work, birth) else {
            return self.open_existing(caller, parent, name, flags);
        };
        self.dirty.add(&inode);
        let attr = {
            let work = inode.work.lock();
            self.attr_of_work(&inode, &work, &entry, birth)?
        };
        let opened = self.new_handle(&inode, flags, true);
        Ok((attr, opened))
    }

    fn open_existing(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        flags: i32,
    ) -> Result<(Attr, Opened)> {
        if flags & libc::O_EXCL != 0 {
            return Err(ViewError::exists(parent, name));
        }
        let attr = self.lookup(caller, parent, name)?;
        match self.open(caller, attr.ino, flags) {
            Ok(opened) => Ok((self.getattr(attr.ino, Some(opened.fh))?, opened)),
            Err(e) => {
                self.forget(attr.ino, 1);
                Err(e)
            }
        }
    }

    /// A handle on an inode whose working copy is loaded.
    pub(super) fn new_handle(&self, inode: &Arc<Inode>, flags: i32, keep_cache: bool) -> Opened {
        use std::sync::atomic::Ordering;
        let access = flags & libc::O_ACCMODE;
        let write = access != libc::O_RDONLY;
        // The writer first: an API write that comes in between takes an open file without writers
        // from its name, and what is written then would be lost.
        if write {
            inode.writers.fetch_add(1, Ordering::AcqRel);
        }
        inode.handles.fetch_add(1, Ordering::AcqRel);
        let handle = FileHandle {
            inode: Arc::clone(inode),
            read: access != libc::O_WRONLY,
            write,
        };
        Opened {
            fh: self.handles.open(handle),
            direct_io: false,
            keep_cache,
            no_flush: !write,
        }
    }

    /// The attributes of a new entry.
    pub(super) fn new_attrs(
        &self,
        caller: &Caller,
        dir: &Found,
        mode: u32,
        umask: u32,
        birth: Time,
        directory: bool,
    ) -> Attrs {
        let parent = self.owner_of(&dir.entry);
        let inherits = parent.mode & S_ISGID != 0;
        let mut attrs = Attrs::default();
        let default = dir
            .entry
            .attrs
            .as_deref()
            .and_then(|d| xattrs::inherit(d, &mut attrs, mode & 0o7777, directory));
        let mut mode = default.unwrap_or(mode & 0o7777 & !umask);
        if inherits && directory {
            mode |= S_ISGID;
        }
        let gid = if inherits { parent.gid } else { caller.gid };
        Attrs {
            owner: Some(Owner {
                mode,
                uid: caller.uid,
                gid,
            }),
            times: Some(Times {
                mtime: birth,
                ctime: birth,
                crtime: birth,
            }),
            ..attrs
        }
    }

    /// Makes a file, pipe, socket or device without opening it.
    ///
    /// # Errors
    /// [`ViewError::Exists`]; [`ViewError::NotSupported`] for another type.
    pub fn mknod(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    ) -> Result<Attr> {
        let node = match mode & S_IFMT {
            libc::S_IFREG | 0 => Node::Text(Content::empty()),
            libc::S_IFIFO => special_node(FileKind::Fifo, 0)?,
            libc::S_IFSOCK => special_node(FileKind::Socket, 0)?,
            libc::S_IFCHR => special_node(FileKind::CharDev, rdev)?,
            libc::S_IFBLK => special_node(FileKind::BlockDev, rdev)?,
            _ => return Err(ViewError::invalid("mode", "no such file type")),
        };
        self.make(caller, parent, name, node, mode, umask)
    }

    /// Makes a directory: an empty map.
    ///
    /// # Errors
    /// [`ViewError::Exists`].
    pub fn mkdir(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        self.make(caller, parent, name, Node::Map(Map::new()), mode, umask)
    }

    /// Makes an entry and counts a reference of the kernel.
    pub(super) fn make(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        node: Node,
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        self.writable()?;
        let birth = self.store.now();
        let (key, entry) = self.transact(|tx| {
            let (path, dir) = self.dir_in(tx, parent)?;
            let key = self.new_key(&path, &dir, name)?;
            let place = join(&path, &key);
            if Self::find(tx, &place)?.is_some() || self.is_pending(parent, &key)? {
                return Err(ViewError::exists(parent, name));
            }
            let directory = matches!(node, Node::Map(_));
            let mut attrs = self.new_attrs(caller, &dir, mode, umask, birth, directory);
            attrs.bare = matches!(node, Node::Text(_));
            if special::kind(&node).0 == FileKind::File {
                attrs.declared = self.hints.take(parent, &key, self.store.pager());
            }
            let entry = Entry::plain(node.clone()).with_attrs(attrs);
            tx.put(place, entry.clone(), Some(birth))?;
            Ok((key, entry))
        })?;
        let inode = self
            .table
            .enter(parent, &key, ino_of(&entry, parent, &key, birth), true);
        self.attr(inode.ino, &entry, birth)
    }

    /// Whether a name was created and is not committed yet.
    pub(super) fn is_pending(&self, parent: Ino, key: &Key) -> Result<bool> {
        let known = self.at(parent, key)?;
        Ok(known.is_some_and(|inode| inode.work.lock().pending))
    }
}

fn special_node(kind: FileKind, rdev: u32) -> Result<Node> {
    special::node(kind, rdev).ok_or_else(|| ViewError::invalid("mode", "no such file type"))
}

/// Whether a declared type can be that of a file.
pub(super) fn file_type(name: &str) -> Option<TypeName> {
    name.parse::<TypeName>().ok().filter(|t| !t.is_directory())
}

/// Whether a working copy has something to commit.
pub(super) fn is_dirty(work: &Work) -> bool {
    work.state != State::Clean || work.mtime.is_some()
}
