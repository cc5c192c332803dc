//! Reading and writing blobs.

use std::collections::BTreeSet;
use std::ops::Range;

use parking_lot::MutexGuard;

use super::{Entry, GONE, Overlay, entry, of_content, read};
use crate::backend::{
    Backend, Batch, BatchOp, Blob, Capabilities, Deadline, Flaw, Meter, Operation, Precondition,
    Result, Sharing, Written, check_address, clip,
};

/// So many addresses are asked of each side together, or more.
const LISTED: usize = 64;

impl Overlay {
    /// The right to write.
    fn writer(
        &self,
        operation: Operation,
        address: &[u8],
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, ()>> {
        deadline.check(operation, address)?;
        deadline.lock(&self.writer, operation, address)
    }

    /// Whether there is a blob, given what the front says of its address.
    fn is_listed(&self, address: &[u8], deadline: Deadline) -> Result<bool> {
        // The note that a blob is gone is as long as an empty blob, and nothing else is.
        match self.front.length(address, deadline)? {
            Some(1) => {
                let found = self.in_front(Operation::List, address, deadline)?;
                Ok(matches!(found, Some(Entry::Blob(_))))
            }
            found => Ok(found.is_some()),
        }
    }
}

impl Backend for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn capabilities(&self) -> Capabilities {
        let front = self.front.capabilities();
        Capabilities {
            conditional_put: true,
            conditional_delete: true,
            sharing: match front.sharing {
                Sharing::Shared => Sharing::Exclusive,
                sharing => sharing,
            },
            max_blob: front.max_blob.saturating_sub(1),
            // An operation takes a byte more in the front: an eighth is enough for all but the tiniest,
            // of which the front refuses a few more.
            max_batch: front.max_batch - front.max_batch / 8,
            ..front
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        match self.in_front(Operation::Get, address, deadline)? {
            Some(Entry::Blob(bytes)) => Ok(Some(Blob::new(bytes))),
            Some(Entry::Gone) => Ok(None),
            None => Ok(self.back.get(address, deadline)?.map(of_content)),
        }
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let in_entry = 0..range.end.saturating_add(1);
        match self.front.get_range(address, in_entry, deadline)? {
            None => self.back.get_range(address, range, deadline),
            Some(bytes) => Ok(match read(Operation::Get, address, bytes)? {
                Entry::Blob(bytes) => Some(clip(bytes, &range)),
                Entry::Gone => None,
            }),
        }
    }

    fn length(&self, address: &[u8], deadline: Deadline) -> Result<Option<u64>> {
        match self.front.length(address, deadline)? {
            None => self.back.length(address, deadline),
            Some(length @ 2..) => Ok(Some(length - 1)),
            Some(_) => Ok(self
                .get(address, deadline)?
                .map(|blob| blob.bytes.len() as u64)),
        }
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        self.capabilities()
            .check_blob(Operation::Put, address, bytes)?;
        let _writer = self.writer(Operation::Put, address, deadline)?;
        precondition.require_in(self, Operation::Put, address, deadline)?;
        let entry = entry(bytes);
        self.front
            .put(address, &entry, Precondition::Any, deadline)?;
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        let _writer = self.writer(Operation::Delete, address, deadline)?;
        precondition.require_in(self, Operation::Delete, address, deadline)?;
        let in_front = self.in_front(Operation::Delete, address, deadline)?;
        if in_front == Some(Entry::Gone) {
            return Ok(false);
        }
        if self.in_back(address, deadline)? {
            let gone = self
                .front
                .put(address, &[GONE], Precondition::Any, deadline);
            return gone.map(|_| true);
        }
        if in_front.is_none() {
            return Ok(false);
        }
        self.front.delete(address, Precondition::Any, deadline)?;
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
        let mut found = Vec::new();
        let mut after = after.map(<[u8]>::to_vec);
        while found.len() < limit {
            let wanted = (limit - found.len()).max(LISTED);
            let list = |side: &dyn Backend| side.list(prefix, after.as_deref(), wanted, deadline);
            let (mut front, mut back) = (list(&*self.front)?, list(&*self.back)?);
            // Beyond the end of a list that is cut off, only the other side is known.
            let cut_off = [&front, &back].into_iter().filter(|l| l.len() >= wanted);
            let known_to = cut_off.filter_map(|l| l.last()).min().cloned();
            if let Some(end) = &known_to {
                front.retain(|address| address <= end);
                back.retain(|address| address <= end);
            }
            let mut there: BTreeSet<Vec<u8>> = back.into_iter().collect();
            for address in front {
                if self.is_listed(&address, deadline)? {
                    there.insert(address);
                } else {
                    there.remove(&address);
                }
            }
            found.extend(there);
            match known_to {
                Some(end) => after = Some(end),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        self.capabilities().check_batch(&batch)?;
        let _writer = self.writer(Operation::Apply, b"", deadline)?;
        for op in batch.ops() {
            let (address, precondition) = (op.address(), op.precondition());
            precondition.require_in(self, Operation::Apply, address, deadline)?;
        }
        let mut writes = Batch::new();
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { address, bytes, .. } => {
                    writes.put(address, entry(&bytes), Precondition::Any);
                }
                BatchOp::Delete { address, .. } if self.in_back(&address, deadline)? => {
                    writes.put(address, [GONE], Precondition::Any);
                }
                BatchOp::Delete { address, .. } => {
                    writes.delete(address, Precondition::Any);
                }
            }
        }
        self.front.apply(writes, deadline)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.front.sync(deadline)
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        self.front.tidy(deadline)
    }

    fn garbage(&self) -> u64 {
        self.front.garbage()
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        let mut flaws = self.front.verify(meter)?;
        flaws.extend(self.back.verify(meter)?);
        Ok(flaws)
    }
}
