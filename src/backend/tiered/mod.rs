//! A fast storage, the front, before another, the back, which has the truth.
//!
//! Everything that is written is in the back when the write returns; the front is a cache of it that
//! may lack anything, fail at any time, and never decides anything: preconditions, lists and batches
//! are the back's. What the front gives is believed only with its own checksum:
//!
//! ```text
//! a blob in the front:  XXH3-128 of address length (u64 LE), address, bytes (16 bytes, LE) | bytes
//! ```
//!
//! An address whose write in the front failed is *stale* from then on: it is read from the back until a
//! write of it in the front succeeds. The writes of one address go to both sides under one lock, so
//! that they come in the same order to both; what a read brings to the front is read under that
//! lock, too, so that it cannot come after what a later write brings.
//!
//! A front may have a bound ([`Tiered::bounded`]): then copies go from it, those that were not read for
//! longest first, about (see `shelf`). A copy is never all there is of a blob, so any may go.
//!
//! No call waits for the front longer than a second, and after [`TOLERATED`] failures in a row it is left
//! alone for a while.
//!
//! # What konserve calls these, and what there is not
//!
//! | konserve | here |
//! |---|---|
//! | write-through | [`Writes::Through`] |
//! | write-around | [`Writes::Around`] |
//! | write-behind | [`Writes::Through`] or [`Writes::Around`] before a [`Behind`](super::behind::Behind) |
//! | frontend-first reads, populating | every read |
//! | populate-missing on connect | [`Tiered::populate`]: only what the front lacks is read |
//! | full sync on connect | no more is needed: nothing is in the front that is not in the back, or in the queue, which goes on by itself; a front that is not known to be so is emptied |
//! | frontend-only writes | [`Overlay`](super::overlay::Overlay): the front has the truth of what was written, over a back that stays as it is |
//! | frontend-only reads | not here: a document is the pages that it refers to, and of these the front has those that were read; without the back nobody could tell which keys can be read whole, and every list would be an error. A store that is to be read where its back is not is a replica, which receives its snapshots |
//!
//! The front belongs to the wrapper, which deletes in it what it likes; in the back nothing is deleted but
//! what a caller deletes.
//!
//! Where a write is to be done before the back has it, the back is one with a queue before it: see
//! [`behind`](super::behind).
//!
//! A blob that the front gives has the version of its content: the back must be one that assigns none.
//!
//! Nobody else may write to the back meanwhile. Stale addresses are known as long as the wrapper lives:
//! a front that was kept is believed only if [`Tiered::is_coherent`] said so when nothing was written
//! any more; else it must be opened as [`Front::Unknown`], and is emptied.

mod copies;
mod fill;
mod ops;
mod shelf;

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{Backend, BackendError, Deadline, Operation, Precondition, Result};
use crate::meter::Counter;
use shelf::Shelf;

/// Locks for addresses.
const STRIPES: usize = 64;
/// With more stale addresses the front is not used any more.
const MOST_STALE: usize = 100_000;
/// Addresses listed in one go.
const LISTED: usize = 1000;
/// How long a call to the front may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so many failures in a row the front is left alone.
pub const TOLERATED: u32 = 8;
/// For so long.
const PAUSE: Duration = Duration::from_secs(5);

thread_local! {
    /// Whether this thread reads past fronts.
    static PAST: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with all reads of this thread going to the back, and nothing of them to the front: for who
/// wants to know how the back is.
pub fn past_the_front<T>(f: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            PAST.set(self.0);
        }
    }
    let _before = Before(PAST.replace(true));
    f()
}

/// What a write does with the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It goes to both (konserve's write-through).
    Through,
    /// It goes to the back, and the front forgets the address (write-around).
    Around,
}

/// What is known of a front that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// It was coherent when it was used last, and the back has not been written to since.
    Coherent,
    /// Nothing: what it has is removed.
    Unknown,
}

/// What became of reads and of the front.
#[derive(Debug, Default)]
pub struct Tally {
    /// Reads that the front answered.
    pub hits: Counter,
    /// Reads that the back answered.
    pub misses: Counter,
    /// Calls to the front that failed, and blobs of it that were damaged.
    pub failures: Counter,
    /// Copies that went from the front as it was full.
    pub evicted: Counter,
}

/// How the front does.
#[derive(Debug, Default)]
struct Health {
    failures: u32,
    paused: Option<Instant>,
}

#[derive(Debug, Default)]
struct Stale {
    /// The front is not used any more.
    all: bool,
    addresses: HashSet<Vec<u8>>,
}

/// A front and a back as one storage.
#[derive(Debug)]
pub struct Tiered {
    front: Arc<dyn Backend>,
    back: Arc<dyn Backend>,
    writes: Writes,
    stripes: [Mutex<()>; STRIPES],
    stale: RwLock<Stale>,
    health: Mutex<Health>,
    /// Where the front has a bound.
    shelf: Option<Mutex<Shelf>>,
    tally: Tally,
}

