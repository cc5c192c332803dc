//! A wrapper that fails on purpose, the same way each time for the same seed.
//!
//! What happens to a call depends on the seed and the call's number alone, so a run of one thread
//! replays exactly. Flipped and cut bytes are handed out silently, as a bad disk would: noticing
//! is the business of the layer above.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, Operation, Precondition, Result,
    Written,
};

/// How often a hanging call looks whether it may go on.
const HANGING: Duration = Duration::from_millis(10);

/// Which faults occur, and how often. All rates are per thousand calls; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Chooses the calls that fail.
    pub seed: u64,
    /// Calls that fail with [`BackendError::Io`] and do nothing.
    pub error: u16,
    /// Writes that fail with [`BackendError::NoSpace`] and do nothing.
    pub no_space: u16,
    /// Writes that are done but answered with [`BackendError::Io`].
    pub lost_reply: u16,
    /// Reads with one bit flipped.
    pub flip: u16,
    /// Reads that are cut short.
    pub truncate: u16,
    /// Calls that take up to [`Faults::longest_delay`] longer.
    pub delay: u16,
    /// The longest delay.
    pub longest_delay: Duration,
    /// Calls that hang until they are given up or other faults are set.
    pub hang: u16,
    /// Calls that panic, as a bug would make them.
    pub panic: u16,
    /// The call, counted from 0, from which on everything fails with [`BackendError::Stopped`].
    pub stop_at: Option<u64>,
    /// The same, counting only writes and syncs. Reads fail too, once it is reached.
    pub stop_at_write: Option<u64>,
}

/// A backend that fails as its [`Faults`] say.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    faults: RwLock<Faults>,
    calls: AtomicU64,
    writes: AtomicU64,
    hanging: AtomicU64,
}

/// One call's fate.
struct Call {
    number: u64,
    faults: Faults,
}

