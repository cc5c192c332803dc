//! Freeing the pages that nothing reaches.
//!
//! A write makes new pages and leaves the old ones behind. [`reclaim`] finds out which pages are
//! still reached, and removes the others, while others read and write. Its steps are in the types:
//! a [`Guard`] gives a [`Cutoff`], [`mark`] makes of it what is [`Reachable`], [`free`] takes that.
//!
//! # Why nothing is freed that someone needs
//!
//! A page is needed if it can be reached from a record, live or kept for a snapshot, from a version that is in no record yet,
//! from a record of the journal that recovery would replay, or from memory: by an open file, a
//! transaction, a spilled working copy, a stream. Pages never change, so what a page reaches is
//! fixed when it is written.
//!
//! 1. *The cutoff.* No fold is under way, so every page there is belongs to a record, an unwritten
//!    version, or someone in memory. From here on the store notes which pages are written
//!    (W), and what commits move (M): what they put, what they take away, and what they put
//!    something else in the place of. The unwritten versions are noted as well.
//! 2. *Mark* everything that the noted versions, all records, and M reach. The records are read while
//!    others change them. Yet whatever was in a document at the cutoff is either still there when
//!    its record is read, or a commit moved it, and it is in M. The live records are read first: what
//!    a fold replaces before that, and a snapshot needs, is kept before it is replaced, and comes
//!    later; what it keeps after that came of what was read. Nothing goes from one snapshot to another
//!    meanwhile: what was kept for dropped snapshots is cleared away between rounds.
//! 3. *Look into memory*: every reference to a page that lives at this one moment
//!    ([`live::all`]) is marked with what it reaches, then what came to M until then.
//!
//!    From this moment on, every reference that anyone has or makes is to a marked page or one
//!    of W: it lived at that moment; or it is a copy of such a one; or it was read from a page to
//!    which such a one leads; or it was read from a record, whose content was marked in step 2, or
//!    came into M or W since (a record that was being decoded at that moment is read again).
//! 4. *Fold*, durably: neither the journal nor any state that a loss of power leaves goes back to
//!    before step 3. So recovery never asks for what is freed now.
//! 5. *Free* every page in the backend that is neither marked nor in W. Writing a page and freeing it
//!    exclude each other: content that is written again while its old page is being freed is in W
//!    before, or written after.
//!
//! A crash at any step leaves garbage for the next round, never a reference to a page that is gone.
//! Where a page or record does not read, it is not known what it reaches, and nothing is freed.
//!
//! Memory: 17 bytes or a little more for each page that is reached, while the round lasts.
//!
//! # What it costs others
//!
//! A round that a daemon begins by itself ([`Pace`] says when) reads at most 64 MiB/s and rests as long as
//! it works ([`Budget::ASIDE`]); it has one thread. One that is asked for is as fast as it can be. Both read
//! records and the pages of maps, not of contents, and free 64 pages at a time. What it is doing and what it
//! has done is in the store's meters. A round that was stopped begins anew: all that it knows is in memory.

mod budget;
mod error;
mod pace;
#[cfg(test)]
mod simulation;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use budget::Budget;
use budget::Throttle;
pub use error::GcError;
pub use pace::Pace;
pub use sweep::{KEEP, Sweep, Swept, sweep, sweep_part};

use crate::backend::BackendError;
use crate::meter::Counter;
use crate::store::{Phase, Round, Store, StoreError};
use crate::tree::{Entry, PageAddr, PageSet, Reading, Time, TreeError, Visitor, Walk, live};
use crate::value::{Key, KeyPath};

/// Records read at once.
const RECORDS: usize = 256;
/// Pages listed at once.
const PAGES: usize = 4096;
/// Pages freed at once. Who writes pages waits meanwhile.
const BATCH: usize = 64;

/// What a round has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// Records read, those of snapshots included.
    pub records: u64,
    /// Pages that are reached.
    pub marked: u64,
    /// Pages freed.
    pub freed: u64,
    /// Pages that are left.
    pub live: u64,
    /// The bytes of those that are reached, before compression.
    pub live_bytes: u64,
    /// Bytes that the store's files took before, and take now; `None` where there are none.
    pub space: Option<(u64, u64)>,
    /// How long it took.
    pub took: Duration,
}

/// Frees the pages of a store that nothing reaches.
///
/// # Errors
/// Damage, or a failure of the store. Nothing that is reached is gone then.
pub fn reclaim(store: &Store) -> Result<Reclaimed, GcError> {
    let never = AtomicBool::new(false);
    reclaim_within(store, &never, Budget::default())
}

