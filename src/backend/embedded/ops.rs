//! Reading and writing blobs.

use std::collections::HashMap;
use std::ops::{Bound, Range};

use parking_lot::MutexGuard;

use super::pack::{Packs, Pointer, SMALLEST};
use super::record::{self, Write};
use super::tree::{Stored, Tree};
use super::{Embedded, NAME, Writing, check};
use crate::backend::log::from_log;
use crate::backend::{
    Backend, BackendError, Batch, BatchOp, Blob, Capabilities, Deadline, Flaw, MAX_ADDRESS,
    MAX_BATCH, MAX_BLOB, Meter, Operation, Precondition, Result, Sharing, Written, check_address,
    check_size, clip,
};
use crate::journal::Journal;

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
        let last = deadline.lock(&writing.last, operation, address)?;
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
        let present = self.load(operation, address)?;
        precondition.require(operation, address, present.as_deref())
    }

    /// The whole blob at an address.
    fn load(&self, operation: Operation, address: &[u8]) -> Result<Option<Vec<u8>>> {
        self.resolve(
            operation,
            address,
            |bytes| bytes,
            |pointer| self.packs.read(operation, address, pointer),
        )
    }

    /// Reads what stands under an address. What a pointer points to may be gone because the blob
    /// was replaced meanwhile: it is damage only if the pointer still stands there.
    fn resolve<T>(
        &self,
        operation: Operation,
        address: &[u8],
        whole: impl FnOnce(Vec<u8>) -> T,
        packed: impl Fn(&Pointer) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut tried = None;
        loop {
            match self.tree.get(operation, address)? {
                None => return Ok(None),
                Some(Stored::Whole(bytes)) => return Ok(Some(whole(bytes))),
                Some(Stored::Points(pointer)) => match packed(&pointer) {
                    Err(BackendError::Damage { .. }) if tried != Some(pointer) => {
                        tried = Some(pointer);
                    }
                    read => return read.map(Some),
                },
            }
        }
    }

    /// Logs some writes as one record and does them. Large blobs are in the packs by now: `packed`
    /// is where.
    fn write(
        &self,
        operation: Operation,
        address: &[u8],
        (writing, mut last): (&Writing, MutexGuard<'_, u64>),
        writes: &[Write<'_>],
    ) -> Result<()> {
        let seq = last.saturating_add(1);
        let large: Vec<&[u8]> = writes.iter().filter_map(Write::large).collect();
        let pointers = self.packs.append(operation, address, &large)?;
        let mut places = pointers.iter().copied();
        let writes: Vec<Write<'_>> = writes
            .iter()
            .map(|write| match write.large().and_then(|_| places.next()) {
                Some(pointer) => Write::Point {
                    address: write.address(),
                    pointer,
                },
                None => *write,
            })
            .collect();
        let replaced = replaced(&self.tree, operation, &writes)?;
        if let Err(error) = writing.log.append(seq, &record::encode(&writes)) {
            self.packs.take_back(&pointers);
            return Err(from_log(operation, address, error));
        }
        *last = seq;
        self.tree.write(operation, &writes)?;
        self.packs.bury(seq, replaced);
        writing.workers.look_at_packs();
        writing.seal_if_full(&self.tree, &self.packs, seq)
    }
}

impl<'a> Write<'a> {
    /// The blob, if it goes into a pack.
    fn large(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Put { bytes, .. } if bytes.len() >= SMALLEST => Some(bytes),
            _ => None,
        }
    }
}

impl<'a> From<&'a BatchOp> for Write<'a> {
    fn from(op: &'a BatchOp) -> Self {
        match op {
            BatchOp::Put { address, bytes, .. } => Self::Put { address, bytes },
            BatchOp::Delete { address, .. } => Self::Delete { address },
        }
    }
}

/// The blobs in packs that die by these writes.
pub fn replaced(tree: &Tree, operation: Operation, writes: &[Write<'_>]) -> Result<Vec<Pointer>> {
    let mut dead = Vec::new();
    let mut here = HashMap::new();
    for write in writes {
        let address = write.address();
        let before = match here.get(address) {
            Some(before) => *before,
            None => tree.pointer(operation, address)?,
        };
        dead.extend(before);
        if writes.len() > 1 {
            let now = match write {
                Write::Point { pointer, .. } => Some(*pointer),
                Write::Put { .. } | Write::Delete { .. } => None,
            };
            here.insert(address, now);
        }
    }
    Ok(dead)
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
            max_address: MAX_ADDRESS,
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn garbage(&self) -> u64 {
        self.packs.dead_bytes()
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        Ok(self.load(Operation::Get, address)?.map(Blob::new))
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        self.resolve(
            Operation::Get,
            address,
            |bytes| clip(bytes, &range),
            |pointer| {
                let end = range.end.min(u64::from(pointer.length));
                let start = range.start.min(end);
                if end - start == u64::from(pointer.length) {
                    return self.packs.read(Operation::Get, address, pointer);
                }
                let length = usize::try_from(end - start).unwrap_or(usize::MAX);
                self.packs
                    .read_part(Operation::Get, address, pointer, start, length)
            },
        )
    }

    fn length(&self, address: &[u8], deadline: Deadline) -> Result<Option<u64>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        self.resolve(
            Operation::Get,
            address,
            |bytes| bytes.len() as u64,
            |pointer| Ok(u64::from(pointer.length)),
        )
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
        self.write(Operation::Put, address, writing, &[write])?;
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
        self.write(Operation::Delete, address, writing, &[write])?;
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
        self.write(Operation::Apply, b"", writing, &writes)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")?;
        let Some(writing) = &self.writing else {
            return Ok(());
        };
        sync(&self.packs, &writing.log)?;
        writing.workers.look_at_packs();
        Ok(())
    }

    /// What was deleted from packs takes a hole there; what was deleted from tables, merging them
    /// all, which is done when it is worth it.
    fn tidy(&self, deadline: Deadline) -> Result<()> {
        let Some(writing) = &self.writing else {
            return Ok(());
        };
        sync(&self.packs, &writing.log)?;
        self.packs.punch(writing.log.synced());
        {
            let (writing, last) = self.writing(Operation::Sync, b"", deadline)?;
            writing.seal(&self.tree, &self.packs, *last)?;
        }
        writing.workers.tidy(deadline);
        let tidied = writing.log.tidy();
        tidied.map_err(|error| from_log(Operation::Sync, b"", error))
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        // What the log of an open storage still needs changes all the time.
        let needed_after = match self.writing {
            Some(_) => None,
            None => Some(self.tree.flushed()?),
        };
        check::verify(&self.dir, Some(&self.id), needed_after, meter)
    }
}

/// Makes everything durable that was written before: the packs first, for the log points into them.
pub fn sync(packs: &Packs, log: &Journal) -> Result<()> {
    let last = log.last();
    packs.sync()?;
    log.sync_to(last)
        .map_err(|error| from_log(Operation::Sync, b"", error))
}
