//! A file storage whose writes return when they are in files.

use konserve_fs::backend::file::Files;
use konserve_fs::backend::{
    Backend, Batch, Blob, Capabilities, Deadline, Precondition, Result, Written,
};

#[derive(Debug)]
pub struct Settled(pub Files);

impl Backend for Settled {
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
        self.0.settle(deadline)?;
        Ok(written)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        let deleted = self.0.delete(address, precondition, deadline)?;
        self.0.settle(deadline)?;
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
        self.0.settle(deadline)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.0.sync(deadline)
    }
}