/// The same, within a budget and until it is stopped.
///
/// # Errors
/// As [`reclaim`]; [`GcError::Stopped`].
pub fn reclaim_within(
    store: &Store,
    stop: &AtomicBool,
    budget: Budget,
) -> Result<Reclaimed, GcError> {
    let guard = Guard::new(store, stop).within(budget);
    let done = guard.cutoff().and_then(mark).and_then(free);
    if done.as_ref().is_err_and(|e| !matches!(e, GcError::Stopped)) {
        store.meters().rounds.failed.add(1);
    }
    done
}

/// Stands before a round.
#[derive(Debug)]
pub struct Guard<'a> {
    store: &'a Store,
    stop: &'a AtomicBool,
    budget: Budget,
}

impl<'a> Guard<'a> {
    /// A guard for a round that ends early when `stop` is set.
    pub fn new(store: &'a Store, stop: &'a AtomicBool) -> Self {
        let budget = Budget::default();
        Self {
            store,
            stop,
            budget,
        }
    }

    /// The round is to keep within a budget.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Begins a round: what is written from now on is not freed by it.
    ///
    /// # Errors
    /// Those of [`Store::fold_now`] and [`Store::begin_round`].
    pub fn cutoff(self) -> Result<Cutoff<'a>, GcError> {
        let stop = self.stop;
        let space = self.store.size_on_disk();
        let throttle = Throttle::new(self.budget, stop);
        self.store
            .clear_dropped(&|| !stop.load(Ordering::Relaxed))?;
        // Else what was replaced a moment ago would still stand in records.
        self.store.fold_now()?;
        let round = self.store.begin_round()?;
        let rounds = &self.store.meters().rounds;
        rounds.done.set(0);
        rounds.total.set(0);
        rounds.phase.set(Phase::Mark);
        Ok(Cutoff {
            round,
            throttle,
            space,
        })
    }
}

/// The moment from which on everything new is kept.
#[derive(Debug)]
pub struct Cutoff<'a> {
    round: Round<'a>,
    throttle: Throttle<'a>,
    space: Option<u64>,
}

/// All pages that can be reached.
#[derive(Debug)]
pub struct Reachable<'a> {
    round: Round<'a>,
    throttle: Throttle<'a>,
    space: Option<u64>,
    records: u64,
    marked: u64,
    pages: PageSet,
    bytes: u64,
}

