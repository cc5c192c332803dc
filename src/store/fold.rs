//! Folding: what is in the journal only becomes pages and records, in the background.
//!
//! One fold takes all unwritten versions at one sequence number. It forces the journal up to there,
//! writes the pages, then all records and the header in one batch, so that the backend always holds
//! the state after some record of the journal; then it syncs and lets go of the journal's segments.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::header::{FORMAT, HEADER, Header};
use super::meters::Call;
use super::record::{self, Doc};
use super::{Store, StoreError, limits};
use crate::backend::{BackendError, Batch, Deadline, Operation, Precondition};
use crate::tree::Folder;
use crate::value::Key;

/// A fold starts this long after the first unwritten version.
const PERIOD: Duration = Duration::from_millis(1500);
/// A fold starts when the journal has grown by this many bytes.
const ENOUGH: usize = 8 << 20;
/// Writers wait when the journal has grown by this many bytes.
const TOO_MUCH: usize = 64 << 20;
/// Writers wait when the records of what is unwritten may take this many bytes: all go into one
/// batch, which the backend bounds.
const MOST_RECORDS: u64 = limits::BATCH;
/// How long writers wait for a fold before they fail.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a failed fold the next is tried.
const RETRY: Duration = Duration::from_secs(1);
/// Memory is given back when nothing has come to be folded for so long.
const QUIET: Duration = Duration::from_secs(1);

/// What waits to be folded.
#[derive(Debug, Default)]
pub(super) struct FoldState {
    /// Bytes of journal since the last fold.
    unfolded: usize,
    /// What the records of all unwritten versions, and of those being committed, may take.
    records: u64,
    /// How much of that is of versions that a fold has begun with.
    begun: u64,
    /// When the oldest of them came.
    since: Option<Instant>,
    /// Someone waits for a fold.
    asked: bool,
    /// The store is being released.
    pub(super) stop: bool,
    /// Why the last fold failed.
    failure: Option<String>,
}

impl FoldState {
    /// The state of a store with unwritten versions whose records may take this much.
    pub(super) fn with_records(records: u64) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }

    /// Bytes of the journal that wait to be folded, and when the oldest of them came.
    pub(super) fn waiting(&self) -> (usize, Option<Instant>) {
        (self.unfolded, self.since)
    }

    /// Room that is still taken; for tests.
    #[cfg(test)]
    pub(super) fn records_taken(&self) -> u64 {
        self.records
    }

    fn has_room(&self, weight: u64) -> bool {
        self.unfolded < TOO_MUCH && (self.records == 0 || self.records + weight <= MOST_RECORDS)
    }
}

/// Room for the records of one commit; given back unless the commit uses it.
pub(super) struct Room<'a> {
    store: &'a Store,
    weight: u64,
}

impl Room<'_> {
    /// The commit is done: the next fold gives the room back.
    pub(super) fn used(mut self) {
        self.weight = 0;
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.weight > 0 {
            self.store.inner.folding.lock().records -= self.weight;
            self.store.inner.fold_done.notify_all();
        }
    }
}

impl Store {
    /// Counts a record that waits to be folded.
    pub(super) fn note_unfolded(&self, bytes: usize) {
        let mut state = self.inner.folding.lock();
        let first = state.since.is_none();
        let before = state.unfolded;
        state.unfolded += bytes;
        state.since.get_or_insert_with(Instant::now);
        if first || (before < ENOUGH && state.unfolded >= ENOUGH) {
            self.inner.fold_wanted.notify_one();
        }
    }

