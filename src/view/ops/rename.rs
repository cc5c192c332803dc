//! Renaming: one atomic step, also across documents, with types that stay with their names.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::super::buffer::Buffer;
use super::super::inode::{Inode, Place};
use super::super::render::TypeName;
use super::super::types::{Caller, Ino};
use super::super::typing::TypingError;
use super::super::work::Work;
use super::super::{Result, View, ViewError, failure, hints, typing};
use super::remove::is_last;
use super::{is_file, join};
use crate::store::{ApiOp, Tx};
use crate::tree::edit::{self, Found};
use crate::tree::{Attrs, Entry, Node, Op, Time, Times, links};
use crate::value::{Key, KeyPath};

/// `RENAME_NOREPLACE` and `RENAME_EXCHANGE` of renameat2(2).
const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;

/// One side of a rename.
struct Side {
    parent: Ino,
    key: Key,
    inode: Option<Arc<Inode>>,
}

impl Side {
    fn place(&self) -> Place {
        Place {
            parent: self.parent,
            key: self.key.clone(),
        }
    }
}

impl View {
    /// Renames, replacing what has the new name, or exchanging the two.
    ///
    /// # Errors
    /// [`ViewError::Invalid`] for flags other than `RENAME_NOREPLACE` and `RENAME_EXCHANGE`, and for
    /// a directory that would come to stand below itself; [`ViewError::NotFound`];
    /// [`ViewError::Exists`]; [`ViewError::NotEmpty`]; [`ViewError::IsDirectory`];
    /// [`ViewError::NotDirectory`]; with strict types [`ViewError::Invalid`] if the content is not of
    /// the type of what it replaces.
    pub fn rename(
        &self,
        _caller: &Caller,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.writable()?;
        if flags & !(NOREPLACE | EXCHANGE) != 0 || flags == NOREPLACE | EXCHANGE {
            return Err(ViewError::invalid(
                "rename",
                "only RENAME_NOREPLACE or RENAME_EXCHANGE is possible",
            ));
        }
        loop {
            let from = self.side(parent, name, false)?;
            let to = self.side(new_parent, new_name, flags != EXCHANGE)?;
            if from.parent == to.parent && from.key == to.key {
                return Ok(());
            }
            let (mut from_work, mut to_work) = lock_both(from.inode.as_ref(), to.inode.as_ref());
            let mut lost = false;
            let sides = [
                (&from, &mut from_work, false),
                (&to, &mut to_work, flags != EXCHANGE),
            ];
            for (side, work, replaces) in sides {
                if let (Some(inode), Some(work)) = (&side.inode, work) {
                    match self.commit_work(inode, work) {
                        // What is about to be replaced need not be fit to be kept.
                        Err(e) if e.is_refusal() && replaces && !work.pending => {}
                        done => done?,
                    }
                    lost |= work.orphan || !inode.is_at(side.parent, &side.key);
                }
            }
            // The API has just replaced one of them: look again.
            if !lost {
                let missing = || ViewError::not_found(parent, name);
                let (from_work, to_work) = (from_work.as_deref_mut(), to_work.as_deref_mut());
                if flags == EXCHANGE {
                    return self.exchange((&from, from_work), (&to, to_work), &missing);
                }
                let to = (&to, new_name, to_work);
                return self.replace((&from, from_work), to, flags, &missing);
            }
        }
    }

