//! Reading and writing blobs.

use parking_lot::MutexGuard;

use super::{Files, NAME, Writing};
use crate::backend::log::record::{self, Write};
use crate::backend::log::{changes, from_log};
use crate::backend::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, MAX_ADDRESS, MAX_BATCH, MAX_BLOB,
    Operation, Precondition, Result, Sharing, Written, check_address, check_size,
};

impl Files {
    /// The right to write, once everything that a write may wait for is done.
    fn writing(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<(&Writing, MutexGuard<'_, u64>)> {
        let Some(writing) = &self.writing else {
            return Err(BackendError::ReadOnly {
                operation,
                address: address.into(),
            });
        };
        deadline.check(operation, address)?;
        let last = deadline.lock(&writing.last, operation, address)?;
        self.shared.wait_for_room(operation, address, deadline)?;
        Ok((writing, last))
    }

    fn read(&self, operation: Operation, address: &[u8]) -> Result<Option<Vec<u8>>> {
        let unapplied = self.shared.overlay.read().get(address).cloned();
        match unapplied {
            Some(content) => Ok(content.map(|bytes| bytes.to_vec())),
            None => self.shared.disk.read(operation, address),
        }
    }

    fn contains(&self, operation: Operation, address: &[u8]) -> Result<bool> {
        let unapplied = self.shared.overlay.read().get(address).map(Option::is_some);
        match unapplied {
            Some(there) => Ok(there),
            None => self.shared.disk.contains(operation, address),
        }
    }

    fn require(
        &self,
        operation: Operation,
        address: &[u8],
        precondition: &Precondition,
    ) -> Result<()> {
        if *precondition == Precondition::Any {
            return Ok(());
        }
        let present = self.read(operation, address)?;
        precondition.require(operation, address, present.as_deref())
    }

    /// Logs `payload` as the record of `writes` and does them.
    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        (writing, mut last): (&Writing, MutexGuard<'_, u64>),
        payload: &[&[u8]],
        writes: &[Write<'_>],
    ) -> Result<()> {
        let seq = last.saturating_add(1);
        let logged = writing.log.append_parts(seq, payload);
        logged.map_err(|error| from_log(operation, address, error))?;
        *last = seq;
        self.shared.write(writes, seq);
        Ok(())
    }
}

impl Backend for Files {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: true,
            sharing: Sharing::Exclusive,
            max_address: MAX_ADDRESS,
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        Ok(self.read(Operation::Get, address)?.map(Blob::new))
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
        let writing = self.writing(Operation::Put, address, deadline)?;
        self.require(Operation::Put, address, &precondition)?;
        let write = Write::Put { address, bytes };
        let payload: [&[u8]; 3] = [&write.header(), address, bytes];
        self.write(Operation::Put, address, writing, &payload, &[write])?;
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        let writing = self.writing(Operation::Delete, address, deadline)?;
        self.require(Operation::Delete, address, &precondition)?;
        if !self.contains(Operation::Delete, address)? {
            return Ok(false);
        }
        let write = Write::Delete { address };
        let payload: [&[u8]; 2] = [&write.header(), address];
        self.write(Operation::Delete, address, writing, &payload, &[write])?;
        Ok(true)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        deadline.check(Operation::List, prefix)?;
        changes::list(
            (prefix, after, limit),
            |start, end, blobs| self.shared.overlay.read().changes(start, end, blobs),
            |start, end, count| self.shared.disk.list(start, end, count, deadline),
        )
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        batch.check()?;
        let writing = self.writing(Operation::Apply, b"", deadline)?;
        for op in batch.ops() {
            self.require(Operation::Apply, op.address(), op.precondition())?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let writes: Vec<Write<'_>> = batch.ops().iter().map(Write::from).collect();
        let payload = record::encode(&writes);
        self.write(Operation::Apply, b"", writing, &[&payload], &writes)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")?;
        let Some(writing) = &self.writing else {
            return Ok(());
        };
        writing
            .log
            .sync()
            .map_err(|error| from_log(Operation::Sync, b"", error))
    }
}
