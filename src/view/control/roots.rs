//! The views of snapshots that are in use and of transactions, and the numbers by which the kernel
//! knows their inodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{BESIDE, DOCUMENT, FIRST};
use crate::view::types::Ino;
use crate::view::{Result, View, ViewError};

/// Where the number of a view stands in that of a handle.
const TAG: u32 = 48;
/// The handles of control directories.
const CONTROL: u64 = 0xFFFF;
/// The handles of documents.
const DOCUMENTS: u64 = 0xFFFD;
/// The handles of control files.
const FILE: u64 = 0xFFFE;

/// The view of a snapshot or a transaction.
#[derive(Debug)]
pub struct Branch {
    pub view: Arc<View>,
    epoch: u64,
    tag: u64,
    /// A transaction: it is there until it ends, and not any more then.
    ends: Option<AtomicBool>,
    /// Inodes that the kernel knows, and open handles.
    used: AtomicU64,
}

/// The views by snapshot, and their inodes by number.
#[derive(Debug, Default)]
pub struct Roots(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    branches: HashMap<u64, Arc<Branch>>,
    inodes: HashMap<Ino, Known>,
}

#[derive(Debug)]
struct Known {
    branch: Arc<Branch>,
    local: Ino,
    lookups: u64,
}

/// What a handle is of.
pub enum Handle {
    /// The live view.
    Live,
    /// A control directory.
    Control(Ino),
    /// A document or a directory of documents, with the handle's number there.
    Document(u64),
    /// A control file, with the handle's own number.
    File(u64),
    /// A snapshot's view, with the handle's number there.
    Branch(Arc<Branch>, u64),
}

impl State {
    fn add(
        &mut self,
        view: Arc<View>,
        epoch: u64,
        ends: Option<AtomicBool>,
    ) -> Result<Arc<Branch>> {
        self.branches
            .retain(|_, b| b.ends.is_none() || b.is_needed());
        let tag = (1..DOCUMENTS).find(|tag| !self.branches.contains_key(tag));
        let tag = tag.ok_or(ViewError::TooManyOpen { open: DOCUMENTS })?;
        let branch = Arc::new(Branch {
            view,
            epoch,
            tag,
            ends,
            used: AtomicU64::new(0),
        });
        self.branches.insert(tag, Arc::clone(&branch));
        Ok(branch)
    }
}

/// The number of an inode of a snapshot: 62 bits of a hash of both.
fn number(epoch: u64, local: Ino) -> Ino {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&local.to_le_bytes(), epoch);
    BESIDE | (hash & !(BESIDE | DOCUMENT)).max(FIRST)
}

impl Roots {
    /// The inode with a number.
    pub fn get(&self, ino: Ino) -> Option<(Arc<Branch>, Ino)> {
        let state = self.0.lock();
        let known = state.inodes.get(&ino)?;
        Some((Arc::clone(&known.branch), known.local))
    }

    /// The view of a snapshot, made with `make` if there is none yet. Those of snapshots that are gone
    /// are let go of once nobody uses them.
    pub fn branch(
        &self,
        epoch: u64,
        is_taken: impl Fn(u64) -> bool,
        make: impl FnOnce() -> Result<Arc<View>>,
    ) -> Result<Arc<Branch>> {
        let mut state = self.0.lock();
        let of = |branch: &&Arc<Branch>| branch.epoch == epoch;
        if let Some(branch) = state.branches.values().find(of) {
            return Ok(Arc::clone(branch));
        }
        state
            .branches
            .retain(|_, b| b.is_needed() || (b.ends.is_none() && is_taken(b.epoch)));
        state.add(make()?, epoch, None)
    }

    /// The view of a transaction, until it [ends](Roots::end).
    pub fn begin(&self, view: Arc<View>, epoch: u64) -> Result<Arc<Branch>> {
        self.0.lock().add(view, epoch, Some(AtomicBool::new(false)))
    }

