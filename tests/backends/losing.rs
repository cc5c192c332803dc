//! A storage in memory that loses what was not synced, as one on disk does with the power.

use std::collections::BTreeMap;

use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{
    Backend, Batch, BatchOp, Blob, Capabilities, Deadline, Precondition, Result, Written,
};
use parking_lot::Mutex;

use crate::storages::soon;

/// An address, and what was written to it; `None` is no blob.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// All blobs.
pub type Blobs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct Past {
    synced: Blobs,
    /// What was written since, each in one step.
    since: Vec<Vec<Change>>,
}

#[derive(Debug, Default)]
pub struct Losing {
    now: Memory,
    past: Mutex<Past>,
}

/// What blobs are after some writes.
pub fn after(blobs: &mut Blobs, writes: &[Change]) {
    for (address, content) in writes {
        match content {
            Some(bytes) => drop(blobs.insert(address.clone(), bytes.clone())),
            None => drop(blobs.remove(address)),
        }
    }
}

impl Losing {
    /// The power goes: of what was not synced, the first `kept` writes stay.
    pub fn lose(&self, kept: usize) {
        let mut past = self.past.lock();
        let Past { synced, since } = &mut *past;
        for writes in since.drain(..).take(kept) {
            after(synced, &writes);
        }
        for address in self.now.list(b"", None, usize::MAX, soon()).unwrap() {
            self.now
                .delete(&address, Precondition::Any, soon())
                .unwrap();
        }
        for (address, bytes) in synced {
            let put = self.now.put(address, bytes, Precondition::Any, soon());
            put.unwrap();
        }
    }

    /// How many writes are not synced.
    pub fn unsynced(&self) -> usize {
        self.past.lock().since.len()
    }

    /// Everything that is there.
    pub fn blobs(&self) -> Blobs {
        let addresses = self.now.list(b"", None, usize::MAX, soon()).unwrap();
        let blob = |address: &[u8]| self.now.get(address, soon()).unwrap().unwrap().bytes;
        addresses
            .into_iter()
            .map(|a| (a.clone(), blob(&a)))
            .collect()
    }

    fn note(&self, writes: Vec<Change>) {
        self.past.lock().since.push(writes);
    }
}

impl Backend for Losing {
    fn name(&self) -> &'static str {
        "losing"
    }

    fn capabilities(&self) -> Capabilities {
        self.now.capabilities()
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        self.now.get(address, deadline)
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let written = self.now.put(address, bytes, precondition, deadline)?;
        self.note(vec![(address.to_vec(), Some(bytes.to_vec()))]);
        Ok(written)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let there = self.now.delete(address, precondition, deadline)?;
        self.note(vec![(address.to_vec(), None)]);
        Ok(there)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        self.now.list(prefix, after, limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        let write = |op: &BatchOp| match op {
            BatchOp::Put { address, bytes, .. } => (address.clone(), Some(bytes.clone())),
            BatchOp::Delete { address, .. } => (address.clone(), None),
        };
        let writes = batch.ops().iter().map(write).collect();
        self.now.apply(batch, deadline)?;
        self.note(writes);
        Ok(())
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.now.sync(deadline)?;
        let mut past = self.past.lock();
        past.synced = self.blobs();
        past.since.clear();
        Ok(())
    }
}
