//! What the view and its callers speak in: inodes, attributes, callers, directory items.

pub use crate::tree::Time;
use crate::value::KeyPath;

/// The number of a file or directory, both for the kernel and in `st_ino`. The root is [`ROOT`].
pub type Ino = u64;

/// The root directory.
pub const ROOT: Ino = 1;

/// Who asks for an operation. Permissions are checked by the kernel; the view uses the caller for
/// ownership of new entries and for what only root may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The user's effective group; the kernel does not tell the others.
    pub gid: u32,
    /// The process, 0 if it is the kernel itself.
    pub pid: u32,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
    /// A character device.
    CharDev,
    /// A block device.
    BlockDev,
}

/// For how long an answer stays true by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lasting {
    /// Until the view says otherwise through [`Invalidate`].
    #[default]
    UntilInvalidated,
    /// Not at all: the next caller must ask again (control files, whose content is made on demand).
    Momentary,
}

/// The attributes of a file or directory, as `stat(2)` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// Bytes.
    pub size: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Last access, as far as it is kept.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// Creation.
    pub crtime: Time,
    /// File, directory, …
    pub kind: FileKind,
    /// Permission bits, `0o7777`.
    pub perm: u16,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device node stands for.
    pub rdev: u32,
    /// Size of a good I/O request in bytes.
    pub blksize: u32,
    /// Whether these attributes, and the name they were found under, may be kept by the kernel.
    pub lasting: Lasting,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The view's clock.
    Now,
    /// This time.
    At(Time),
}

/// What one `setattr` changes: everything that is not `None`, in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits; bits of the file type are ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncate or extend to so many bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
    /// The handle through which it is done (`ftruncate`, `futimens`), if there is one.
    pub fh: Option<u64>,
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The handle for reading, writing and so on.
    pub fh: u64,
    /// Every read and write comes to the view: no page cache, and the size is not trusted.
    pub direct_io: bool,
    /// Pages that the kernel still has are those of the present content.
    pub keep_cache: bool,
    /// `close(2)` need not wait for a flush (a handle that cannot write).
    pub no_flush: bool,
}

/// The size of the filesystem as `statvfs(3)` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks of `frsize` bytes in all.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for ordinary users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Bytes of a good I/O request.
    pub bsize: u32,
    /// Longest possible name in bytes.
    pub namelen: u32,
    /// Bytes per block.
    pub frsize: u32,
}

/// One item of a directory listing.
#[derive(Clone, Copy, Debug)]
pub struct DirItem<'a> {
    /// Its number.
    pub ino: Ino,
    /// Where a listing that ends with this item goes on.
    pub offset: u64,
    /// File, directory, …
    pub kind: FileKind,
    /// Its name, at most 255 bytes.
    pub name: &'a [u8],
    /// Its attributes, in a listing with attributes; `None` for `.` and `..`, which are not
    /// counted as kernel references.
    pub attr: Option<&'a Attr>,
}

/// How the view tells the kernel that what it keeps is no longer true.
///
/// Called while the change is already visible. An implementation returns at once, but for
/// [`Invalidate::catch_up`], and never calls back into the view.
pub trait Invalidate: Send + Sync {
    /// The attributes, content, target or listing of an inode changed.
    fn inode(&self, ino: Ino);
    /// A name appeared, went away or stands for another inode.
    fn entry(&self, parent: Ino, name: &[u8]);
    /// Something was written at a path through the API; `known` if the kernel knew something there.
    /// For those who watch files.
    fn written(&self, _path: KeyPath, _known: bool) {}
    /// Whether the kernel has still to be told of a change of an inode.
    fn is_behind(&self, _ino: Ino) -> bool {
        false
    }
    /// Waits, not for long, until the kernel has been told all of it. Only for operations during
    /// which the kernel holds nothing that it needs for that: those beside the files of the view.
    fn catch_up(&self) {}
}
