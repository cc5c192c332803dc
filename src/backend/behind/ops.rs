//! Reading and writing blobs.

use std::ops::Range;

use parking_lot::MutexGuard;

use super::{Behind, Writing, queue};
use crate::backend::log::record::{self, Write};
use crate::backend::log::{changes, from_log};
use crate::backend::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, Flaw, MAX_BATCH, Meter, Operation,
    Precondition, Result, Sharing, Written, check_address, clip,
};

impl Behind {
    /// The right to write.
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
        Ok((writing, last))
    }

    fn contains(&self, address: &[u8], deadline: Deadline) -> Result<bool> {
        Ok(self.get_range(address, 0..0, deadline)?.is_some())
    }

    /// Queues `payload` as the record of `writes`.
    fn write(
        &self,
        (operation, address): (Operation, &[u8]),
        (writing, mut last): (&Writing, MutexGuard<'_, u64>),
        payload: &[&[u8]],
        writes: &[Write<'_>],
        deadline: Deadline,
    ) -> Result<()> {
        let size = queue::size(writes);
        self.shared
            .wait_for_room((operation, address), size, writing.bound, deadline)?;
        let seq = last.saturating_add(1);
        let logged = writing.log.append_parts(seq, payload);
        logged.map_err(|error| from_log(operation, address, error))?;
        *last = seq;
        self.shared.push(seq, writes);
        Ok(())
    }
}

impl Backend for Behind {
    fn name(&self) -> &'static str {
        "behind"
    }

    fn capabilities(&self) -> Capabilities {
        let back = self.shared.back.capabilities();
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: true,
            sharing: Sharing::Exclusive,
            max_address: back.max_address,
            max_blob: back.max_blob,
            max_batch: if back.atomic_batch {
                back.max_batch
            } else {
                MAX_BATCH
            },
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        let waiting = self.shared.queue.read().get(address);
        match waiting {
            Some(content) => Ok(content.map(|bytes| Blob::new(bytes.to_vec()))),
            None => self.shared.back.get(address, deadline),
        }
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        let waiting = self.shared.queue.read().get(address);
        match waiting {
            Some(content) => Ok(content.map(|bytes| clip(bytes.to_vec(), &range))),
            None => self.shared.back.get_range(address, range, deadline),
        }
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        // What the back would refuse later is refused now.
        self.capabilities()
            .check_blob(Operation::Put, address, bytes)?;
        let writing = self.writing(Operation::Put, address, deadline)?;
        precondition.require_in(self, Operation::Put, address, deadline)?;
        let write = Write::Put { address, bytes };
        let payload: [&[u8]; 3] = [&write.header(), address, bytes];
        let what = (Operation::Put, address);
        self.write(what, writing, &payload, &[write], deadline)?;
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
        precondition.require_in(self, Operation::Delete, address, deadline)?;
        if !self.contains(address, deadline)? {
            return Ok(false);
        }
        let write = Write::Delete { address };
        let payload: [&[u8]; 2] = [&write.header(), address];
        let what = (Operation::Delete, address);
        self.write(what, writing, &payload, &[write], deadline)?;
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
            |start, end, blobs| self.shared.queue.read().changes(start, end, blobs),
            |_, _, count| self.shared.back.list(prefix, after, count, deadline),
        )
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        self.capabilities().check_batch(&batch)?;
        let writes: Vec<Write<'_>> = batch.ops().iter().map(Write::from).collect();
        let writing = self.writing(Operation::Apply, b"", deadline)?;
        for op in batch.ops() {
            let (address, precondition) = (op.address(), op.precondition());
            precondition.require_in(self, Operation::Apply, address, deadline)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let payload = record::encode(&writes);
        let what: (_, &[u8]) = (Operation::Apply, b"");
        self.write(what, writing, &[&payload], &writes, deadline)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")?;
        let Some(writing) = &self.writing else {
            return Ok(());
        };
        let synced = writing.log.sync();
        synced.map_err(|error| from_log(Operation::Sync, b"", error))
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        self.drain(deadline)?;
        if let Some(writing) = &self.writing {
            let tidied = writing.log.tidy();
            tidied.map_err(|error| from_log(Operation::Sync, b"", error))?;
        }
        self.shared.back.tidy(deadline)
    }

    fn garbage(&self) -> u64 {
        self.shared.back.garbage()
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        self.shared.back.verify(meter)
    }
}
