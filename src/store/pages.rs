//! Writing pages, and making them durable before anything that refers to them.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Store, StoreError};
use crate::backend::{Batch, Deadline, Operation, Precondition};
use crate::tree::{Folded, PageSet, page_key};

/// Pages go to the backend in batches of about that many bytes.
const BATCH: usize = 1 << 20;

/// Which pages are durable.
#[derive(Debug, Default)]
pub(super) struct PageWrites {
    /// Counts the batches that have been written.
    written: AtomicU64,
    /// How many of them are known to be durable. Locked while they become so: who comes meanwhile
    /// waits, for its pages may be among them.
    synced: Mutex<u64>,
    /// Bytes of pages written since the last round of freeing, before compression.
    pub(super) since_round: AtomicU64,
    /// During a round: the pages written since it began. Who writes a page enters it here first;
    /// who frees one looks here, and holds the lock until it is gone.
    pub(super) of_round: Mutex<Option<PageSet>>,
}

impl Store {
    /// Puts pages into the backend. Nothing refers to them yet.
    ///
    /// # Errors
    /// Those of the backend; some of the pages may be there then, and nothing refers to them.
    pub fn write_pages(&self, mut folded: Folded<'_>) -> Result<(), StoreError> {
        let pager = &self.inner.pager;
        let pages = &self.inner.pages;
        pages.since_round.fetch_add(folded.bytes, Ordering::Relaxed);
        if let Some(written) = &mut *pages.of_round.lock() {
            folded
                .pages
                .iter()
                .for_each(|(addr, _)| written.insert(addr));
        }
        let mut batch = Batch::new();
        for (addr, bytes) in std::mem::take(&mut folded.pages) {
            batch.put(page_key(&addr), bytes, Precondition::Any);
            if batch.size() > BATCH {
                pager
                    .backend()
                    .apply(std::mem::take(&mut batch), pager.deadline())?;
            }
        }
        if !batch.is_empty() {
            pager.backend().apply(batch, pager.deadline())?;
        }
        pages.written.fetch_add(1, Ordering::AcqRel);
        folded.done();
        Ok(())
    }

    /// Makes all pages that were written before durable.
    pub(super) fn sync_pages(&self) -> Result<(), StoreError> {
        let pages = &self.inner.pages;
        let pager = &self.inner.pager;
        let mut synced = Deadline::of_operation().lock(&pages.synced, Operation::Sync, b"")?;
        let written = pages.written.load(Ordering::Acquire);
        if *synced < written {
            pager.backend().sync(pager.deadline())?;
            *synced = written;
        }
        Ok(())
    }
}
