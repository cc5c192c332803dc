//! Reading and writing blobs.

use std::ops::Bound;

use parking_lot::MutexGuard;

use super::{Embedded, NAME, Writing};
use crate::backend::log::from_log;
use crate::backend::record::{self, Write};
use crate::backend::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, MAX_BATCH, MAX_BLOB, Operation,
    Precondition, Result, Sharing, Written, check_address, check_size,
};

impl Embedded {
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
        let Some(last) = writing.last.try_lock_until(deadline.instant()) else {
            return Err(BackendError::Deadline {
                operation,
                address: address.into(),
            });
        };
        writing
            .workers
            .wait_for_room(operation, address, deadline)?;
        Ok((writing, last))
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
        let present = self.tree.get(operation, address)?;
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
        self.tree.write(operation, writes)?;
        writing.seal_if_full(&self.tree, seq)
    }
}

impl Backend for Embedded {
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
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        let found = self.tree.get(Operation::Get, address)?;
        Ok(found.map(|bytes| Blob::new(bytes.to_vec())))
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
        if !self.tree.contains(Operation::Delete, address)? {
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
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.tree.list(prefix, start, limit, deadline)
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
        self.write(
            Operation::Apply,
            b"",
            writing,
            &[&record::encode(&writes)],
            &writes,
        )
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
