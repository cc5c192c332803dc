//! Reading and writing blobs.

use super::{PAST, Tiered, changed_nothing};
use crate::backend::{
    Backend, Batch, BatchOp, Blob, Capabilities, Deadline, Flaw, Meter, Operation, Precondition,
    Result, Sharing, Written,
};

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
        let found = self.fetch(address, deadline);
        self.make_room(deadline);
        found
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let alone = self.lock(Operation::Put, std::iter::once(address), deadline)?;
        let done = self.write(address, Some(bytes), deadline, |back| {
            back.put(address, bytes, precondition, deadline)
        });
        drop(alone);
        self.make_room(deadline);
        done
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
        let alone = self.lock(Operation::Apply, addresses, deadline)?;
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
        drop(alone);
        self.make_room(deadline);
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
