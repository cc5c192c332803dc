//! What the store does for freeing pages that nothing reaches; [`crate::gc`] says in which order,
//! and why that is safe.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::meters::Phase;
use super::record::KeyedDoc;
use super::{Store, StoreError};
use crate::backend::{Batch, Precondition};
use crate::tree::{Entry, PageAddr, PageSet, page_key};

/// One round of freeing. While it lives, the store notes what moves and what is written; there is
/// one at a time.
#[derive(Debug)]
pub struct Round<'a> {
    store: &'a Store,
    unwritten: Vec<KeyedDoc>,
    _turn: MutexGuard<'a, ()>,
}

impl Store {
    /// Begins a round, when the one before has ended. What was received in part is given up: its
    /// pages are garbage.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::Released`].
    pub fn begin_round(&self) -> Result<Round<'_>, StoreError> {
        self.check_open()?;
        let inner = &self.inner;
        if inner.read_only {
            return Err(StoreError::ReadOnly);
        }
        let turn = inner.round_turn.lock();
        self.discard_incoming()?;
        // A fold under way has written pages to which no record refers yet.
        let _no_fold = inner.fold_turn.lock();
        let mut state = inner.commit.lock();
        state.moves = Some(Vec::new());
        *inner.pages.of_round.lock() = Some(PageSet::default());
        inner.pages.since_round.store(0, Ordering::Relaxed);
        Ok(Round {
            store: self,
            unwritten: inner.docs.unwritten_docs(),
            _turn: turn,
        })
    }

    /// Bytes of pages written since the last round began or the store was connected, before
    /// compression.
    pub fn written_since_round(&self) -> u64 {
        self.inner.pages.since_round.load(Ordering::Relaxed)
    }
}

impl<'a> Round<'a> {
    /// The store.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// The documents that were in no record when the round began.
    pub fn take_unwritten(&mut self) -> Vec<KeyedDoc> {
        std::mem::take(&mut self.unwritten)
    }

    /// What commits have put, taken away, or put something else in the place of since the round
    /// began or this was last asked, as far as it may have pages.
    pub fn take_moves(&self) -> Vec<Entry> {
        let mut state = self.store.inner.commit.lock();
        state.moves.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What [`Round::take_moves`] gives, and the end of noting it.
    pub fn last_moves(&self) -> Vec<Entry> {
        let mut state = self.store.inner.commit.lock();
        state.moves.take().unwrap_or_default()
    }

    /// Brings everything committed before into pages and records, durably, so that neither the
    /// journal nor a state that a power loss leaves refers to what is unreachable now.
    ///
    /// # Errors
    /// As [`Store::fold_now`].
    pub fn fold(&self) -> Result<(), StoreError> {
        self.store.fold_now()
    }

    /// Frees pages, but for those that were written since the round began; says how many.
    ///
    /// # Errors
    /// Those of the backend; some may be freed then.
    pub fn free(&self, pages: &[PageAddr]) -> Result<usize, StoreError> {
        let inner = &self.store.inner;
        self.store.check_open()?;
        let written = inner.pages.of_round.lock();
        let mut batch = Batch::new();
        for addr in pages {
            if written.as_ref().is_some_and(|set| !set.contains(addr)) {
                batch.delete(page_key(addr), Precondition::Any);
            }
        }
        let freed = batch.len();
        if freed > 0 {
            inner.pager.backend().apply(batch, inner.pager.deadline())?;
        }
        Ok(freed)
    }

    /// Has the storage give back the space of what was freed.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let inner = &self.store.inner;
        if let Some(journal) = &inner.journal {
            journal.tidy()?;
        }
        Ok(inner.pager.backend().tidy(inner.pager.deadline())?)
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let inner = &self.store.inner;
        inner.meters.rounds.phase.set(Phase::None);
        inner.commit.lock().moves = None;
        *inner.pages.of_round.lock() = None;
    }
}