impl Tiered {
    /// Puts `front` before `back`.
    ///
    /// # Errors
    /// Those of the front, if it must be emptied and cannot be.
    pub fn open(
        front: Arc<dyn Backend>,
        back: Arc<dyn Backend>,
        writes: Writes,
        known: Front,
        deadline: Deadline,
    ) -> Result<Self> {
        if known == Front::Unknown {
            loop {
                let listed = front.list(b"", None, LISTED, deadline)?;
                if listed.is_empty() {
                    break;
                }
                for address in listed {
                    front.delete(&address, Precondition::Any, deadline)?;
                }
            }
        }
        Ok(Self {
            front,
            back,
            writes,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            stale: RwLock::default(),
            health: Mutex::default(),
            shelf: None,
            tally: Tally::default(),
        })
    }

    /// With up to this many bytes of copies and their addresses in the front. What is in it already is
    /// looked through, and what is too much goes.
    ///
    /// # Errors
    /// Those of the front.
    pub fn bounded(mut self, bytes: u64, deadline: Deadline) -> Result<Self> {
        let mut shelf = Shelf::new(bytes);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let listed = self.front.list(b"", after.as_deref(), LISTED, deadline)?;
            for address in &listed {
                if let Some(length) = self.front.length(address, deadline)? {
                    shelf.put(address, length + address.len() as u64);
                }
            }
            if listed.len() < LISTED {
                break;
            }
            after = listed.into_iter().next_back();
        }
        self.shelf = Some(Mutex::new(shelf));
        self.make_room(deadline);
        Ok(self)
    }

    /// The bytes of all copies and their addresses, where the front has a bound.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.shelf.as_ref().map(|shelf| shelf.lock().used())
    }

    /// Whether the front has nothing that the back has not. True for later only if nothing was being
    /// written, and nothing is any more.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        let stale = self.stale.read();
        !stale.all && stale.addresses.is_empty()
    }

    /// How many addresses are read from the back for a failure of the front.
    #[must_use]
    pub fn stale(&self) -> usize {
        self.stale.read().addresses.len()
    }

    /// What became of reads and of the front.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn stripe(address: &[u8]) -> usize {
        let hash = xxhash_rust::xxh3::xxh3_64(address);
        usize::try_from(hash % STRIPES as u64).unwrap_or(0)
    }

    /// The locks of these addresses, taken in one order by everybody.
    fn lock<'a>(
        &self,
        operation: Operation,
        addresses: impl Iterator<Item = &'a [u8]>,
        deadline: Deadline,
    ) -> Result<Vec<MutexGuard<'_, ()>>> {
        let stripes: BTreeSet<usize> = addresses.map(Self::stripe).collect();
        let locks = stripes.into_iter().filter_map(|at| self.stripes.get(at));
        locks
            .map(|lock| deadline.lock(lock, operation, b""))
            .collect()
    }

    /// Asks the front, unless it is left alone.
    fn ask<T>(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
        ask: impl FnOnce(&dyn Backend, Deadline) -> Result<T>,
    ) -> Result<T> {
        {
            let mut health = self.health.lock();
            match health.paused {
                Some(until) if Instant::now() < until => {
                    return Err(BackendError::Stopped {
                        operation,
                        address: address.into(),
                        reason: "the front is left alone after failures".to_owned(),
                    });
                }
                _ => health.paused = None,
            }
        }
        let soon = Instant::now() + PATIENCE;
        let done = ask(&*self.front, Deadline::at(deadline.instant().min(soon)));
        let mut health = self.health.lock();
        if done.is_ok() {
            health.failures = 0;
        } else {
            self.tally.failures.add(1);
            health.failures += 1;
            if health.failures >= TOLERATED {
                health.failures = 0;
                health.paused = Some(Instant::now() + PAUSE);
            }
        }
        done
    }

    fn is_stale(&self, address: &[u8]) -> bool {
        let stale = self.stale.read();
        stale.all || (!stale.addresses.is_empty() && stale.addresses.contains(address))
    }

    /// Notes what became of a write in the front. With the address's lock held.
    fn note<T>(&self, address: &[u8], done: Result<T>) {
        match done {
            Ok(_) => {
                if self.is_stale(address) {
                    self.stale.write().addresses.remove(address);
                }
            }
            Err(error) => {
                let mut stale = self.stale.write();
                if stale.addresses.len() >= MOST_STALE && !stale.all {
                    tracing::warn!(%error, "the front is not used any more");
                    stale.all = true;
                    stale.addresses = HashSet::new();
                }
                if !stale.all {
                    stale.addresses.insert(address.to_vec());
                }
            }
        }
    }

    /// Does a write of the back and has the front follow. With the address's lock held.
    fn write<T>(
        &self,
        address: &[u8],
        bytes: Option<&[u8]>,
        deadline: Deadline,
        write: impl FnOnce(&dyn Backend) -> Result<T>,
    ) -> Result<T> {
        let done = write(&*self.back);
        match &done {
            Ok(_) => self.follow(address, bytes, deadline),
            Err(error) if changed_nothing(error) => {}
            // Nobody knows which of the two the back has.
            Err(_) => self.follow(address, None, deadline),
        }
        done
    }
}

/// Whether a failed write is known to have done nothing, by the contract.
fn changed_nothing(error: &BackendError) -> bool {
    matches!(
        error,
        BackendError::Conflict { .. }
            | BackendError::Unsupported { .. }
            | BackendError::ReadOnly { .. }
            | BackendError::BadAddress { .. }
            | BackendError::TooLarge { .. }
    )
}
