//! Listing directories.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::directory::{DOT, DOT_DOT};
use super::super::handles::DirHandle;
use super::super::inode::Inode;
use super::super::names::name_of;
use super::super::special;
use super::super::types::{Caller, DirItem, FileKind, Ino, ROOT};
use super::super::{Result, View, ViewError};
use super::context;
use super::lookup::Since;
use crate::store::Store;
use crate::tree::edit::Found;
use crate::value::Key;

/// Entries read from the store at a time.
const BATCH: usize = 256;

/// An entry of a listing.
struct Child {
    key: Key,
    entry: Option<Found>,
    pending: Option<Arc<Inode>>,
}

impl View {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`ViewError::NotDirectory`]; [`ViewError::Stale`].
    pub fn opendir(&self, _caller: &Caller, ino: Ino) -> Result<u64> {
        let inode = self.inode(ino)?;
        if inode.work.lock().entry.is_none() {
            self.dir(ino)?;
        }
        inode.handles.fetch_add(1, Ordering::AcqRel);
        Ok(self.handles.open_dir(DirHandle {
            inode,
            cursor: parking_lot::Mutex::default(),
        }))
    }

    /// Closes a directory.
    ///
    /// # Errors
    /// [`ViewError::BadHandle`].
    pub fn releasedir(&self, fh: u64) -> Result<()> {
        let handle = self.handles.close_dir(fh).ok_or(ViewError::BadHandle {
            fh,
            operation: "releasing",
        })?;
        self.table.closed(&handle.inode);
        Ok(())
    }

    /// Gives the items of a directory from an offset on to `emit` until it is full. With `plus` each
    /// item but `.` and `..` comes with attributes and counts a reference of the kernel.
    ///
    /// # Errors
    /// [`ViewError::BadHandle`]; damage; a failure of the store.
    pub fn readdir(
        &self,
        fh: u64,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        let handle = self.handles.dir(fh, "listing")?;
        let ino = handle.inode.ino;
        let mut cursor = handle.cursor.lock();
        if offset == 0 {
            cursor.rewind();
        }
        if self.dots(&handle.inode, offset, emit) {
            return Ok(());
        }
        let since = self.store.writes();
        // A directory that was removed while it is open lists nothing more.
        let (path, dir) = match self.dir(ino) {
            Err(ViewError::Stale { .. }) => return Ok(()),
            other => other?,
        };
        let (mut after, mut skip) = cursor.resume(offset.max(DOT_DOT));
        let mut at = offset.max(DOT_DOT) - skip;
        loop {
            let batch = self.batch(ino, &path, &dir, after.as_ref())?;
            if batch.is_empty() {
                return Ok(());
            }
            for child in batch {
                at += 1;
                let key = child.key.clone();
                if skip > 0 {
                    skip -= 1;
                } else if self.emit(ino, &path, (&dir, since), child, at, plus, emit)? {
                    return Ok(());
                }
                cursor.given(at, &key);
                after = Some(key);
            }
        }
    }

    fn dots(&self, inode: &Inode, offset: u64, emit: &mut dyn FnMut(&DirItem<'_>) -> bool) -> bool {
        let parent = inode.place().map_or(ROOT, |p| p.parent);
        [(DOT, &b"."[..], inode.ino), (DOT_DOT, &b".."[..], parent)]
            .into_iter()
            .any(|(at, name, ino)| {
                at > offset
                    && emit(&DirItem {
                        ino,
                        offset: at,
                        kind: FileKind::Dir,
                        name,
                        attr: None,
                    })
            })
    }

    /// The next children, committed or not, in the order of the listing.
    fn batch(
        &self,
        ino: Ino,
        path: &[Key],
        dir: &Found,
        after: Option<&Key>,
    ) -> Result<Vec<Child>> {
        let order = |key: &Key| {
            if path.is_empty() {
                Store::listing_order(key)
            } else {
                key.bytes().to_vec()
            }
        };
        let stored = self.followed_after(path, dir, after, BATCH)?;
        let from = after.map(order);
        let to = if stored.len() < BATCH {
            None
        } else {
            stored.last().map(|(k, _)| order(k))
        };
        let mut batch: Vec<Child> = stored
            .into_iter()
            .map(|(key, found)| Child {
                key,
                entry: found,
                pending: None,
            })
            .collect();
        let pending = self.table.pending(ino);
        if !pending.is_empty() {
            for (key, inode) in pending {
                let at = order(&key);
                let due =
                    from.as_ref().is_none_or(|f| at > *f) && to.as_ref().is_none_or(|t| at <= *t);
                if due && !batch.iter().any(|c| c.key == key) {
                    batch.push(Child {
                        key,
                        entry: None,
                        pending: Some(inode),
                    });
                }
            }
            batch.sort_by_cached_key(|c| order(&c.key));
        }
        Ok(batch)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one item of one listing"
    )]
    fn emit(
        &self,
        parent: Ino,
        path: &[Key],
        (dir, since): (&Found, u64),
        child: Child,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<bool> {
        let name = name_of(&child.key, context(path, &dir.entry));
        if plus {
            let known = match &child.entry {
                Some(found) if found.link.is_none() && self.at(parent, &child.key)?.is_none() => {
                    let number = self.number_at(parent, &child.key, found);
                    Some((None, self.attr(number, &found.entry, found.stamp)?))
                }
                _ => self
                    .known_or_stored(parent, path, dir, &child.key, since)?
                    .map(|(inode, attr)| (Some(inode), attr)),
            };
            let Some((known, mut attr)) = known else {
                return Ok(false);
            };
            // The reference is counted before the kernel can know of it, and taken back if it does not.
            let inode = match (known.filter(|known| self.table.refer(known)), &child.entry) {
                (Some(inode), _) => inode,
                (None, Some(found)) if found.link.is_some() => {
                    self.enter(parent, &child.key, found, true)
                }
                (None, _) => {
                    let inode = self.table.enter(parent, &child.key, attr.ino, true);
                    match self.written_since(&inode, since) {
                        Ok(Since::Now(now)) => attr = now,
                        Ok(Since::Nothing) => {}
                        // The kernel asks for it when it is wanted.
                        Ok(Since::Lost) => {
                            self.table.forget(inode.ino, 1);
                            let (ino, kind, name, attr) = (attr.ino, attr.kind, &*name, None);
                            return Ok(emit(&DirItem {
                                ino,
                                offset,
                                kind,
                                name,
                                attr,
                            }));
                        }
                        Err(e) => {
                            self.table.forget(inode.ino, 1);
                            return Err(e);
                        }
                    }
                    inode
                }
            };
            attr.ino = inode.ino;
            let item = DirItem {
                ino: inode.ino,
                offset,
                kind: attr.kind,
                name: &name,
                attr: Some(&attr),
            };
            let full = emit(&item);
            if full {
                self.table.forget(inode.ino, 1);
            }
            return Ok(full);
        }
        let (ino, kind) = match (&child.entry, &child.pending) {
            (Some(found), _) => {
                self.at(parent, &child.key)?;
                (
                    self.number_at(parent, &child.key, found),
                    special::kind(&found.entry.node).0,
                )
            }
            (None, Some(inode)) => (inode.ino, FileKind::File),
            (None, None) => return Ok(false),
        };
        Ok(emit(&DirItem {
            ino,
            offset,
            kind,
            name: &name,
            attr: None,
        }))
    }
}
