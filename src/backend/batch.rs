//! Several writes that are done together.

use super::{
    Address, BackendError, MAX_BATCH, Operation, Precondition, Result, check_address, check_size,
};

/// One write of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOp {
    /// Make `bytes` the blob at `address`.
    Put {
        /// Where.
        address: Vec<u8>,
        /// The whole new content.
        bytes: Vec<u8>,
        /// Judged against the state before the batch.
        precondition: Precondition,
    },
    /// Remove the blob at `address`, if there is one.
    Delete {
        /// Where.
        address: Vec<u8>,
        /// Judged against the state before the batch.
        precondition: Precondition,
    },
}

impl BatchOp {
    /// The address that is written.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        match self {
            Self::Put { address, .. } | Self::Delete { address, .. } => address,
        }
    }

    /// What must be so before the batch.
    #[must_use]
    pub fn precondition(&self) -> &Precondition {
        match self {
            Self::Put { precondition, .. } | Self::Delete { precondition, .. } => precondition,
        }
    }
}

/// Writes that are done together or not at all. Where an address occurs twice, the last one
/// counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<BatchOp>,
    /// The bytes of all addresses and contents together.
    size: usize,
}

impl Batch {
    /// An empty batch; applying it does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(
        &mut self,
        address: impl Into<Vec<u8>>,
        bytes: impl Into<Vec<u8>>,
        precondition: Precondition,
    ) -> &mut Self {
        let (address, bytes) = (address.into(), bytes.into());
        self.size += address.len() + bytes.len();
        self.ops.push(BatchOp::Put {
            address,
            bytes,
            precondition,
        });
        self
    }

    /// Adds a delete.
    pub fn delete(&mut self, address: impl Into<Vec<u8>>, precondition: Precondition) -> &mut Self {
        let address = address.into();
        self.size += address.len();
        self.ops.push(BatchOp::Delete {
            address,
            precondition,
        });
        self
    }

    /// The writes in order.
    #[must_use]
    pub fn ops(&self) -> &[BatchOp] {
        &self.ops
    }

    /// The writes in order.
    #[must_use]
    pub fn into_ops(self) -> Vec<BatchOp> {
        self.ops
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The bytes of all addresses and contents together.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Refuses a batch that is too large, or has an address or a blob that no backend stores.
    pub fn check(&self) -> Result<()> {
        for op in &self.ops {
            check_address(Operation::Apply, op.address())?;
            if let BatchOp::Put { address, bytes, .. } = op {
                check_size(Operation::Apply, address, bytes)?;
            }
        }
        let size = self.size() as u64;
        if size > MAX_BATCH {
            let (operation, address) = (Operation::Apply, Address::default());
            return Err(BackendError::TooLarge {
                operation,
                address,
                size,
                limit: MAX_BATCH,
            });
        }
        Ok(())
    }
}