    fn replace(
        &self,
        (from, from_work): (&Side, Option<&mut Work>),
        (to, new_name, to_work): (&Side, &[u8], Option<&mut Work>),
        flags: u32,
        missing: &dyn Fn() -> ViewError,
    ) -> Result<()> {
        let now = self.time();
        let done = self.transact(|tx| {
            tx.called(ApiOp::Rename);
            let (from_dir, _) = self.dir_in(tx, from.parent)?;
            let (to_dir, _) = self.dir_in(tx, to.parent)?;
            let (source, target) = (join(&from_dir, &from.key), join(&to_dir, &to.key));
            if to_dir.starts_with(&source) {
                return Err(ViewError::invalid(
                    "rename",
                    "a directory cannot be moved below itself",
                ));
            }
            let found = self.find_to_move(tx, &source, from)?.ok_or_else(missing)?;
            let there = Self::find(tx, &target)?;
            if let Some(there) = &there {
                self.may_replace(&found, there, to, new_name, flags)?;
                if is_one(&found, there) {
                    // Two names of one file: both stay.
                    return Ok(None);
                }
            }
            let ino = self.number(from, &found);
            let moved = self.moved(&found, there.as_ref(), to, ino, now)?;
            place(tx, source, target, moved.clone(), &found, now)?;
            let (table, a, b) = (Arc::clone(&self.table), from.place(), to.place());
            if let Some(gone) = &to.inode {
                let (table, gone) = (Arc::clone(&self.table), Arc::clone(gone));
                tx.require(move || table.pending_time(gone.ino).is_none());
            }
            let (known, last) = (to.inode.clone(), there.as_ref().is_none_or(is_last));
            tx.on_commit(move || {
                table.remove(b.parent, &b.key, known.as_ref(), last);
                table.rename(&a, &b, ino);
            });
            Ok(Some((found.entry, moved, there)))
        })?;
        let Some((found, moved, replaced)) = done else {
            return Ok(());
        };
        // As it was: what it inherits under the new name is not the old one's.
        self.leave_hint(from.parent, &from.key, &found);
        self.hints.clear(to.parent, &to.key);
        if let (Some(inode), Some(work), Some(there)) = (&to.inode, to_work, replaced) {
            self.unnamed(inode, work, there, now);
        }
        self.reload(from, from_work, moved)
    }

    fn side(&self, parent: Ino, name: &[u8], new: bool) -> Result<Side> {
        let (path, dir) = self.dir(parent)?;
        let key = if new {
            self.new_key(&path, &dir, name)?
        } else {
            self.key(parent, &path, &dir, name)?
                .ok_or_else(|| ViewError::not_found(parent, name))?
        };
        let inode = self.at(parent, &key)?;
        Ok(Side { parent, key, inode })
    }

    /// What is about to be moved from a path.
    fn find_to_move(&self, tx: &mut Tx<'_>, path: &[Key], side: &Side) -> Result<Option<Found>> {
        let mut found = Self::find(tx, path)?;
        if let (Some(found), Some(inode)) = (&mut found, &side.inode) {
            self.settle_times(inode.ino, found);
        }
        Ok(found)
    }

    fn may_replace(
        &self,
        found: &Found,
        there: &Found,
        to: &Side,
        name: &[u8],
        flags: u32,
    ) -> Result<()> {
        if flags == NOREPLACE {
            return Err(ViewError::exists(to.parent, name));
        }
        match (found.entry.is_dir(), there.entry.children()) {
            (true, None) => Err(ViewError::NotDirectory { ino: to.parent }),
            (false, Some(_)) => Err(ViewError::IsDirectory { ino: to.parent }),
            (true, Some(children)) => {
                let pending = to
                    .inode
                    .as_ref()
                    .is_some_and(|i| self.table.pending_time(i.ino).is_some());
                if !children.is_empty() || pending {
                    return Err(ViewError::NotEmpty {
                        parent: to.parent,
                        name: name.into(),
                    });
                }
                Ok(())
            }
            (false, None) => Ok(()),
        }
    }

    /// The number of what is moved, which stays.
    fn number(&self, side: &Side, found: &Found) -> Ino {
        match &side.inode {
            Some(inode) => inode.ino,
            // Another number if an open file that the API replaced still has this one.
            None => self.number_at(side.parent, &side.key, found),
        }
    }