impl Faulty {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, faults: Faults) -> Self {
        Self {
            inner,
            faults: RwLock::new(faults),
            calls: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            hanging: AtomicU64::new(0),
        }
    }

    /// Other faults from now on; the calls are counted on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.write() = faults;
    }

    /// How many calls there have been, and how many of them were writes or syncs.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.calls.load(Ordering::Relaxed),
            self.writes.load(Ordering::Relaxed),
        )
    }

    /// How many calls hang.
    #[must_use]
    pub fn hanging(&self) -> u64 {
        self.hanging.load(Ordering::Acquire)
    }

    /// Comes back when other faults are set.
    fn hang(
        &self,
        faults: Faults,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        self.hanging.fetch_add(1, Ordering::AcqRel);
        let mut waited = Ok(());
        while waited.is_ok() && *self.faults.read() == faults {
            waited = deadline.wait(HANGING, operation, address);
        }
        self.hanging.fetch_sub(1, Ordering::AcqRel);
        waited
    }

    /// Counts a call, delays it, and fails it if it is to do nothing.
    fn begin(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
        kind: Kind,
    ) -> Result<Call> {
        let faults = *self.faults.read();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let writes = match kind {
            Kind::Read => self.writes.load(Ordering::Relaxed),
            Kind::Write => self.writes.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let stopped_at = |limit: Option<u64>, count: u64| limit.is_some_and(|at| count > at);
        if stopped_at(faults.stop_at, number + 1) || stopped_at(faults.stop_at_write, writes) {
            return Err(BackendError::Stopped {
                operation,
                address: address.into(),
                reason: "stopped on purpose".to_owned(),
            });
        }
        let call = Call { number, faults };
        call.delay(operation, address, deadline)?;
        if call.happens(Fault::Hang, faults.hang) {
            self.hang(faults, operation, address, deadline)?;
        }
        #[expect(clippy::panic, reason = "the fault asked for")]
        if call.happens(Fault::Panic, faults.panic) {
            panic!("{operation} panics on purpose");
        }
        if call.happens(Fault::Error, faults.error) {
            return Err(failure(operation, address));
        }
        if kind == Kind::Write && call.happens(Fault::NoSpace, faults.no_space) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(BackendError::io(operation, address, full));
        }
        Ok(call)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// What may happen to a call; the number separates their random streams.
#[derive(Clone, Copy)]
enum Fault {
    Delay = 1,
    DelayLength,
    Error,
    NoSpace,
    LostReply,
    Flip,
    FlipBit,
    Truncate,
    TruncateLength,
    Hang,
    Panic,
}

impl Call {
    /// A number that depends on the seed, the call and the fault (SplitMix64's finalizer).
    fn random(&self, fault: Fault) -> u64 {
        let stream = self.number.wrapping_mul(16).wrapping_add(fault as u64);
        let mut z = self
            .faults
            .seed
            .wrapping_add(stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn happens(&self, fault: Fault, permille: u16) -> bool {
        self.random(fault) % 1000 < u64::from(permille)
    }

    fn delay(&self, operation: Operation, address: &[u8], deadline: Deadline) -> Result<()> {
        let longest = u64::try_from(self.faults.longest_delay.as_micros()).unwrap_or(u64::MAX);
        if longest == 0 || !self.happens(Fault::Delay, self.faults.delay) {
            return Ok(());
        }
        let length = Duration::from_micros(self.random(Fault::DelayLength) % longest);
        deadline.wait(length, operation, address)
    }

    /// Turns the outcome of a write that was done into a failure, if its reply is to be lost.
    fn reply<T>(&self, operation: Operation, address: &[u8], outcome: T) -> Result<T> {
        if self.happens(Fault::LostReply, self.faults.lost_reply) {
            return Err(failure(operation, address));
        }
        Ok(outcome)
    }

    /// Damages bytes that were read.
    fn damage(&self, bytes: &mut Vec<u8>) {
        let below = |fault, limit: usize| {
            let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
            usize::try_from(self.random(fault) % limit).unwrap_or(0)
        };
        if self.happens(Fault::Flip, self.faults.flip) {
            let bit = below(Fault::FlipBit, bytes.len().saturating_mul(8));
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        if self.happens(Fault::Truncate, self.faults.truncate) {
            bytes.truncate(below(Fault::TruncateLength, bytes.len()));
        }
    }

    fn damage_blob(&self, blob: Option<Blob>) -> Option<Blob> {
        blob.map(|mut blob| {
            self.damage(&mut blob.bytes);
            blob
        })
    }
}

fn failure(operation: Operation, address: &[u8]) -> BackendError {
    BackendError::io(
        operation,
        address,
        std::io::Error::other("failed on purpose"),
    )
}

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        let call = self.begin(Operation::Get, address, deadline, Kind::Read)?;
        Ok(call.damage_blob(self.inner.get(address, deadline)?))
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let call = self.begin(Operation::Get, address, deadline, Kind::Read)?;
        let found = self.inner.get_range(address, range, deadline)?;
        Ok(found.map(|mut bytes| {
            call.damage(&mut bytes);
            bytes
        }))
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let call = self.begin(Operation::Put, address, deadline, Kind::Write)?;
        let written = self.inner.put(address, bytes, precondition, deadline)?;
        call.reply(Operation::Put, address, written)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let call = self.begin(Operation::Delete, address, deadline, Kind::Write)?;
        let existed = self.inner.delete(address, precondition, deadline)?;
        call.reply(Operation::Delete, address, existed)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        self.begin(Operation::List, prefix, deadline, Kind::Read)?;
        self.inner.list(prefix, after, limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        let call = self.begin(Operation::Apply, b"", deadline, Kind::Write)?;
        self.inner.apply(batch, deadline)?;
        call.reply(Operation::Apply, b"", ())
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        let call = self.begin(Operation::Sync, b"", deadline, Kind::Write)?;
        self.inner.tidy(deadline)?;
        call.reply(Operation::Sync, b"", ())
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        let call = self.begin(Operation::Sync, b"", deadline, Kind::Write)?;
        self.inner.sync(deadline)?;
        call.reply(Operation::Sync, b"", ())
    }
}
