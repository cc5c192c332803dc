//! Bringing what is in a store into the form that its settings ask for, beside those who use it.
//!
//! Each blob is replaced by itself in another form, if it is still the one that was read: whoever
//! writes meanwhile has won, and has written in the present form. So there is no order to keep and
//! nothing to note: wherever this is cut short every blob is one or the other, both read, and the
//! next run passes over those that are done.

use super::header::{HEADER, Header, unknown};
use super::{Store, StoreError, record};
use crate::backend::{BackendError, Batch, BatchOp, Deadline, Operation, Precondition};
use crate::codec::{HEADER_LENGTH, Settings};
use crate::tree::{TreeError, hex};

/// Blobs go to the backend in batches of about that many bytes.
const BATCH: usize = 1 << 20;
/// A part ends when so many bytes were read.
const PART: usize = 8 << 20;
/// The first byte of the addresses of pages; those of records come behind.
const PAGE: u8 = b'p';
const RECORD: u8 = b'r';

/// What a part of a rewriting has done.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Blobs that were written anew.
    pub rewritten: u64,
    /// What did not read and was left as it is.
    pub damaged: Vec<StoreError>,
    /// The address after which it goes on; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Store {
    /// Writes blobs in this way from now on. What there is stays as it is, and reads as before.
    ///
    /// # Errors
    /// [`StoreError::Setting`] if the serializer is not known; [`StoreError::ReadOnly`]; a failure
    /// of the backend.
    pub fn change_settings(&self, settings: &Settings) -> Result<(), StoreError> {
        self.check_open()?;
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        let pager = self.pager();
        let not_known = || unknown(self.location(), "serializer", &settings.serializer);
        if !pager.codec().knows(settings) {
            return Err(not_known());
        }
        // The fold writes the header, too.
        let deadline = Deadline::of_operation();
        let _turn = deadline.lock(&self.inner.fold_turn, Operation::Put, HEADER)?;
        let backend = pager.backend();
        let found = Header::read(&**backend, self.location(), pager.deadline())?;
        let header = found.ok_or_else(|| StoreError::NotAStore {
            location: self.location().to_string(),
            reason: "it has no header".to_owned(),
        })?;
        let header = Header {
            settings: settings.clone(),
            ..header
        };
        // First it says so, and then it is so: a program that does not know it keeps away.
        backend.put(HEADER, &header.seal()?, Precondition::Any, pager.deadline())?;
        backend.sync(pager.deadline())?;
        pager.codec().set(settings);
        Ok(())
    }

    /// Brings up to `limit` pages and records, whatever refers to them, into the form that the
    /// settings ask for. What is still in the journal is written in it in any case.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; a failure of the backend.
    pub fn rewrite_some(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rewritten, StoreError> {
        self.check_open()?;
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        let pager = self.pager();
        let backend = pager.backend();
        // No blob has an address of one byte.
        let after = after.unwrap_or(&[PAGE]);
        let listed = backend.list(b"", Some(after), limit, pager.deadline())?;
        let mut done = Rewritten::default();
        let (mut batch, mut read, mut seen) = (Batch::new(), 0, None);
        for address in &listed {
            seen = Some(address.clone());
            if !matches!(address.first(), Some(&(PAGE | RECORD))) {
                continue;
            }
            done.blobs += 1;
            read += self.rewrite(address, &mut batch, &mut done)?;
            if batch.size() > BATCH {
                done.rewritten += self.replace(std::mem::take(&mut batch))?;
            }
            if read > PART {
                break;
            }
        }
        done.rewritten += self.replace(batch)?;
        done.next = seen;
        if done.next.is_none() {
            // The space of what was replaced.
            backend.tidy(pager.deadline())?;
        }
        Ok(done)
    }

    /// Adds the blob at an address in its present form to the batch, unless it is in that already;
    /// the bytes that were read.
    fn rewrite(
        &self,
        address: &[u8],
        batch: &mut Batch,
        done: &mut Rewritten,
    ) -> Result<usize, StoreError> {
        let pager = self.pager();
        let backend = pager.backend();
        let read = || {
            let head = backend.get_range(address, 0..HEADER_LENGTH as u64, pager.deadline())?;
            if head.is_none_or(|head| pager.codec().is_present(&head)) {
                return Ok(None);
            }
            backend.get(address, pager.deadline())
        };
        let blob = match read() {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(0),
            Err(damage @ BackendError::Damage { .. }) => {
                done.damaged.push(damage.into());
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        match self.in_present_form(address, &blob.bytes) {
            Ok(form) if form != blob.bytes => {
                let unless_replaced = Precondition::Version(blob.version());
                batch.put(address.to_vec(), form, unless_replaced);
            }
            Ok(_) => {}
            Err(error) => done.damaged.push(error),
        }
        Ok(blob.bytes.len())
    }

    fn in_present_form(&self, address: &[u8], blob: &[u8]) -> Result<Vec<u8>, StoreError> {
        let pager = self.pager();
        let Some((&PAGE, addr)) = address.split_first() else {
            let (key, doc) = record::decode_any(address, blob, pager.codec())?;
            return record::seal_at(address, &key, doc.as_deref(), pager);
        };
        let page = || format!("page {}", hex(addr));
        let failed = |source| StoreError::Damaged {
            key: page(),
            source,
        };
        let codec = pager.codec();
        let belongs = |bytes: &[u8]| pager.address(bytes) == *addr;
        let opened = codec.open_page(address, blob, belongs).map_err(failed)?;
        let sealed = codec.seal_page(address, &opened.meta, &opened.value);
        let sealed = sealed.map_err(failed)?;
        // What is written over what was there must be as good.
        match codec.open_page(address, &sealed, belongs) {
            Ok(again) if again == opened => Ok(sealed),
            _ => Err(StoreError::Tree {
                key: page(),
                source: TreeError::malformed("a page", "it does not come back in another form"),
            }),
        }
    }

    /// Puts what nobody has replaced meanwhile; how many that were.
    fn replace(&self, batch: Batch) -> Result<u64, StoreError> {
        let pager = self.pager();
        let backend = pager.backend();
        let mut count = 0;
        if batch.is_empty() {
            return Ok(0);
        }
        if backend.capabilities().atomic_batch {
            let whole = batch.ops().len() as u64;
            match backend.apply(batch.clone(), pager.deadline()) {
                Ok(()) => return Ok(whole),
                Err(BackendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for op in batch.ops() {
            let BatchOp::Put {
                address,
                bytes,
                precondition,
            } = op
            else {
                continue;
            };
            match backend.put(address, bytes, precondition.clone(), pager.deadline()) {
                Ok(_) => count += 1,
                Err(BackendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }
}
