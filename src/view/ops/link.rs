//! Giving a file another name.

use std::sync::Arc;

use super::super::inode::{Inode, Place};
use super::super::types::{Attr, Caller, Ino};
use super::super::work::Work;
use super::super::{Result, View, ViewError};
use super::join;
use crate::tree::edit;
use crate::tree::{Attrs, Times};

impl View {
    /// Gives a file another name: a hard link. Counts a reference of the kernel.
    ///
    /// # Errors
    /// [`ViewError::NotPermitted`] for a directory; [`ViewError::Exists`]; [`ViewError::NotFound`] for
    /// a file that has lost its last name.
    pub fn link(&self, _caller: &Caller, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.writable()?;
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        loop {
            self.commit_work(&inode, &mut work)?;
            if work.orphan {
                return Err(ViewError::not_found(parent, name));
            }
            if self.try_link(&inode, &mut work, parent, name)? {
                break;
            }
        }
        // Counted with the name entered: the kernel has the inode itself, so it is there.
        self.table.refer(&inode);
        let found = self.current(&inode, &mut work)?;
        self.attr_of_work(&inode, &work, &found.entry, found.stamp)
    }

    /// Makes the link; false if the API has written there meanwhile.
    fn try_link(
        &self,
        inode: &Arc<Inode>,
        work: &mut Work,
        parent: Ino,
        name: &[u8],
    ) -> Result<bool> {
        let now = self.time();
        let attrs = self.transact(|tx| {
            let (dir_path, dir) = self.dir_in(tx, parent)?;
            let key = self.new_key(&dir_path, &dir, name)?;
            let to = join(&dir_path, &key);
            let place = Place {
                parent,
                key: key.clone(),
            };
            if Self::find(tx, &to)?.is_some() || self.table.is_pending(&place) {
                return Err(ViewError::exists(parent, name));
            }
            if inode.marked().is_some() {
                return Ok(None);
            }
            let ino = inode.ino;
            let from = self.path(ino)?;
            let Some(found) = Self::find(tx, &from)? else {
                return Ok(None);
            };
            if found.entry.is_dir() {
                return Err(ViewError::NotPermitted {
                    what: "link".into(),
                    why: "a directory has one name".into(),
                });
            }
            let attrs = Attrs {
                times: Some(Times {
                    ctime: now,
                    ..edit::times_of(&found.entry, found.stamp)
                }),
                stamp: Some(found.stamp),
                ino: Some(ino),
                ..found.entry.attrs()
            };
            let id = tx.link(&from, to, attrs.clone(), ino, now)?;
            let (table, moved) = (Arc::clone(&self.table), Arc::clone(inode));
            tx.require(move || {
                table.path(ino).as_deref() == Some(&from) && moved.marked().is_none()
            });
            let (table, moved) = (Arc::clone(&self.table), Arc::clone(inode));
            tx.on_commit(move || {
                moved.set_number(ino);
                table.adopt(&moved, id);
                table.enter_linked((parent, &key), id, ino, false);
            });
            Ok(Some(attrs))
        })?;
        if let (Some(attrs), Some(entry)) = (&attrs, &mut work.entry) {
            entry.set_attrs(attrs.clone());
        }
        Ok(attrs.is_some())
    }
}
