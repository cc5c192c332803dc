//! A storage whose writes return when its work in the background is done.

use konserve_fs::backend::{
    Backend, Batch, Blob, Capabilities, Deadline, Precondition, Result, Written,
};

/// A storage, and how its work is done.
#[derive(Debug)]
pub struct Settled<B>(pub B, pub fn(&B, Deadline) -> Result<()>);

impl<B: Backend> Backend for Settled<B> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        self.0.get(address, deadline)
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        let written = self.0.put(address, bytes, precondition, deadline)?;
        (self.1)(&self.0, deadline)?;
        Ok(written)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let deleted = self.0.delete(address, precondition, deadline)?;
        (self.1)(&self.0, deadline)?;
        Ok(deleted)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        self.0.list(prefix, after, limit, deadline)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        self.0.apply(batch, deadline)?;
        (self.1)(&self.0, deadline)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.0.sync(deadline)
    }
}