    /// The entry as it is after the move: its number and times stay, and the type of what it
    /// replaces, or of what has just been moved away from there, unless it has one of its own.
    fn moved(
        &self,
        found: &Found,
        there: Option<&Found>,
        to: &Side,
        ino: Ino,
        now: Time,
    ) -> Result<Entry> {
        let mut entry = found.entry.clone();
        entry.set_attrs(moved_attrs(found, ino, now));
        if !is_file(&found.entry) || there.is_some_and(|there| !is_file(&there.entry)) {
            return Ok(entry);
        }
        let pager = self.store.pager();
        let fail = failure::in_inode(ino);
        if typing::declared(&found.entry, pager)
            .map_err(&fail)?
            .is_some()
        {
            return Ok(entry);
        }
        let wanted = match there {
            Some(there) => typing::declared(&there.entry, pager).map_err(&fail)?,
            None => self.freed_type(found, to, now),
        };
        let Some(wanted) = wanted else {
            return Ok(entry);
        };
        let (content, newline) = typing::file_bytes(&found.entry, pager).map_err(&fail)?;
        let buffer = Buffer::new(content, newline);
        let strict = self.options.strict || there.is_none();
        let typed = match typing::typed(&buffer, Some(wanted), strict, false, pager) {
            Ok(typed) => typed,
            // Perhaps it is something else that only has the name now.
            Err(TypingError::Parse(_) | TypingError::TooBig { .. }) if there.is_none() => {
                return Ok(entry);
            }
            Err(e) => return Err(ViewError::invalid("rename", e.to_string())),
        };
        let mut attrs = entry.attrs();
        typing::apply(&typed, &mut attrs);
        Ok(Entry::plain(typed.node).with_attrs(attrs))
    }

    /// The type that a name had until just now, for a new file that is moved there: so do programs
    /// that keep the old one as a backup.
    fn freed_type(&self, found: &Found, to: &Side, now: Time) -> Option<TypeName> {
        let birth = edit::times_of(&found.entry, found.stamp).crtime;
        if !hints::is_new(birth, now) {
            return None;
        }
        self.hints.find(to.parent, &to.key, self.store.pager())
    }

    fn exchange(
        &self,
        (a, work_a): (&Side, Option<&mut Work>),
        (b, work_b): (&Side, Option<&mut Work>),
        missing: &dyn Fn() -> ViewError,
    ) -> Result<()> {
        let now = self.time();
        let done = self.transact(|tx| {
            tx.called(ApiOp::Swap);
            let (dir_a, _) = self.dir_in(tx, a.parent)?;
            let (dir_b, _) = self.dir_in(tx, b.parent)?;
            let (at_a, at_b) = (join(&dir_a, &a.key), join(&dir_b, &b.key));
            if at_a.starts_with(&at_b) || at_b.starts_with(&at_a) {
                return Err(ViewError::invalid(
                    "rename",
                    "a directory cannot be exchanged with what is below it",
                ));
            }
            let found_a = self.find_to_move(tx, &at_a, a)?.ok_or_else(missing)?;
            let found_b = self.find_to_move(tx, &at_b, b)?.ok_or_else(missing)?;
            if is_one(&found_a, &found_b) {
                return Ok(None);
            }
            let (ino_a, ino_b) = (self.number(a, &found_a), self.number(b, &found_b));
            let first = tx.taken();
            let time = Some(now);
            tx.push(Op::Take {
                path: at_a.clone(),
                time,
            })?;
            tx.push(Op::Take {
                path: at_b.clone(),
                time,
            })?;
            let moved_a = found_a
                .entry
                .clone()
                .with_attrs(moved_attrs(&found_a, ino_a, now));
            let moved_b = found_b
                .entry
                .clone()
                .with_attrs(moved_attrs(&found_b, ino_b, now));
            for (index, path, found, moved) in [
                (first, at_b, &found_a, &moved_a),
                (first + 1, at_a, &found_b, &moved_b),
            ] {
                let attrs = place_attrs(tx, found, moved)?;
                tx.push(Op::Place {
                    path,
                    index,
                    attrs,
                    time,
                })?;
            }
            let (table, a, b) = (Arc::clone(&self.table), a.place(), b.place());
            tx.on_commit(move || table.exchange((&a, ino_a), (&b, ino_b)));
            Ok(Some((moved_a, moved_b)))
        })?;
        let Some((moved_a, moved_b)) = done else {
            return Ok(());
        };
        self.reload(a, work_a, moved_a)?;
        self.reload(b, work_b, moved_b)
    }

