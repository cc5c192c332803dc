//! Reading and writing blobs.

use std::ops::Range;

use parking_lot::MutexGuard;

use super::names::{Names, each, is_page};
use super::{Encrypted, LONGEST};
use crate::backend::{
    Backend, BackendError, Batch, BatchOp, Blob, Capabilities, Deadline, Flaw, Meter, Operation,
    Precondition, Result, Written, clip,
};
use crate::crypt::{CryptError, OVERHEAD, Padding, slots};

/// Refuses an address that would be too long below.
fn check_address(operation: Operation, address: &[u8]) -> Result<()> {
    if address.is_empty() || address.len() > LONGEST {
        return Err(BackendError::BadAddress {
            operation,
            length: address.len(),
            most: LONGEST,
        });
    }
    Ok(())
}

impl Encrypted {
    /// The right to write to `addresses`, if it takes one.
    fn writer(
        &self,
        operation: Operation,
        mut addresses: impl Iterator<Item = impl AsRef<[u8]>>,
        deadline: Deadline,
    ) -> Result<Option<MutexGuard<'_, Names>>> {
        let named = addresses.find(|address| Names::has_room_for(address.as_ref()));
        named
            .map(|address| deadline.lock(&self.names, operation, address.as_ref()))
            .transpose()
    }

    /// A condition as it is to be said below.
    fn condition(
        &self,
        operation: Operation,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Precondition> {
        let able = self.inner.capabilities();
        let possible = match operation {
            Operation::Delete => able.conditional_delete,
            _ => able.conditional_put,
        };
        if !matches!(precondition, Precondition::Version(_)) || !possible {
            return Ok(precondition);
        }
        let below = self.inner.get(&self.cipher.conceal(address), deadline);
        let below = below.map_err(|error| self.named(error))?;
        let content = below
            .as_ref()
            .map(|blob| self.open(address, blob))
            .transpose()?;
        precondition.require(operation, address, content.as_ref().map(|b| &*b.bytes))?;
        Ok(below.map_or(Precondition::Absent, |blob| {
            Precondition::Version(blob.version())
        }))
    }

    /// The addresses below that no key of the store has made: no list has them.
    ///
    /// # Errors
    /// As [`Backend::list`].
    pub fn foreign(&self, deadline: Deadline) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        each(&*self.inner, b"", deadline, |address| {
            if address != slots::ADDRESS && self.cipher.reveal(&address).is_none() {
                found.push(address);
            }
        })?;
        Ok(found)
    }

    /// The addresses of pages that a list has.
    fn pages(
        &self,
        (prefix, after): (&[u8], Option<&[u8]>),
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        if !prefix.is_empty() && prefix.first() != Some(&b'p') {
            return Ok(Vec::new());
        }
        let prefix = if prefix.is_empty() { b"p" } else { prefix };
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut after = after.map(<[u8]>::to_vec);
        while found.len() < limit {
            let wanted = limit - found.len();
            let listed = self
                .inner
                .list(prefix, after.as_deref(), wanted, deadline)?;
            let end = listed.len() < wanted;
            after = listed.last().cloned().or(after);
            found.extend(listed.into_iter().filter(|address| is_page(address)));
            if end {
                break;
            }
        }
        Ok(found)
    }
}

