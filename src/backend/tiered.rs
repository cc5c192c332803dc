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
//! No call waits for the front longer than a second, and after [`TOLERATED`] failures in a row it is left
//! alone for a while.
//!
//! Where a write is to be done before the back has it, the back is one with a queue before it: see
//! [`behind`](super::behind).
//!
//! A blob that the front gives has the version of its content: the back must be one that assigns none.
//!
//! Nobody else may write to the back meanwhile. Stale addresses are known as long as the wrapper lives:
//! a front that was kept is believed only if [`Tiered::is_coherent`] said so when nothing was written
//! any more; else it must be opened as [`Front::Unknown`], and is emptied.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};
use xxhash_rust::xxh3::Xxh3;

use super::{
    Backend, BackendError, Batch, BatchOp, Blob, Capabilities, Deadline, Flaw, Meter, Operation,
    Precondition, Result, Sharing, Written,
};
use crate::meter::Counter;

/// Locks for addresses.
const STRIPES: usize = 64;
/// Bytes of the checksum before a blob in the front.
const SUM: usize = 16;
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
            tally: Tally::default(),
        })
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

    /// Brings what the back has and the front lacks into the front, of the addresses with a prefix;
    /// gives how many blobs it was. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// Those of the back. A front that fails stays as it is.
    pub fn populate(&self, prefix: &[u8], deadline: Deadline) -> Result<u64> {
        let mut brought = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let listed = self.back.list(prefix, after.as_deref(), LISTED, deadline)?;
            for address in &listed {
                if !self.is_stale(address)
                    && !matches!(self.in_front(address, deadline), Some(Some(_)))
                {
                    let found = self.fetch(address, deadline)?;
                    brought += u64::from(found.is_some());
                }
            }
            if listed.len() < LISTED {
                return Ok(brought);
            }
            after = listed.into_iter().next_back();
        }
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

    /// Has the front do what the back has done, or forget the address. With its lock held.
    fn follow(&self, address: &[u8], bytes: Option<&[u8]>, deadline: Deadline) {
        if self.stale.read().all {
            return;
        }
        let fits = |bytes: &&[u8]| {
            let limit = self.front.capabilities().max_blob;
            bytes.len() as u64 + SUM as u64 <= limit
        };
        let done = match bytes.filter(fits) {
            Some(bytes) if self.writes == Writes::Through => {
                let sealed = seal(address, bytes);
                let put = self.ask(Operation::Put, address, deadline, |front, soon| {
                    front.put(address, &sealed, Precondition::Any, soon)
                });
                put.map(drop)
            }
            _ => {
                let gone = self.ask(Operation::Delete, address, deadline, |front, soon| {
                    front.delete(address, Precondition::Any, soon)
                });
                gone.map(drop)
            }
        };
        self.note(address, done);
    }

    /// What the front has: `None` if it cannot be used for the address.
    fn in_front(&self, address: &[u8], deadline: Deadline) -> Option<Option<Vec<u8>>> {
        let get = |front: &dyn Backend, soon| front.get(address, soon);
        match self.ask(Operation::Get, address, deadline, get).ok()? {
            None => Some(None),
            Some(blob) => match open(address, blob.bytes) {
                None => {
                    self.tally.failures.add(1);
                    None
                }
                found => Some(found),
            },
        }
    }

    /// Reads from the back, and brings it to the front.
    fn fetch(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        let _alone = self.lock(Operation::Get, std::iter::once(address), deadline)?;
        let found = self.back.get(address, deadline)?;
        if let Some(blob) = &found {
            let limit = self.front.capabilities().max_blob;
            let fits = blob.bytes.len() as u64 + SUM as u64 <= limit;
            if fits && !self.stale.read().all {
                let sealed = seal(address, &blob.bytes);
                let put = self.ask(Operation::Put, address, deadline, |front, soon| {
                    front.put(address, &sealed, Precondition::Any, soon)
                });
                self.note(address, put);
            }
        }
        Ok(found)
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

fn sum(address: &[u8], bytes: &[u8]) -> [u8; SUM] {
    let mut hash = Xxh3::new();
    hash.update(&(address.len() as u64).to_le_bytes());
    hash.update(address);
    hash.update(bytes);
    hash.digest128().to_le_bytes()
}

fn seal(address: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SUM + bytes.len());
    sealed.extend(sum(address, bytes));
    sealed.extend(bytes);
    sealed
}

/// The bytes of a blob of the front, if they are what was put there.
fn open(address: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (found, bytes) = sealed.split_first_chunk::<SUM>()?;
    if *found != sum(address, bytes) {
        return None;
    }
    sealed.drain(..SUM);
    Some(sealed)
}

impl Backend for Tiered {
    fn name(&self) -> &'static str {
        "tiered"
    }

    fn capabilities(&self) -> Capabilities {
        let back = self.back.capabilities();
        Capabilities {
            // The front does not hear of what others write.
            sharing: match back.sharing {
                Sharing::Shared => Sharing::Exclusive,
                sharing => sharing,
            },
            ..back
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        if PAST.get() {
            return self.back.get(address, deadline);
        }
        if !self.is_stale(address)
            && let Some(Some(bytes)) = self.in_front(address, deadline)
        {
            self.tally.hits.add(1);
            return Ok(Some(Blob::new(bytes)));
        }
        self.tally.misses.add(1);
        self.fetch(address, deadline)
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let _alone = self.lock(Operation::Put, std::iter::once(address), deadline)?;
        self.write(address, Some(bytes), deadline, |back| {
            back.put(address, bytes, precondition, deadline)
        })
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let _alone = self.lock(Operation::Delete, std::iter::once(address), deadline)?;
        self.write(address, None, deadline, |back| {
            back.delete(address, precondition, deadline)
        })
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        self.back.list(prefix, after, limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        let addresses = batch.ops().iter().map(BatchOp::address);
        let _alone = self.lock(Operation::Apply, addresses, deadline)?;
        let ops = batch.ops().to_vec();
        let done = self.back.apply(batch, deadline);
        match &done {
            Err(error) if changed_nothing(error) => return done,
            _ => {}
        }
        for op in ops {
            match &op {
                BatchOp::Put { address, bytes, .. } if done.is_ok() => {
                    self.follow(address, Some(bytes), deadline);
                }
                op => self.follow(op.address(), None, deadline),
            }
        }
        done
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.back.sync(deadline)
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        if self.front.tidy(deadline).is_err() {
            self.tally.failures.add(1);
        }
        self.back.tidy(deadline)
    }

    fn garbage(&self) -> u64 {
        self.front.garbage() + self.back.garbage()
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        self.back.verify(meter)
    }
}
