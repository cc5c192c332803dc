//! A storage that can do less: the cases assert what is missing as an error.

use std::sync::Arc;

use konserve_fs::backend::{
    Backend, BackendError, Batch, Blob, Capabilities, Deadline, Operation, Precondition, Result,
    Written,
};

/// A wrapper that takes batches and conditional deletes away.
#[derive(Debug)]
pub struct Limited(Arc<dyn Backend>);

impl Limited {
    pub fn new(inner: Arc<impl Backend + 'static>) -> Self {
        Self(inner)
    }
}

fn unsupported(operation: Operation, address: &[u8], capability: &'static str) -> BackendError {
    BackendError::Unsupported {
        operation,
        address: address.into(),
        backend: "limited",
        capability,
    }
}

impl Backend for Limited {
    fn name(&self) -> &'static str {
        "limited"
    }

    fn capabilities(&self) -> Capabilities {
        let all = self.0.capabilities();
        Capabilities {
            atomic_batch: false,
            conditional_delete: false,
            ..all
        }
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
        self.0.put(address, bytes, precondition, deadline)
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        if precondition != Precondition::Any {
            return Err(unsupported(
                Operation::Delete,
                address,
                "conditional deletes",
            ));
        }
        self.0.delete(address, precondition, deadline)
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

    fn apply(&self, _: Batch, _: Deadline) -> Result<()> {
        Err(unsupported(Operation::Apply, b"", "batches"))
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.0.sync(deadline)
    }
}
