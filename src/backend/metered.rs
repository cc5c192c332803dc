//! A storage whose calls are counted and timed.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::{
    Backend, Batch, Blob, Capabilities, Deadline, Flaw, Meter, Precondition, Result, Written,
};
use crate::meter::{Counter, Group};

const NAMES: &[&str] = &["get", "put", "delete", "list", "apply", "sync", "tidy"];

/// Places among the names.
#[derive(Clone, Copy)]
enum Call {
    Get,
    Put,
    Delete,
    List,
    Apply,
    Sync,
    Tidy,
}

/// What was asked of a storage.
#[derive(Debug)]
pub struct Calls {
    /// The calls by kind; parts and groups of blobs count as `get`.
    pub operations: Group,
    /// Bytes of blobs that were read.
    pub read: Counter,
    /// Bytes of blobs and addresses that were written.
    pub written: Counter,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            operations: Group::new(NAMES),
            read: Counter::default(),
            written: Counter::default(),
        }
    }
}

thread_local! {
    static READ: Cell<u64> = const { Cell::new(0) };
}

/// Bytes of blobs that this thread has read, of whatever storage that is counted.
#[must_use]
pub fn read_by_this_thread() -> u64 {
    READ.get()
}

/// Counts and times the calls of another storage. It is as that one is otherwise.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Backend>,
    calls: Arc<Calls>,
}

impl Metered {
    /// Counts what is asked of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, calls: Arc<Calls>) -> Self {
        Self { inner, calls }
    }

    fn count_read(&self, bytes: u64) {
        self.calls.read.add(bytes);
        READ.set(READ.get().wrapping_add(bytes));
    }

    fn time<T>(&self, call: Call, run: impl FnOnce(&dyn Backend) -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let done = run(&*self.inner);
        let operations = &self.calls.operations;
        operations.add(call as usize, begun, done.is_err());
        done
    }
}

impl Backend for Metered {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        let blob = self.time(Call::Get, |inner| inner.get(address, deadline))?;
        let size = blob.as_ref().map_or(0, |blob| blob.bytes.len());
        self.count_read(size as u64);
        Ok(blob)
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let get = |inner: &dyn Backend| inner.get_range(address, range, deadline);
        let bytes = self.time(Call::Get, get)?;
        self.count_read(bytes.as_ref().map_or(0, Vec::len) as u64);
        Ok(bytes)
    }

    fn get_many(&self, addresses: &[&[u8]], deadline: Deadline) -> Result<Vec<Option<Blob>>> {
        let blobs = self.time(Call::Get, |inner| inner.get_many(addresses, deadline))?;
        let sizes = blobs.iter().flatten().map(|blob| blob.bytes.len() as u64);
        self.count_read(sizes.sum());
        Ok(blobs)
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let put = |inner: &dyn Backend| inner.put(address, bytes, precondition, deadline);
        let written = self.time(Call::Put, put)?;
        let size = address.len() + bytes.len();
        self.calls.written.add(size as u64);
        Ok(written)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let delete = |inner: &dyn Backend| inner.delete(address, precondition, deadline);
        self.time(Call::Delete, delete)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let list = |inner: &dyn Backend| inner.list(prefix, after, limit, deadline);
        self.time(Call::List, list)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        let size = batch.size();
        self.time(Call::Apply, |inner| inner.apply(batch, deadline))?;
        self.calls.written.add(size as u64);
        Ok(())
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.time(Call::Sync, |inner| inner.sync(deadline))
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        self.time(Call::Tidy, |inner| inner.tidy(deadline))
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        self.inner.verify(meter)
    }

    fn garbage(&self) -> u64 {
        self.inner.garbage()
    }
}
