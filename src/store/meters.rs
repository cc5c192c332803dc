//! What a store has done since it was connected, and how it stands: for whoever watches it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Store, StoreError};
use crate::backend::metered::Calls;
use crate::meter::{Counter, Group};
use crate::tree::CacheUse;

const NAMES: &[&str] = &["get", "list", "commit", "sync", "fold"];

/// An operation of the store that is timed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    /// Reading a value.
    Get,
    /// Reading a part of the list of keys.
    List,
    /// A transaction, with all attempts.
    Commit,
    /// Making durable.
    Sync,
    /// A fold.
    Fold,
}

/// What is counted.
#[derive(Debug)]
pub struct Meters {
    /// The operations by kind.
    pub operations: Group,
    /// What was asked of the storage.
    pub backend: Arc<Calls>,
    /// Transactions that ran again, as another write came between.
    pub conflicts: Counter,
    /// Bytes of the journal's records.
    pub journal_bytes: Counter,
    /// The record up to which everything was in pages and records after the last fold.
    pub folded: Counter,
    /// Keys evicted by sweeps.
    pub evicted: Counter,
    /// Rounds of freeing that came to their end.
    pub rounds: Counter,
    /// Pages that they freed.
    pub freed: Counter,
    /// Pages that the last one found in use.
    pub live_pages: Counter,
    /// The bytes of these, before compression.
    pub live_bytes: Counter,
    /// When the last one ended, in seconds since 1970.
    pub last_round: Counter,
}

impl Meters {
    pub(super) fn new(backend: Arc<Calls>, last: u64) -> Self {
        let folded = Counter::default();
        folded.set(last);
        Self {
            operations: Group::new(NAMES),
            backend,
            folded,
            conflicts: Counter::default(),
            journal_bytes: Counter::default(),
            evicted: Counter::default(),
            rounds: Counter::default(),
            freed: Counter::default(),
            live_pages: Counter::default(),
            live_bytes: Counter::default(),
            last_round: Counter::default(),
        }
    }
}

/// How a store stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The last record.
    pub seq: u64,
    /// The last record known to survive a power loss; `None` without a journal.
    pub synced: Option<u64>,
    /// How often the journal was synced.
    pub syncs: u64,
    /// What the journal's records take on disk, to within 64 KiB a segment.
    pub journal_bytes: u64,
    /// Bytes of the journal that wait to be folded.
    pub unfolded_bytes: u64,
    /// How long the oldest of them waits, in seconds.
    pub fold_lag: f64,
    /// Documents with versions that are in no record.
    pub unwritten: u64,
    /// The cache of pages.
    pub pages: CacheUse,
    /// The cache of documents.
    pub documents: CacheUse,
    /// Bytes of pages written since the last round of freeing: at most so much has become garbage.
    pub written_since_round: u64,
    /// Bytes of deleted blobs that still take space.
    pub dead_bytes: u64,
    /// How many snapshots there are.
    pub snapshots: u64,
}

impl Store {
    /// What was counted since the store was connected.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// How the store stands now.
    pub fn standing(&self) -> Standing {
        let inner = &self.inner;
        let (unfolded, since) = inner.folding.lock().waiting();
        let journal = inner.journal.as_ref();
        Standing {
            seq: inner.last_seq.load(Ordering::Acquire),
            synced: journal.map(|journal| journal.synced()),
            syncs: journal.map_or(0, |journal| journal.sync_rounds()),
            journal_bytes: journal.map_or(0, |journal| journal.size()),
            unfolded_bytes: unfolded as u64,
            fold_lag: since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            unwritten: inner.docs.unwritten_count() as u64,
            pages: inner.pager.cache_use(),
            documents: inner.docs.cache_use(),
            written_since_round: self.written_since_round(),
            dead_bytes: inner.pager.backend().garbage(),
            snapshots: self.snapshots().map_or(0, |listed| listed.len() as u64),
        }
    }

    /// Times an operation.
    pub(super) fn time<T>(
        &self,
        call: Call,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = run();
        let operations = &self.inner.meters.operations;
        operations.add(call as usize, begun, done.is_err());
        done
    }
}
