//! A storage in memory, for tests and for data that need not outlive the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::RwLock;

use super::{
    Backend, Batch, BatchOp, Blob, Capabilities, Deadline, MAX_ADDRESS, MAX_BATCH, MAX_BLOB,
    Operation, Precondition, Result, Sharing, Written, check_address, check_size,
};

/// Blobs in a sorted map. Gone when dropped.
#[derive(Debug, Default)]
pub struct Memory {
    blobs: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Memory {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: false,
            sharing: Sharing::Process,
            max_address: MAX_ADDRESS,
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        Ok(self.blobs.read().get(address).cloned().map(Blob::new))
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        check_address(Operation::Put, address)?;
        check_size(Operation::Put, address, bytes)?;
        deadline.check(Operation::Put, address)?;
        let mut blobs = self.blobs.write();
        let present = blobs.get(address).map(Vec::as_slice);
        precondition.require(Operation::Put, address, present)?;
        blobs.insert(address.to_vec(), bytes.to_vec());
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        deadline.check(Operation::Delete, address)?;
        let mut blobs = self.blobs.write();
        let present = blobs.get(address).map(Vec::as_slice);
        precondition.require(Operation::Delete, address, present)?;
        Ok(blobs.remove(address).is_some())
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        deadline.check(Operation::List, prefix)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let blobs = self.blobs.read();
        let addresses = blobs
            .range::<[u8], _>((start, Bound::Unbounded))
            .map(|(address, _)| address);
        Ok(addresses
            .take_while(|a| a.starts_with(prefix))
            .take(limit)
            .cloned()
            .collect())
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        batch.check()?;
        deadline.check(Operation::Apply, b"")?;
        let mut blobs = self.blobs.write();
        for op in batch.ops() {
            let present = blobs.get(op.address()).map(Vec::as_slice);
            op.precondition()
                .require(Operation::Apply, op.address(), present)?;
        }
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { address, bytes, .. } => drop(blobs.insert(address, bytes)),
                BatchOp::Delete { address, .. } => drop(blobs.remove(&address)),
            }
        }
        Ok(())
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")
    }
}