/// Finds out what can be reached.
///
/// # Errors
/// Damage: [`GcError::Unreadable`], [`GcError::Record`]; a failure of the store.
pub fn mark(cutoff: Cutoff<'_>) -> Result<Reachable<'_>, GcError> {
    let Cutoff {
        mut round,
        mut throttle,
        space,
    } = cutoff;
    let unwritten = round.take_unwritten();
    let store = round.store();
    count_pages(store, &mut throttle)?;
    let mut marker = Marker {
        walk: Walk::new(store.pager(), Reading::Runs),
        finder: Finder {
            pages: 0,
            bytes: 0,
            unreadable: None,
            held: false,
            throttle,
            seen: &store.meters().rounds.done,
        },
    };
    let mut count = 0;
    for (key, doc) in unwritten {
        marker.entry(&[key], &doc.entry)?;
    }
    let mut after: Option<Vec<u8>> = None;
    loop {
        let records = store.records_after(after.as_deref(), RECORDS)?;
        let Some((last, _)) = records.last() else {
            break;
        };
        after = Some(last.clone());
        for (_, record) in records {
            let (key, doc) = record.map_err(GcError::Record)?;
            count += 1;
            marker.entry(&[key], &doc.entry)?;
        }
        marker.finder.throttle.pause()?;
        marker.entries(round.take_moves())?;
    }
    // A cache is no reader.
    let seen = marker.walk.seen();
    store.pager().retain(|addr| seen.contains(addr));
    for (addr, kind) in live::all() {
        marker.held(addr, kind)?;
    }
    marker.entries(round.last_moves())?;
    Ok(Reachable {
        pages: marker.walk.into_seen(),
        records: count,
        marked: marker.finder.pages,
        bytes: marker.finder.bytes,
        throttle: marker.finder.throttle,
        space,
        round,
    })
}

/// Counts the pages that there are, for those who want to know how far the round is.
fn count_pages(store: &Store, throttle: &mut Throttle<'_>) -> Result<(), GcError> {
    let mut after: Option<PageAddr> = None;
    loop {
        let listed = store.pages_after(after.as_ref(), PAGES)?;
        store.meters().rounds.total.add(listed.len() as u64);
        after = listed.last().copied();
        if after.is_none() {
            return Ok(());
        }
        throttle.pause()?;
    }
}

/// Removes the pages that cannot be reached.
///
/// # Errors
/// A failure of the store; some of the pages may be gone then.
pub fn free(reachable: Reachable<'_>) -> Result<Reclaimed, GcError> {
    let Reachable {
        round,
        mut throttle,
        space,
        records,
        marked,
        pages,
        bytes,
    } = reachable;
    round.fold()?;
    let store = round.store();
    let rounds = &store.meters().rounds;
    rounds.done.set(0);
    rounds.phase.set(Phase::Free);
    let (mut freed, mut live) = (0, 0);
    let mut after: Option<PageAddr> = None;
    loop {
        let listed = store.pages_after(after.as_ref(), PAGES)?;
        after = listed.last().copied();
        if after.is_none() {
            break;
        }
        live += listed.len() as u64;
        rounds.done.add(listed.len() as u64);
        let garbage: Vec<PageAddr> = listed.into_iter().filter(|a| !pages.contains(a)).collect();
        for batch in garbage.chunks(BATCH) {
            throttle.pause()?;
            let gone = round.free(batch)? as u64;
            freed += gone;
            live -= gone;
        }
    }
    rounds.freed.add(freed);
    if freed > 0 {
        rounds.phase.set(Phase::Tidy);
        round.tidy()?;
    }
    let done = Reclaimed {
        records,
        marked,
        freed,
        live,
        live_bytes: bytes,
        space: space.zip(store.size_on_disk()),
        took: throttle.passed(),
    };
    note(store, &done);
    Ok(done)
}

/// Notes what a round has done for those who look at the store's meters.
fn note(store: &Store, done: &Reclaimed) {
    let rounds = &store.meters().rounds;
    let millis = u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX);
    rounds.last_millis.set(millis);
    rounds.last_records.set(done.records);
    rounds.last_freed.set(done.freed);
    rounds.live_pages.set(done.live);
    rounds.live_bytes.set(done.live_bytes);
    let (before, after) = done.space.unwrap_or_default();
    for (counter, space) in rounds.last_space.iter().zip([before, after]) {
        counter.set(space);
    }
    let ended = u64::try_from(Time::now().secs).unwrap_or(0);
    rounds.last.set(ended);
    rounds.ended.add(1);
}

struct Marker<'a> {
    walk: Walk<'a>,
    finder: Finder<'a>,
}

impl Marker<'_> {
    fn entry(&mut self, path: &[Key], entry: &Entry) -> Result<(), GcError> {
        let done = self.walk.entry(path, entry, &mut self.finder);
        done.map_err(|e| self.finder.error(e))
    }

    fn entries(&mut self, entries: Vec<Entry>) -> Result<(), GcError> {
        entries.iter().try_for_each(|entry| self.entry(&[], entry))
    }

    fn held(&mut self, addr: PageAddr, kind: live::PageKind) -> Result<(), GcError> {
        self.finder.held = true;
        let done = self.walk.held(addr, kind, &mut self.finder);
        self.finder.held = false;
        done.map_err(|e| self.finder.error(e))
    }
}

/// Hears of the pages that are found.
struct Finder<'a> {
    pages: u64,
    bytes: u64,
    /// Where a page does not read.
    unreadable: Option<KeyPath>,
    /// It is below a page that memory refers to.
    held: bool,
    throttle: Throttle<'a>,
    seen: &'a Counter,
}

impl Finder<'_> {
    fn error(&mut self, source: TreeError) -> GcError {
        match (self.unreadable.take(), source) {
            (Some(path), source @ TreeError::Backend(BackendError::Damage { .. })) => {
                GcError::Unreadable { path, source }
            }
            (_, TreeError::Backend(e)) => GcError::Store(StoreError::Backend(e)),
            (Some(path), source) => GcError::Unreadable { path, source },
            (None, _) => GcError::Stopped,
        }
    }
}

impl Visitor for Finder<'_> {
    fn page(&mut self, bytes: u64) -> Result<(), TreeError> {
        self.pages += 1;
        self.bytes += bytes;
        self.seen.add(1);
        let go_on = self.throttle.pause();
        go_on.map_err(|_| TreeError::malformed("a round", "stopped"))
    }

    fn damaged(&mut self, path: &KeyPath, error: TreeError) -> Result<(), TreeError> {
        // Who refers to it may use another store with the same pages, of which this one has a part.
        if self.held && matches!(error, TreeError::MissingPage { .. }) {
            return Ok(());
        }
        self.unreadable = Some(path.clone());
        Err(error)
    }
}
