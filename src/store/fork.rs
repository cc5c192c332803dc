//! A private state of a store: what a snapshot shows, with changes over it that nobody else sees.
//!
//! Reads and transactions go through the same operations as those of the store itself; a commit ends
//! in memory instead of the journal. What is large goes into pages as always, which are kept from being
//! freed like everything that memory refers to. Nothing of a fork is there after a restart but its
//! snapshot, which no list shows, and which the next connection drops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::docs::{Page, Slot};
use super::record::{self, Doc};
use super::{Changed, Store, StoreError, Tx};
use crate::tree::{Op, is_hidden, snapshots};
use crate::value::Key;

/// What the names of the snapshots of forks begin with; no other can.
pub const PREFIX: char = '/';
/// Changes go into pages when they take more memory than this, in bytes.
const IN_MEMORY: usize = 8 << 20;

/// The changes of a private state.
#[derive(Debug)]
pub(super) struct Fork {
    /// The snapshot under it.
    base: u64,
    /// Raised after each commit.
    published: AtomicU64,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    /// By the address of the live record.
    slots: BTreeMap<record::Address, Slot>,
    seq: u64,
    in_memory: usize,
    sealed: bool,
}

impl Fork {
    fn get(&self, address: &[u8]) -> Option<Slot> {
        self.changes.lock().slots.get(address).cloned()
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }
}

