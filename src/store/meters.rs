//! What a store has done since it was connected, and how it stands: for whoever watches it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::front::Front;
use super::front::overlay::Layer;
use super::{Store, StoreError, fork};
use crate::backend::behind::Standing as Queued;
use crate::backend::metered::Calls;
use crate::meter::{Counter, Group, Times};
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
    /// Rounds of freeing.
    pub rounds: Rounds,
}

/// What is counted of rounds of freeing.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Those that came to their end.
    pub ended: Counter,
    /// Those that failed.
    pub failed: Counter,
    /// Pages that were freed.
    pub freed: Counter,
    /// What the one that is under way does.
    pub phase: Phases,
    /// Pages that it has dealt with in this phase.
    pub done: Counter,
    /// Pages that it will deal with, at most.
    pub total: Counter,
    /// Of the last one that came to its end: when that was, in seconds since 1970.
    pub last: Counter,
    /// How many ms it took.
    pub last_millis: Counter,
    /// The records that it read.
    pub last_records: Counter,
    /// The pages that it freed.
    pub last_freed: Counter,
    /// Pages that it found in use.
    pub live_pages: Counter,
    /// The bytes of these, before compression.
    pub live_bytes: Counter,
    /// Bytes of the store's files before it and after it; 0 where there are none.
    pub last_space: [Counter; 2],
}

/// What a round does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    None,
    /// It finds out what is in use.
    Mark,
    /// It frees the rest.
    Free,
    /// It has the storage give back the space.
    Tidy,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::None, Self::Mark, Self::Free, Self::Tidy];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mark => "mark",
            Self::Free => "free",
            Self::Tidy => "tidy",
        }
    }
}

/// A [`Phase`] that others look at.
#[derive(Debug, Default)]
pub struct Phases(Counter);

impl Phases {
    /// It is this one now.
    pub fn set(&self, phase: Phase) {
        self.0.set(phase as u64);
    }

    /// Which one it is.
    pub fn get(&self) -> Phase {
        let number = usize::try_from(self.0.get()).unwrap_or(0);
        Phase::ALL.get(number).copied().unwrap_or_default()
    }
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
            rounds: Rounds::default(),
        }
    }
}

/// How a store stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The last record.
    pub seq: u64,
    /// The last record known to survive a power loss; `None` without a journal.
    pub synced: Option<u64>,
    /// How often the journal was synced.
    pub syncs: u64,
    /// How long that took.
    pub sync_times: Times,
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
    /// How many transactions are under way, each over a state of its own.
    pub forks: u64,
    /// The front, if the store has one.
    pub front: Option<FrontUse>,
    /// What is written over the store, if nothing is written to it.
    pub overlay: Option<OverlayUse>,
}

/// What a store has of what lies over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverlayUse {
    /// What it takes on disk.
    pub bytes: u64,
}

/// What a store has of its front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontUse {
    /// Reads that it answered.
    pub hits: u64,
    /// Reads that the storage behind it answered.
    pub misses: u64,
    /// Calls to it that failed, and copies in it that were damaged.
    pub failures: u64,
    /// Blobs that are read past it, as it failed to take what was written.
    pub stale: u64,
    /// Copies that went from it as it was full.
    pub evicted: u64,
    /// What its directory takes on disk.
    pub bytes: u64,
    /// What waits in it for the storage behind it, where writes do.
    pub queue: Option<Queued>,
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
        let listed = self.listed().unwrap_or_default();
        let taken = listed.iter().filter_map(|listed| listed.taken.as_ref());
        let (forks, snapshots): (Vec<_>, Vec<_>) =
            taken.partition(|(name, _)| name.starts_with(fork::PREFIX));
        Standing {
            seq: inner.last_seq.load(Ordering::Acquire),
            synced: journal.map(|journal| journal.synced()),
            syncs: journal.map_or(0, |journal| journal.sync_rounds()),
            sync_times: journal.map_or_else(Times::default, |journal| journal.sync_times()),
            journal_bytes: journal.map_or(0, |journal| journal.size()),
            unfolded_bytes: unfolded as u64,
            fold_lag: since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            unwritten: inner.docs.unwritten_count() as u64,
            pages: inner.pager.cache_use(),
            documents: inner.docs.cache_use(),
            written_since_round: self.written_since_round(),
            dead_bytes: inner.pager.backend().garbage(),
            snapshots: snapshots.len() as u64,
            forks: forks.len() as u64,
            front: inner.front.as_ref().map(Front::standing),
            overlay: inner.overlay.as_ref().map(Layer::standing),
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