impl Backend for Encrypted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let below = self.inner.capabilities();
        let room = |bytes: u64| match self.cipher.padding() {
            Padding::None => bytes,
            Padding::Padme => bytes - bytes / 8,
        };
        Capabilities {
            max_address: LONGEST,
            max_blob: room(below.max_blob).saturating_sub(OVERHEAD),
            // Each of a batch is longer below: an eighth is enough for all but tiny ones, of which the
            // storage refuses a few more.
            max_batch: room(below.max_batch - below.max_batch / 8),
            ..below
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        let found = self.inner.get(&self.cipher.conceal(address), deadline);
        let found = found.map_err(|error| self.named(error))?;
        found.map(|blob| self.open(address, &blob)).transpose()
    }

    fn get_range(
        &self,
        address: &[u8],
        range: Range<u64>,
        deadline: Deadline,
    ) -> Result<Option<Vec<u8>>> {
        if range.is_empty() {
            // Only whether there is one is asked for.
            check_address(Operation::Get, address)?;
            let concealed = self.cipher.conceal(address);
            let found = self.inner.get_range(&concealed, 0..0, deadline);
            return found.map_err(|error| self.named(error));
        }
        let found = self.get(address, deadline)?;
        Ok(found.map(|blob| clip(blob.bytes, &range)))
    }

    fn get_many(&self, addresses: &[&[u8]], deadline: Deadline) -> Result<Vec<Option<Blob>>> {
        for address in addresses {
            check_address(Operation::Get, address)?;
        }
        let concealed: Vec<Vec<u8>> = addresses.iter().map(|a| self.cipher.conceal(a)).collect();
        let asked: Vec<&[u8]> = concealed.iter().map(Vec::as_slice).collect();
        let found = self.inner.get_many(&asked, deadline);
        let found = found.map_err(|error| self.named(error))?;
        let pairs = addresses.iter().zip(found);
        pairs
            .map(|(address, blob)| blob.map(|blob| self.open(address, &blob)).transpose())
            .collect()
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        check_address(Operation::Put, address)?;
        self.capabilities()
            .check_blob(Operation::Put, address, bytes)?;
        let sealed = self.seal(Operation::Put, address, bytes)?;
        let mut names = self.writer(Operation::Put, [address].iter(), deadline)?;
        let condition = self.condition(Operation::Put, address, precondition, deadline)?;
        let concealed = self.cipher.conceal(address);
        let done = self.inner.put(&concealed, &sealed, condition, deadline);
        if let Some(names) = &mut names {
            match &done {
                Ok(_) => names.wrote(address, true),
                Err(error) => names.failed(error),
            }
        }
        // The version is that of the content.
        done.map(|_| Written::default())
            .map_err(|error| self.named(error))
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        let mut names = self.writer(Operation::Delete, [address].iter(), deadline)?;
        let condition = self.condition(Operation::Delete, address, precondition, deadline)?;
        let concealed = self.cipher.conceal(address);
        let done = self.inner.delete(&concealed, condition, deadline);
        if let Some(names) = &mut names {
            match &done {
                Ok(_) => names.wrote(address, false),
                Err(error) => names.failed(error),
            }
        }
        done.map_err(|error| self.named(error))
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        deadline.check(Operation::List, prefix)?;
        let below = (&*self.inner, &*self.cipher);
        let mut names = deadline.lock(&self.names, Operation::List, prefix)?;
        let mut found = names
            .list(below, (prefix, after), limit, deadline)
            .map_err(|error| self.named(error))?;
        drop(names);
        let pages = self.pages((prefix, after), limit, deadline);
        found.extend(pages.map_err(|error| self.named(error))?);
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        for op in batch.ops() {
            check_address(Operation::Apply, op.address())?;
        }
        self.capabilities().check_batch(&batch)?;
        let addresses = batch.ops().iter().map(BatchOp::address);
        let mut names = self.writer(Operation::Apply, addresses, deadline)?;
        // Versions are judged here. So are all others then, as the first that does not hold is told.
        let judged = batch
            .ops()
            .iter()
            .any(|op| matches!(op.precondition(), Precondition::Version(_)));
        let mut below = Batch::new();
        let mut wrote = Vec::new();
        for op in batch.into_ops() {
            let there = matches!(op, BatchOp::Put { .. });
            let (address, content, precondition) = match op {
                BatchOp::Put {
                    address,
                    bytes,
                    precondition,
                } => (address, Some(bytes), precondition),
                BatchOp::Delete {
                    address,
                    precondition,
                } => (address, None, precondition),
            };
            if judged && precondition == Precondition::Absent {
                precondition.require_in(self, Operation::Apply, &address, deadline)?;
            }
            let condition = self.condition(Operation::Apply, &address, precondition, deadline)?;
            let concealed = self.cipher.conceal(&address);
            match content {
                Some(content) => {
                    let sealed = self.seal(Operation::Apply, &address, &content)?;
                    below.put(concealed, sealed, condition);
                }
                None => {
                    below.delete(concealed, condition);
                }
            }
            if Names::has_room_for(&address) {
                wrote.push((address, there));
            }
        }
        let done = self.inner.apply(below, deadline);
        if let Some(names) = &mut names {
            match &done {
                Ok(()) => wrote
                    .iter()
                    .for_each(|(address, there)| names.wrote(address, *there)),
                Err(error) => names.failed(error),
            }
        }
        done.map_err(|error| self.named(error))
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        self.inner.sync(deadline)
    }

    fn tidy(&self, deadline: Deadline) -> Result<()> {
        self.inner.tidy(deadline)
    }

    fn garbage(&self) -> u64 {
        self.inner.garbage()
    }

    fn verify(&self, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
        let mut flaws = self.inner.verify(meter)?;
        let foreign = match self.foreign(Deadline::of_operation()) {
            // Of its own damage the storage has told.
            Err(BackendError::Damage { .. }) => Vec::new(),
            foreign => foreign?,
        };
        flaws.extend(foreign.into_iter().map(|address| Flaw {
            place: format!("the blob at {}", address.escape_ascii()),
            reason: CryptError::Authentication.to_string(),
            harmless: false,
        }));
        Ok(flaws)
    }
}
