//! An entry as `stat(2)` shows it.

use super::inode::{Inode, derived_ino};
use super::render;
use super::special;
use super::types::{Attr, FileKind, Ino, Lasting, ROOT, Time};
use super::work::Work;
use super::{Result, View, failure};
use crate::tree::edit::{self, Found, times_of};
use crate::tree::{
    Content, Entry, Node, Owner, Pager, Times, TreeError, convert, root_dirs, root_key,
};
use crate::value::Key;

/// Bytes of a good I/O request.
const BLOCK: u32 = 128 * 1024;
/// What a directory says its size is.
const DIRECTORY_SIZE: u64 = 4096;

/// The number of an entry, given the stamp that holds for it.
pub fn ino_of(entry: &Entry, parent: Ino, key: &Key, stamp: Time) -> Ino {
    let stored = entry.attrs.as_ref().and_then(|a| a.ino);
    stored.unwrap_or_else(|| derived_ino(parent, key, times_of(entry, stamp).crtime))
}

/// Bytes of a file, exactly those that reading gives.
fn size_of(entry: &Entry, pager: &Pager) -> Result<u64, TreeError> {
    let attrs = entry.attrs.as_deref();
    if let Some(target) = special::target(&entry.node) {
        return Ok(target.len() as u64);
    }
    Ok(match &entry.node {
        Node::Text(c) => c.len() + u64::from(!attrs.is_some_and(|a| a.bare)),
        Node::Bytes(c) => c.len(),
        Node::Map(_) | Node::Vector(_) => DIRECTORY_SIZE,
        Node::Scalar(_) if special::kind(&entry.node).0 != FileKind::File => 0,
        Node::Scalar(_) | Node::ScalarPage(_) => match attrs.and_then(|a| a.literal.as_ref()) {
            Some(literal) => literal.len() as u64,
            None => {
                render::render(&convert::to_value(&entry.node, pager)?, true, None).len() as u64
            }
        },
        Node::Ref(_) => 0,
    })
}

fn blocks_of(entry: &Entry, size: u64) -> u64 {
    match &entry.node {
        Node::Text(Content::Chunked(c)) | Node::Bytes(Content::Chunked(c)) => {
            let held = c.chunks.len() * (crate::tree::CHUNK as u64 / 512);
            held.min(size.div_ceil(512))
        }
        _ => size.div_ceil(512),
    }
}

impl View {
    /// Mode, owner and group of an entry, with the defaults of the mount.
    pub(super) fn owner_of(&self, entry: &Entry) -> Owner {
        let own = entry.attrs.as_ref().and_then(|a| a.owner);
        own.unwrap_or_else(|| Owner {
            mode: match special::kind(&entry.node).0 {
                FileKind::Dir => self.options.dir_mode,
                FileKind::Symlink => 0o777,
                _ => self.options.file_mode,
            },
            uid: self.options.uid,
            gid: self.options.gid,
        })
    }

    /// When the last name that is not committed was created in a directory, if nothing else has
    /// happened to it since.
    fn created_since(&self, dir: Ino, times: &Times) -> Option<Time> {
        let created = self.table.pending_time(dir)?;
        (created > times.ctime).then_some(created)
    }

    /// Moves the times of a directory for the names that are not committed: something else is about
    /// to move its ctime.
    pub(super) fn settle_times(&self, dir: Ino, found: &mut Found) {
        let times = times_of(&found.entry, found.stamp);
        if found.entry.is_dir()
            && let Some(created) = self.created_since(dir, &times)
        {
            edit::touch(&mut found.entry, found.stamp, created);
        }
    }

    fn root_dirs(&self) -> Result<u64> {
        let root = self.store.doc(&root_key())?;
        Ok(root.map_or(0, |doc| root_dirs(&doc.entry)))
    }

    /// The attributes of a committed entry.
    pub(super) fn attr(&self, ino: Ino, entry: &Entry, stamp: Time) -> Result<Attr> {
        let (kind, rdev) = special::kind(&entry.node);
        let size = size_of(entry, self.store.pager()).map_err(failure::in_inode(ino))?;
        let owner = self.owner_of(entry);
        let mut times = times_of(entry, stamp);
        let mut nlink = 1;
        if ino == ROOT {
            times.crtime = self.store.created();
        }
        if let (FileKind::Dir, Some(children)) = (kind, entry.children()) {
            let dirs = if ino == ROOT {
                self.root_dirs()?
            } else {
                children.dirs()
            };
            nlink = u32::try_from(dirs.saturating_add(2)).unwrap_or(u32::MAX);
            if let Some(created) = self.created_since(ino, &times) {
                times.mtime = created;
                times.ctime = created;
            }
        }
        Ok(Attr {
            ino,
            size,
            blocks: if kind == FileKind::Dir {
                8
            } else {
                blocks_of(entry, size)
            },
            atime: entry
                .attrs
                .as_ref()
                .and_then(|a| a.atime)
                .unwrap_or(times.mtime),
            mtime: times.mtime,
            ctime: times.ctime,
            crtime: times.crtime,
            kind,
            perm: u16::try_from(owner.mode & 0o7777).unwrap_or(0),
            nlink,
            uid: owner.uid,
            gid: owner.gid,
            rdev,
            blksize: BLOCK,
            lasting: Lasting::UntilInvalidated,
        })
    }

    /// The attributes of a working copy over the entry that it started from.
    pub(super) fn attr_of_work(
        &self,
        inode: &Inode,
        work: &Work,
        entry: &Entry,
        stamp: Time,
    ) -> Result<Attr> {
        let mut attr = self.attr(inode.ino, entry, stamp)?;
        if let Some(buffer) = &work.buffer {
            attr.size = buffer.len();
            attr.blocks = buffer.blocks();
        }
        if let Some(mtime) = work.mtime {
            attr.mtime = mtime;
            attr.ctime = attr.ctime.max(mtime);
            if entry.attrs.as_ref().is_none_or(|a| a.atime.is_none()) {
                attr.atime = mtime;
            }
        }
        if work.orphan {
            attr.nlink = 0;
        } else if let Some(id) = inode.link() {
            let link = self.store.linked(id)?.and_then(|found| found.link);
            attr.nlink = link.map_or(0, |link| u32::try_from(link.names).unwrap_or(u32::MAX));
        }
        if work.kill {
            let mut attrs = entry.attrs();
            super::work::clear_setid(&mut attrs);
            if let Some(owner) = attrs.owner {
                attr.perm = u16::try_from(owner.mode & 0o7777).unwrap_or(0);
            }
        }
        Ok(attr)
    }
}