    /// The working copy of something that was moved, perhaps with another type.
    fn reload(&self, side: &Side, work: Option<&mut Work>, entry: Entry) -> Result<()> {
        if let (Some(inode), Some(work)) = (&side.inode, work)
            && work.entry.is_some()
        {
            let stamp = edit::stamp_of(&entry, work.stamp);
            let found = Found {
                entry,
                stamp,
                link: None,
            };
            self.load(inode, work, found)?;
        }
        Ok(())
    }
}

fn moved_attrs(found: &Found, ino: Ino, now: Time) -> Attrs {
    let mut attrs = found.entry.attrs();
    let times = edit::times_of(&found.entry, found.stamp);
    attrs.times = Some(Times {
        ctime: now,
        ..times
    });
    attrs.stamp = Some(found.stamp);
    attrs.ino = Some(ino);
    attrs
}

/// The steps that move an entry: by reference, unless its value changed with the type.
fn place(
    tx: &mut Tx<'_>,
    source: KeyPath,
    target: KeyPath,
    moved: Entry,
    found: &Found,
    now: Time,
) -> Result<()> {
    let index = tx.taken();
    let time = Some(now);
    tx.push(Op::Take { path: source, time })?;
    let same = match (&moved.node, &found.entry.node) {
        (Node::Text(_), Node::Text(_)) | (Node::Bytes(_), Node::Bytes(_)) => true,
        (Node::Map(_), Node::Map(_)) | (Node::Vector(_), Node::Vector(_)) => true,
        (Node::Scalar(a), Node::Scalar(b)) => Arc::ptr_eq(a, b),
        (Node::ScalarPage(a), Node::ScalarPage(b)) => a == b,
        _ => false,
    };
    if let Some(link) = found.link.filter(|_| !same) {
        tx.put(links::file(link.id), moved.clone(), None)?;
    }
    if same || found.link.is_some() {
        let attrs = place_attrs(tx, found, &moved)?;
        tx.push(Op::Place {
            path: target,
            index,
            attrs,
            time,
        })?;
    } else {
        tx.put(target, moved, time)?;
    }
    Ok(())
}

/// The attributes that go along with what is moved. A name of a linked file has none: they stay with
/// the file.
fn place_attrs(tx: &mut Tx<'_>, found: &Found, moved: &Entry) -> Result<Attrs> {
    let attrs = moved.attrs();
    let Some(link) = found.link else {
        return Ok(attrs);
    };
    tx.set_attrs(links::file(link.id), attrs)?;
    Ok(Attrs::default())
}

/// Whether both are the same linked file.
fn is_one(a: &Found, b: &Found) -> bool {
    a.link.is_some() && a.link.map(|l| l.id) == b.link.map(|l| l.id)
}

type Guard<'a> = Option<MutexGuard<'a, Work>>;

/// Locks two working copies in the order of their numbers.
fn lock_both<'a>(a: Option<&'a Arc<Inode>>, b: Option<&'a Arc<Inode>>) -> (Guard<'a>, Guard<'a>) {
    match (a, b) {
        (Some(a), Some(b)) if a.ino > b.ino => {
            let second = b.work.lock();
            (Some(a.work.lock()), Some(second))
        }
        (Some(a), Some(b)) if a.ino == b.ino => (Some(a.work.lock()), None),
        (a, b) => {
            let first = a.map(|i| i.work.lock());
            (first, b.map(|i| i.work.lock()))
        }
    }
}