    /// A transaction has ended; gives the inodes of it that the kernel knows.
    pub fn end(&self, branch: &Branch) -> Vec<Ino> {
        if let Some(ended) = &branch.ends {
            ended.store(true, Ordering::Release);
        }
        let state = self.0.lock();
        let known = state.inodes.iter();
        let of_it = known.filter(|(_, known)| known.branch.epoch == branch.epoch);
        of_it.map(|(ino, _)| *ino).collect()
    }

    /// The number of a snapshot's inode, with so many more references of the kernel.
    pub fn enter(&self, branch: &Arc<Branch>, local: Ino, lookups: u64) -> Ino {
        let mut state = self.0.lock();
        let mut ino = number(branch.epoch, local);
        loop {
            match state.inodes.get_mut(&ino) {
                Some(known) if known.local == local && known.branch.epoch == branch.epoch => {
                    known.lookups += lookups;
                    return ino;
                }
                Some(_) => ino = number(branch.epoch, ino),
                None => break,
            }
        }
        if lookups > 0 {
            branch.used.fetch_add(1, Ordering::AcqRel);
            let branch = Arc::clone(branch);
            let known = Known {
                branch,
                local,
                lookups,
            };
            state.inodes.insert(ino, known);
        }
        ino
    }

    /// The kernel gives back references.
    pub fn forget(&self, ino: Ino, n: u64) {
        if let Some((branch, local)) = self.leave(ino, n) {
            branch.view.forget(local, n);
        }
    }

    /// Like [`Roots::forget`], where the view does its part itself; gives the inode.
    pub fn leave(&self, ino: Ino, n: u64) -> Option<(Arc<Branch>, Ino)> {
        let mut state = self.0.lock();
        let known = state.inodes.get_mut(&ino)?;
        known.lookups = known.lookups.saturating_sub(n);
        let (branch, local) = (Arc::clone(&known.branch), known.local);
        if known.lookups == 0 {
            state.inodes.remove(&ino);
            branch.used.fetch_sub(1, Ordering::AcqRel);
        }
        Some((branch, local))
    }

    /// What a handle is of.
    pub fn handle(&self, fh: u64) -> Result<Handle> {
        let (tag, local) = (fh >> TAG, fh & ((1 << TAG) - 1));
        match tag {
            0 => Ok(Handle::Live),
            CONTROL => Ok(Handle::Control(BESIDE | local)),
            DOCUMENTS => Ok(Handle::Document(local)),
            FILE => Ok(Handle::File(local)),
            tag => {
                let state = self.0.lock();
                let branch = state.branches.get(&tag).cloned();
                let branch = branch.ok_or(ViewError::BadHandle {
                    fh,
                    operation: "this",
                })?;
                Ok(Handle::Branch(branch, local))
            }
        }
    }

    /// The handle by which the kernel knows one of a control file.
    pub fn file_handle(local: u64) -> u64 {
        (FILE << TAG) | local
    }

    /// The handle by which the kernel knows one of a control directory.
    pub fn control_handle(ino: Ino) -> u64 {
        (CONTROL << TAG) | (ino & !BESIDE)
    }

    /// The handle by which the kernel knows one of a document.
    pub fn document_handle(local: u64) -> u64 {
        (DOCUMENTS << TAG) | local
    }
}

impl Branch {
    /// Whether it is for reading only.
    pub fn is_snapshot(&self) -> bool {
        self.ends.is_none()
    }

    /// Whether it was a transaction that has ended.
    pub fn has_ended(&self) -> bool {
        let ended = self.ends.as_ref();
        ended.is_some_and(|ended| ended.load(Ordering::Acquire))
    }

    fn is_needed(&self) -> bool {
        let running = self.ends.is_some() && !self.has_ended();
        running || self.used.load(Ordering::Acquire) > 0
    }

    /// The handle by which the kernel knows one that was opened.
    pub fn opened(&self, local: u64) -> u64 {
        self.used.fetch_add(1, Ordering::AcqRel);
        (self.tag << TAG) | local
    }

    /// One of its handles was closed.
    pub fn closed(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
    }
}