    /// Waits while too much is unwritten, and takes room for records of `weight` bytes.
    pub(super) fn wait_for_room(&self, weight: u64) -> Result<Room<'_>, StoreError> {
        limits::check_commit(weight)?;
        let mut state = self.inner.folding.lock();
        let mut deadline = None;
        while !state.has_room(weight) {
            let deadline = *deadline.get_or_insert_with(|| Deadline::after(PATIENCE));
            state.asked = true;
            self.inner.fold_wanted.notify_one();
            self.inner
                .fold_done
                .wait_until(&mut state, deadline.glance());
            if let Err(over) = deadline.check(Operation::Apply, b"") {
                if matches!(over, BackendError::Abandoned { .. }) {
                    return Err(over.into());
                }
                let reason = state
                    .failure
                    .clone()
                    .unwrap_or_else(|| "writing is too slow".to_owned());
                return Err(StoreError::Backlog { reason });
            }
        }
        state.records += weight;
        Ok(Room {
            store: self,
            weight,
        })
    }

    /// The loop of the folding thread.
    pub(super) fn fold_loop(&self) {
        let mut trimmed = true;
        loop {
            let mut state = self.inner.folding.lock();
            loop {
                if state.stop {
                    return;
                }
                match state.since {
                    None if trimmed => self.inner.fold_wanted.wait(&mut state),
                    None => {
                        let waited = self.inner.fold_wanted.wait_for(&mut state, QUIET);
                        if waited.timed_out() && state.since.is_none() {
                            // What took memory on its way into pages takes none any more.
                            drop(state);
                            crate::sys::trim_heap();
                            trimmed = true;
                            state = self.inner.folding.lock();
                        }
                    }
                    Some(since)
                        if state.unfolded >= ENOUGH || state.asked || since.elapsed() >= PERIOD =>
                    {
                        break;
                    }
                    Some(since) => {
                        self.inner
                            .fold_wanted
                            .wait_until(&mut state, since + PERIOD);
                    }
                }
            }
            drop(state);
            trimmed = false;
            if let Err(e) = self.fold_now() {
                tracing::warn!(error = %e, "folding failed; trying again");
                let mut state = self.inner.folding.lock();
                if !state.stop {
                    self.inner.fold_wanted.wait_for(&mut state, RETRY);
                }
            }
        }
    }

    /// Folds everything committed so far.
    ///
    /// # Errors
    /// Those of the journal and the backend; nothing is lost, and the next fold takes it again.
    pub fn fold_now(&self) -> Result<(), StoreError> {
        if self.inner.read_only {
            return Err(StoreError::ReadOnly);
        }
        let deadline = Deadline::of_operation();
        let _turn = deadline.lock(&self.inner.fold_turn, Operation::Apply, b"")?;
        let taken = {
            let mut state = self.inner.folding.lock();
            state.asked = false;
            state.since = None;
            std::mem::take(&mut state.unfolded)
        };
        // A bug must not end the folding for good: writers would wait for it in vain.
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.time(Call::Fold, || self.fold_once())
        }))
        .unwrap_or_else(|_| {
            Err(StoreError::Io {
                what: "folding".to_owned(),
                source: std::io::Error::other("a bug: it panicked"),
            })
        });
        let mut state = self.inner.folding.lock();
        match &done {
            Ok(()) => {
                state.failure = None;
                state.records -= std::mem::take(&mut state.begun);
            }
            Err(e) => {
                state.failure = Some(e.to_string());
                state.unfolded += taken;
                state.since.get_or_insert_with(Instant::now);
            }
        }
        self.inner.fold_done.notify_all();
        done
    }

    fn fold_once(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let ((frozen, epochs), seq, records) = {
            let mut state = inner.commit.lock();
            let records = std::mem::take(&mut state.records);
            (inner.docs.freeze(), state.next_seq - 1, records)
        };
        inner.folding.lock().begun += records;
        if frozen.is_empty() {
            return Ok(());
        }
        // Records must not be durable before the journal is: a crash must leave a prefix.
        if inner.journal.is_some() {
            self.sync_to(seq)?;
        }
        let pager = &inner.pager;
        let backend = pager.backend();
        // Before anything that snapshots need is replaced.
        self.keep(&frozen, &epochs, seq)?;
        let (mut batch, mut spare) = (Batch::new(), limits::SPARE);
        let mut folded: Vec<(Key, Option<Arc<Doc>>)> = Vec::with_capacity(frozen.len());
        for (address, versions) in frozen.iter() {
            let slot = &versions.last;
            let Some(doc) = &slot.doc else {
                batch.delete(&**address, Precondition::Any);
                folded.push((slot.key.clone(), None));
                continue;
            };
            let doc = self.in_pages(&slot.key, doc, seq)?;
            let blob = record::seal(&slot.key, &doc, pager, &mut spare)?;
            batch.put(&**address, blob, Precondition::Any);
            folded.push((slot.key.clone(), Some(Arc::new(doc))));
        }
        let header = Header {
            id: inner.id,
            pages: inner.page_id,
            format: FORMAT,
            created: inner.created,
            settings: pager.codec().settings(),
            folded: seq,
            clock: inner.clock.last(),
        };
        batch.put(HEADER, header.seal()?, Precondition::Any);
        backend.apply(batch, pager.deadline())?;
        if let Some(journal) = &inner.journal {
            // The segments may go only once the records survive a power loss.
            backend.sync(pager.deadline())?;
            inner.docs.folded(folded);
            journal.release(seq)?;
        } else {
            inner.docs.folded(folded);
        }
        inner.meters.folded.set(seq);
        Ok(())
    }

    /// The document with everything large in pages, which are written.
    pub(super) fn in_pages(&self, key: &Key, doc: &Doc, birth: u64) -> Result<Doc, StoreError> {
        let mut folder = Folder::new(&self.inner.pager, birth);
        let entry = folder
            .entry(&doc.entry)
            .map_err(|e| StoreError::tree(key, e))?;
        self.write_pages(folder.finish())?;
        Ok(Doc { entry, ..*doc })
    }

    /// Asks for a fold and waits until everything committed before is in pages and records.
    ///
    /// # Errors
    /// As [`Store::fold_now`].
    pub fn settle(&self) -> Result<(), StoreError> {
        while !self.inner.docs.is_clean() {
            self.fold_now()?;
        }
        Ok(())
    }

    pub(super) fn stop_folding(&self) {
        self.inner.folding.lock().stop = true;
        self.inner.fold_wanted.notify_all();
        let thread = self.inner.folder.lock().take();
        if let Some(thread) = thread {
            // A panic of the folding thread has been logged; the final fold tries again.
            let _ = thread.join();
        }
    }
}
