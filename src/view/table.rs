//! The inodes that the kernel knows, and their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::inode::{Inode, LINKED, Place};
use super::types::{Ino, ROOT};
use super::work::Work;
use crate::tree::{Time, links};
use crate::value::Key;

/// Inodes by number and by place.
#[derive(Debug)]
pub struct Table(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    inodes: FxHashMap<Ino, Arc<Inode>>,
    /// What is known of each directory.
    names: FxHashMap<Ino, BTreeMap<Key, Ino>>,
    /// Names that were created and are not committed yet.
    pending: FxHashMap<Ino, BTreeMap<Key, Pending>>,
}

/// A name that is not committed yet.
#[derive(Debug)]
struct Pending {
    ino: Ino,
    /// When it was created.
    time: Time,
    /// The name, as the program gave it.
    name: Box<[u8]>,
}

impl State {
    fn unname(&mut self, place: &Place, ino: Ino) {
        if let Some(names) = self.names.get_mut(&place.parent) {
            if names.get(&place.key) == Some(&ino) {
                names.remove(&place.key);
            }
            if names.is_empty() {
                self.names.remove(&place.parent);
            }
        }
        self.unpend(place);
    }

    fn unpend(&mut self, place: &Place) {
        if let Some(pending) = self.pending.get_mut(&place.parent) {
            pending.remove(&place.key);
            if pending.is_empty() {
                self.pending.remove(&place.parent);
            }
        }
    }

    /// A number that no inode has: this one if possible.
    fn free(&self, mut ino: Ino) -> Ino {
        while self.inodes.contains_key(&ino) {
            ino = super::inode::other_ino(ino);
        }
        ino
    }

    /// Forgets the places of an inode and gives the directories they were in.
    fn take_places(&mut self, inode: &Inode) -> Vec<Ino> {
        let names = std::mem::take(&mut *inode.names.lock());
        let place = inode.place.lock().take();
        let mut parents = Vec::new();
        for place in names.into_iter().chain(place) {
            self.unname(&place, inode.ino);
            parents.push(place.parent);
        }
        parents
    }

    /// Forgets one place of an inode.
    fn leave(&mut self, inode: &Inode, from: &Place) {
        self.unname(from, inode.ino);
        let mut place = inode.place.lock();
        if place.as_ref() == Some(from) {
            *place = None;
        }
        inode.names.lock().retain(|name| name != from);
    }

    /// An inode is known at another place, too if it is a linked file.
    fn arrive(&mut self, inode: &Inode, to: Place) {
        let names = self.names.entry(to.parent).or_default();
        names.insert(to.key.clone(), inode.ino);
        if inode.link().is_some() {
            inode.names.lock().push(to);
        } else {
            *inode.place.lock() = Some(to);
        }
    }

    /// An inode is a linked file now.
    fn adopt(&mut self, inode: &Inode, id: u64) {
        let mut place = inode.place.lock();
        inode.names.lock().extend(place.take());
        let home = Place {
            parent: LINKED,
            key: Key::index(id),
        };
        let names = self.names.entry(LINKED).or_default();
        names.insert(home.key.clone(), inode.ino);
        *place = Some(home);
    }

    fn path(&self, ino: Ino) -> Option<Vec<Key>> {
        let mut keys = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let place = self.inodes.get(&at)?.place.lock().clone()?;
            if place.parent == LINKED {
                return Some(links::file(place.key.as_index()?).to_vec());
            }
            keys.push(place.key);
            at = place.parent;
        }
        keys.reverse();
        Some(keys)
    }
}

impl Table {
    /// A table with the root directory.
    pub fn new() -> Self {
        let mut state = State::default();
        state
            .inodes
            .insert(ROOT, Arc::new(Inode::new(ROOT, None, Work::default())));
        Self(Mutex::new(state))
    }

    /// The inode with a number.
    pub fn get(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.0.lock().inodes.get(&ino).cloned()
    }