impl Store {
    /// A private state: this one as it is now, to be changed without anybody seeing it. The first
    /// handle that it gives and its clones are the same state.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn fork(&self) -> Result<Self, StoreError> {
        if self.is_read_only() || self.fork.is_some() {
            return Err(StoreError::ReadOnly);
        }
        let name = format!("{PREFIX}{}", uuid::Uuid::new_v4());
        let base = self.unsynced().take_snapshot(&name)?.epoch;
        let changes = Changes {
            slots: BTreeMap::new(),
            seq: base,
            in_memory: 0,
            sealed: false,
        };
        let fork = Fork {
            base,
            published: AtomicU64::new(0),
            changes: Mutex::new(changes),
        };
        Ok(Self {
            at: Some(base),
            fork: Some(Arc::new(fork)),
            ..self.clone()
        })
    }

    /// The documents that a private state has changed, as they were under it and as they are in it;
    /// none for any other state. From now on it takes no more changes, unless it is
    /// [opened again](Store::unseal).
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn seal(&self) -> Result<Vec<Changed>, StoreError> {
        let Some(fork) = &self.fork else {
            return Ok(Vec::new());
        };
        let slots: Vec<Slot> = {
            let mut changes = fork.changes.lock();
            changes.sealed = true;
            changes.slots.values().cloned().collect()
        };
        let mut changed = Vec::with_capacity(slots.len());
        for slot in slots {
            changed.push(Changed {
                old: self.doc_at(&slot.key, fork.base)?,
                key: slot.key,
                new: slot.doc,
            });
        }
        Ok(changed)
    }

    /// A sealed private state takes changes again.
    pub fn unseal(&self) {
        if let Some(fork) = &self.fork {
            fork.changes.lock().sealed = false;
        }
    }

    /// Ends what forks were left behind when the process that had them ended.
    pub(super) fn drop_forks(&self) -> Result<(), StoreError> {
        if self.is_read_only() {
            return Ok(());
        }
        let key = crate::tree::snapshots_key();
        let doc = self.inner.docs.get(&key)?;
        let listed = snapshots::list(doc.as_deref().map(|doc| &doc.entry), self.pager());
        let listed = listed.map_err(|e| StoreError::tree(&key, e))?;
        let names = listed.into_iter().filter_map(|s| s.taken);
        for (name, _) in names.filter(|(name, _)| name.starts_with(PREFIX)) {
            self.unsynced().drop_snapshot(&name)?;
        }
        Ok(())
    }

    pub(super) fn fork_version(
        &self,
        fork: &Fork,
        key: &Key,
    ) -> Result<(u64, Option<Arc<Doc>>), StoreError> {
        if let Some(slot) = fork.get(&record::address(key)) {
            return Ok((slot.seq, slot.doc));
        }
        let doc = self.doc_at(key, fork.base).map_err(ended)?;
        Ok((doc.as_ref().map_or(0, |doc| doc.seq), doc))
    }

    /// What [`Docs::page_at`](super::docs::Docs::page_at) gives, with the changes over it.
    pub(super) fn fork_page(
        &self,
        fork: &Fork,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut page = self.page_at(fork.base, after, limit).map_err(ended)?;
        let from = after.map_or(Unbounded, Excluded);
        let to = page.next.as_deref().map_or(Unbounded, Included);
        let changes = fork.changes.lock();
        let over: Vec<_> = changes.slots.range::<[u8], _>((from, to)).collect();
        page.docs
            .retain(|(key, _)| !changes.slots.contains_key(&record::address(key)));
        page.docs.extend(over.into_iter().filter_map(|(_, slot)| {
            let doc = slot.doc.clone()?;
            (!is_hidden(&slot.key)).then(|| (slot.key.clone(), doc))
        }));
        page.docs
            .sort_by_cached_key(|(key, _)| record::address(key));
        Ok(page)
    }

    /// Commits to a private state, or gives false if a document that was read has another version
    /// now.
    pub(super) fn commit_to_fork(&self, fork: &Fork, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if tx.numbered.is_some() {
            return Err(StoreError::ReadOnly);
        }
        let weight: usize = tx.ops.iter().map(Op::weight).sum();
        let mut changes = fork.changes.lock();
        if changes.sealed {
            return Err(StoreError::Sealed);
        }
        let moved = |key: &Key, seq: u64| {
            let slot = changes.slots.get(&record::address(key));
            slot.is_some_and(|slot| slot.seq != seq)
        };
        if tx.drafts.iter().any(|(key, draft)| moved(key, draft.seq))
            || !tx.checks.iter().all(|check| check())
        {
            return Ok(false);
        }
        if tx.linking {
            self.inner.links.store(true, Ordering::Release);
        }
        let seq = changes.seq + 1;
        changes.seq = seq;
        changes.in_memory += weight;
        for (key, draft) in tx.drafts.iter_mut().filter(|(_, draft)| draft.changed) {
            let doc = draft.entry.take().map(|entry| {
                Arc::new(Doc {
                    entry,
                    last_write: tx.now,
                    seq,
                })
            });
            let key = key.clone();
            let slot = Slot { key, seq, doc };
            changes.slots.insert(record::address(&slot.key), slot);
        }
        fork.published.fetch_add(1, Ordering::AcqRel);
        for published in tx.published.drain(..) {
            published();
        }
        if changes.in_memory > IN_MEMORY
            && let Err(error) = self.unload_fork(&mut changes)
        {
            tracing::warn!(%error, "the changes of a transaction stay in memory");
        }
        Ok(true)
    }

    /// Puts what is in memory into pages.
    fn unload_fork(&self, changes: &mut Changes) -> Result<(), StoreError> {
        let birth = self.inner.last_seq();
        for slot in changes.slots.values_mut() {
            if let Some(doc) = &slot.doc {
                slot.doc = Some(Arc::new(self.in_pages(&slot.key, doc, birth)?));
            }
        }
        changes.in_memory = 0;
        Ok(())
    }
}

/// Without its snapshot there is no private state.
fn ended(error: StoreError) -> StoreError {
    match error {
        StoreError::NoSnapshot { .. } => StoreError::Sealed,
        error => error,
    }
}

impl Tx<'_> {
    /// Ends a private state together with this commit.
    ///
    /// # Errors
    /// Those of the store.
    pub fn end_fork(&mut self, fork: &Store) -> Result<(), StoreError> {
        match &fork.fork {
            Some(fork) => self.drop_epoch(fork.base),
            None => Ok(()),
        }
    }
}