    /// Inodes beside the root, and names that are not committed.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.0.lock();
        let pending = state.pending.values().map(BTreeMap::len).sum();
        (
            state.inodes.len().saturating_sub(1).max(state.names.len()),
            pending,
        )
    }

    /// The inodes from the top directory on a path to this one, with their names; `None` if it has no
    /// name any more.
    pub fn chain(&self, ino: Ino) -> Option<Vec<(Arc<Inode>, Key)>> {
        let state = self.0.lock();
        let mut chain = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let inode = Arc::clone(state.inodes.get(&at)?);
            let place = inode.place.lock().clone()?;
            if place.parent == LINKED {
                let path = links::file(place.key.as_index()?);
                let keys = path.iter().rev().cloned();
                chain.extend(keys.map(|key| (Arc::clone(&inode), key)));
                break;
            }
            chain.push((inode, place.key));
            at = place.parent;
        }
        chain.reverse();
        Some(chain)
    }

    /// The path of an inode; `None` if it has no name any more.
    pub fn path(&self, ino: Ino) -> Option<Vec<Key>> {
        self.0.lock().path(ino)
    }

    /// The path of a place; `None` if its directory has no name any more.
    pub fn path_at(&self, place: &Place) -> Option<Vec<Key>> {
        let mut path = self.path(place.parent)?;
        path.push(place.key.clone());
        Some(path)
    }

    /// The inode at a place, if the kernel knows one there.
    pub fn at(&self, parent: Ino, key: &Key) -> Option<Arc<Inode>> {
        let state = self.0.lock();
        let ino = state.names.get(&parent)?.get(key)?;
        state.inodes.get(ino).cloned()
    }

    /// The inode at a place, making one with the number `ino` of the tree if none is known there, and
    /// counting a kernel reference if asked to. A number that another inode still has is replaced.
    pub fn enter(&self, parent: Ino, key: &Key, ino: Ino, count: bool) -> Arc<Inode> {
        let mut state = self.0.lock();
        let known = state.names.get(&parent).and_then(|n| n.get(key)).copied();
        let inode = match known.and_then(|ino| state.inodes.get(&ino)).cloned() {
            Some(inode) => inode,
            None => {
                let number = ino;
                let ino = state.free(number);
                let place = Place {
                    parent,
                    key: key.clone(),
                };
                let inode = Arc::new(Inode::new(ino, Some(place), Work::default()));
                inode.set_number(number);
                state.inodes.insert(ino, Arc::clone(&inode));
                state
                    .names
                    .entry(parent)
                    .or_default()
                    .insert(key.clone(), ino);
                inode
            }
        };
        if count {
            inode.lookups.fetch_add(1, Ordering::AcqRel);
        }
        inode
    }

    /// The inode of a linked file, if it is known.
    pub fn linked(&self, id: u64) -> Option<Arc<Inode>> {
        self.at(LINKED, &Key::index(id))
    }

    /// As [`Table::enter`] for a name of the linked file `id`.
    pub fn enter_linked(
        &self,
        (parent, key): (Ino, &Key),
        id: u64,
        number: Ino,
        count: bool,
    ) -> Arc<Inode> {
        let mut state = self.0.lock();
        let home = Key::index(id);
        let known = state.names.get(&LINKED).and_then(|n| n.get(&home)).copied();
        let known = known.and_then(|ino| state.inodes.get(&ino)).cloned();
        // It may be known from before it had several names.
        let same = |inode: &Arc<Inode>| inode.number() == number && inode.link().is_none();
        let before = || {
            state
                .inodes
                .get(&number)
                .filter(|i| same(i) && i.place().is_some())
        };
        let inode = match known.or_else(|| before().cloned()) {
            Some(inode) => inode,
            None => {
                let inode = Arc::new(Inode::new(state.free(number), None, Work::default()));
                inode.set_number(number);
                state.inodes.insert(inode.ino, Arc::clone(&inode));
                inode
            }
        };
        if inode.link().is_none() {
            state.adopt(&inode, id);
        }
        let place = Place {
            parent,
            key: key.clone(),
        };
        let there = state.names.get(&parent).and_then(|n| n.get(key)).copied();
        if there != Some(inode.ino) {
            if let Some(other) = there.and_then(|ino| state.inodes.get(&ino)).cloned() {
                other.mark();
                state.leave(&other, &place);
                drop_if_unused(&mut state, &other);
            }
            state.arrive(&inode, place);
        }
        if count {
            inode.lookups.fetch_add(1, Ordering::AcqRel);
        }
        inode
    }

    /// An inode is the linked file `id` now.
    pub fn adopt(&self, inode: &Inode, id: u64) {
        let mut state = self.0.lock();
        if inode.link().is_none() {
            state.adopt(inode, id);
        }
    }

    /// One of the names of a linked file is gone.
    pub fn leave(&self, inode: &Inode, from: &Place) {
        let mut state = self.0.lock();
        state.leave(inode, from);
        let parent = state.inodes.get(&from.parent).cloned();
        drop_if_unused(&mut state, inode);
        if let Some(parent) = parent {
            drop_if_unused(&mut state, &parent);
        }
    }

    /// The number that the inode at a place has or would get.
    pub fn number(&self, parent: Ino, key: &Key, ino: Ino) -> Ino {
        let state = self.0.lock();
        let known = state.names.get(&parent).and_then(|n| n.get(key)).copied();
        known.unwrap_or_else(|| state.free(ino))
    }

    /// Counts a kernel reference to an inode; false if it has been forgotten meanwhile.
    pub fn refer(&self, inode: &Arc<Inode>) -> bool {
        let state = self.0.lock();
        let known = state
            .inodes
            .get(&inode.ino)
            .is_some_and(|known| Arc::ptr_eq(known, inode));
        if known {
            inode.lookups.fetch_add(1, Ordering::AcqRel);
        }
        known
    }

    /// Adds a file newly created as `name` that is not committed yet; gives `None` if the place is
    /// taken.
    pub fn create(
        &self,
        parent: Ino,
        (key, name): (&Key, &[u8]),
        ino: Ino,
        work: Work,
        time: Time,
    ) -> Option<Arc<Inode>> {
        let mut state = self.0.lock();
        if state
            .names
            .get(&parent)
            .is_some_and(|n| n.contains_key(key))
            || state.inodes.contains_key(&ino)
        {
            return None;
        }
        let place = Place {
            parent,
            key: key.clone(),
        };
        let inode = Arc::new(Inode::new(ino, Some(place), work));
        inode.lookups.store(1, Ordering::Release);
        state.inodes.insert(ino, Arc::clone(&inode));
        state
            .names
            .entry(parent)
            .or_default()
            .insert(key.clone(), ino);
        state.pending.entry(parent).or_default().insert(
            key.clone(),
            Pending {
                ino,
                time,
                name: name.into(),
            },
        );
        Some(inode)
    }

    /// A directory may be of another kind now, in which a name means another key: names that are not
    /// committed yet stay what they are.
    pub fn reread_pending(&self, parent: Ino, key_of: &dyn Fn(&[u8]) -> Option<Key>) {
        let state = &mut *self.0.lock();
        let moved: Vec<(Key, Option<Key>)> = state
            .pending
            .get(&parent)
            .into_iter()
            .flatten()
            .map(|(old, pending)| (old.clone(), key_of(&pending.name)))
            .filter(|(old, new)| Some(old) != new.as_ref())
            .collect();
        for (old, new) in moved {
            let place = Place { parent, key: old };
            let pending = state
                .pending
                .get_mut(&parent)
                .and_then(|p| p.remove(&place.key));
            let Some(pending) = pending else { continue };
            let inode = state.inodes.get(&pending.ino).cloned();
            let Some(inode) = inode else { continue };
            state.unname(&place, inode.ino);
            let names = state.names.entry(parent).or_default();
            let new = new.filter(|key| !names.contains_key(key));
            let place = new.map(|key| {
                names.insert(key.clone(), inode.ino);
                // The number was made of the old key: it is stored with the commit.
                inode.set_number(super::inode::derived_ino(parent, &key, pending.time));
                let at = state.pending.entry(parent).or_default();
                at.insert(key.clone(), pending);
                Place { parent, key }
            });
            *inode.place.lock() = place;
        }
        // Neither keeps an empty directory.
        if state.names.get(&parent).is_some_and(BTreeMap::is_empty) {
            state.names.remove(&parent);
        }
    }

    /// The name of an inode is committed.
    pub fn committed(&self, inode: &Inode) {
        let mut state = self.0.lock();
        let place = inode.place.lock().clone();
        if let Some(place) = place {
            state.unpend(&place);
        }
    }

    /// Names of a directory that are not committed yet, after a key, with their inodes.
    pub fn pending(&self, parent: Ino) -> Vec<(Key, Arc<Inode>)> {
        let state = self.0.lock();
        let names = state.pending.get(&parent);
        names
            .into_iter()
            .flatten()
            .filter_map(|(k, p)| Some((k.clone(), Arc::clone(state.inodes.get(&p.ino)?))))
            .collect()
    }

    /// Whether what is at a place is not committed yet.
    pub fn is_pending(&self, place: &Place) -> bool {
        let state = self.0.lock();
        let pending = state.pending.get(&place.parent);
        pending.is_some_and(|p| p.contains_key(&place.key))
    }

    /// When the last name was created in a directory that is not committed yet.
    pub fn pending_time(&self, parent: Ino) -> Option<Time> {
        let state = self.0.lock();
        state.pending.get(&parent)?.values().map(|p| p.time).max()
    }

    /// What was at a place is gone; `last`: it has no other name. Who has come to know it without
    /// `known` seeing that has to look.
    pub fn remove(&self, parent: Ino, key: &Key, known: Option<&Arc<Inode>>, last: bool) {
        if let Some(inode) = self.at(parent, key) {
            if known.is_none_or(|known| !Arc::ptr_eq(known, &inode)) {
                inode.mark();
            }
            if last {
                self.unlink(&inode);
            } else {
                let key = key.clone();
                self.leave(&inode, &Place { parent, key });
            }
        }
    }

    /// The inode has no name any more.
    pub fn unlink(&self, inode: &Inode) {
        let mut state = self.0.lock();
        let parents = state.take_places(inode);
        drop_if_unused(&mut state, inode);
        // A directory that is gone itself was kept for what was known in it.
        for parent in parents {
            if let Some(parent) = state.inodes.get(&parent).cloned() {
                drop_if_unused(&mut state, &parent);
            }
        }
    }

    /// What is known at `from` is at `to` now, with this number stored; what was known there has no
    /// name any more.
    pub fn rename(&self, from: &Place, to: &Place, number: Ino) {
        let mut state = self.0.lock();
        let moved = state
            .names
            .get(&from.parent)
            .and_then(|n| n.get(&from.key))
            .copied();
        let gone = state
            .names
            .get(&to.parent)
            .and_then(|n| n.get(&to.key))
            .copied();
        if let Some(inode) = gone.and_then(|ino| state.inodes.get(&ino)).cloned() {
            state.leave(&inode, to);
            drop_if_unused(&mut state, &inode);
        }
        if let Some(inode) = moved.and_then(|ino| state.inodes.get(&ino)).cloned() {
            state.leave(&inode, from);
            inode.set_number(number);
            state.arrive(&inode, to.clone());
        }
    }

    /// What is known at two places changes places, with these numbers stored.
    pub fn exchange(&self, (a, number_a): (&Place, Ino), (b, number_b): (&Place, Ino)) {
        let mut state = self.0.lock();
        let at = |state: &State, p: &Place| {
            state
                .names
                .get(&p.parent)
                .and_then(|n| n.get(&p.key))
                .copied()
        };
        let (ino_a, ino_b) = (at(&state, a), at(&state, b));
        let inode =
            |state: &State, ino: Option<Ino>| ino.and_then(|ino| state.inodes.get(&ino)).cloned();
        let (at_a, at_b) = (inode(&state, ino_a), inode(&state, ino_b));
        for (inode, from) in [(&at_a, a), (&at_b, b)] {
            if let Some(inode) = inode {
                state.leave(inode, from);
            }
        }
        for (inode, to, number) in [(at_a, b, number_a), (at_b, a, number_b)] {
            if let Some(inode) = inode {
                inode.set_number(number);
                state.arrive(&inode, to.clone());
            }
        }
    }

    /// The names in a directory have other keys now, and their numbers are stored.
    pub fn rekey(&self, parent: Ino, f: fn(&Key) -> Option<Key>) {
        let mut state = self.0.lock();
        let Some(names) = state.names.remove(&parent) else {
            return;
        };
        for (old, ino) in names {
            let key = f(&old).unwrap_or_else(|| old.clone());
            if let Some(inode) = state.inodes.get(&ino).cloned() {
                state.leave(&inode, &Place { parent, key: old });
                if inode.link().is_none() {
                    inode.set_number(ino);
                }
                state.arrive(&inode, Place { parent, key });
            }
        }
    }

    /// The kernel gives back references.
    pub fn forget(&self, ino: Ino, n: u64) {
        let mut state = self.0.lock();
        let Some(inode) = state.inodes.get(&ino).cloned() else {
            return;
        };
        let before = inode.lookups.load(Ordering::Acquire);
        // References are counted with the table locked.
        inode
            .lookups
            .store(before.saturating_sub(n), Ordering::Release);
        drop_if_unused(&mut state, &inode);
    }

    /// A handle was closed.
    pub fn closed(&self, inode: &Inode) {
        let mut state = self.0.lock();
        inode.handles.fetch_sub(1, Ordering::AcqRel);
        drop_if_unused(&mut state, inode);
    }

    /// The inode has nothing to commit any more: it goes if nobody else knows it.
    pub fn settled(&self, inode: &Inode) {
        drop_if_unused(&mut self.0.lock(), inode);
    }

    /// Everything known at and below a path, the top first.
    pub fn below(&self, path: &[Key]) -> Vec<Arc<Inode>> {
        let state = self.0.lock();
        let mut at = ROOT;
        for key in path {
            match state.names.get(&at).and_then(|n| n.get(key)) {
                Some(ino) => at = *ino,
                None => return Vec::new(),
            }
        }
        let mut found = Vec::new();
        let mut open = vec![at];
        while let Some(ino) = open.pop() {
            found.extend(state.inodes.get(&ino).cloned());
            open.extend(
                state
                    .names
                    .get(&ino)
                    .into_iter()
                    .flatten()
                    .map(|(_, child)| *child),
            );
        }
        found
    }

    /// The inode of the deepest directory on a path that is known, and whether it is the whole path.
    pub fn known(&self, path: &[Key]) -> Option<Ino> {
        let state = self.0.lock();
        let mut at = ROOT;
        for key in path {
            at = *state.names.get(&at)?.get(key)?;
        }
        Some(at)
    }
}

/// Forgets an inode that nobody knows any more and that has nothing to commit.
fn drop_if_unused(state: &mut State, inode: &Inode) {
    let used = inode.ino == ROOT
        || inode.lookups.load(Ordering::Acquire) > 0
        || inode.handles.load(Ordering::Acquire) > 0
        || inode.dirty.load(Ordering::Acquire)
        || state.names.contains_key(&inode.ino);
    if used {
        return;
    }
    let place = inode.place.lock().clone();
    let pending = place.is_some_and(|place| {
        let pending = state.pending.get(&place.parent);
        pending.is_some_and(|p| p.contains_key(&place.key))
    });
    if pending {
        return;
    }
    let parents = state.take_places(inode);
    state.inodes.remove(&inode.ino);
    // A directory is kept while something in it is known.
    for parent in parents {
        if let Some(parent) = state.inodes.get(&parent).cloned() {
            drop_if_unused(state, &parent);
        }
    }
}
