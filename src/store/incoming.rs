//! What comes in from another store: it is staged first, then put in place as a whole.
//!
//! Pages are put where they belong, for nothing refers to them yet. Records stand under the last
//! epoch there could be, which no snapshot has. Beside them a mark at the address `i` says how far
//! it is; each step of staging is one batch with the mark in it, so that a crash leaves the state
//! after some step. Staging that is given up, at the latest by the next round of freeing, leaves
//! nothing but unreachable pages.
//!
//! Putting it in place takes as long as what has changed, and more than one batch may hold. So the
//! mark first gets the sequence number that all these records will have: from then on nobody reads the
//! store before it is done, and whoever opens it for writing goes on with it. A record is kept for
//! the snapshots that there are, put in the place of the live one, and removed from the staging in one
//! batch; the rest can be done again from any point. At the end the snapshot is listed by a record of the
//! journal, and the mark removed.

use std::sync::atomic::Ordering;

use super::header::{HEADER, Header};
use super::lifecycle::Replica;
use super::mark::{INCOMING, Incoming};
use super::record::{self, Doc, Version};
use super::{Store, StoreError};
use crate::backend::{Batch, Precondition};
use crate::tree::snapshots::{self, Listed};
use crate::tree::{PageAddr, page_key};
use crate::value::Key;

/// The epoch of staged records.
pub(super) const EPOCH: u64 = u64::MAX;
/// Records are put in place in batches of about that many bytes.
const BATCH: usize = 1 << 20;
/// Records listed in one go.
const LISTED: usize = 256;

/// What is staged in one step.
#[derive(Debug, Default)]
pub struct Staged {
    /// Pages, whose addresses must be those of their bytes.
    pub pages: Vec<(PageAddr, Vec<u8>)>,
    /// What stands under keys, or that nothing does.
    pub records: Vec<Version>,
}

impl Store {
    /// What is on its way in.
    ///
    /// # Errors
    /// Damage of the mark, or a failure of the backend.
    pub fn incoming(&self) -> Result<Option<Incoming>, StoreError> {
        let pager = self.pager();
        let blob = pager.backend().get(INCOMING, pager.deadline())?;
        let codec = pager.codec();
        blob.map_or(Ok(None), |blob| {
            Incoming::open(&blob.bytes, codec).map(Some)
        })
    }

    /// Gives up what is on its way in.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn discard_incoming(&self) -> Result<(), StoreError> {
        let pager = self.pager();
        let backend = pager.backend();
        loop {
            let prefix = record::epoch_prefix(EPOCH);
            let listed = backend.list(&prefix, None, LISTED, pager.deadline())?;
            if listed.is_empty() {
                break;
            }
            let mut batch = Batch::new();
            for address in listed {
                batch.delete(address, Precondition::Any);
            }
            self.apply(batch)?;
        }
        backend.delete(INCOMING, Precondition::Any, pager.deadline())?;
        Ok(())
    }

    /// Takes in a part of a snapshot; with the mark, which says how far it is then.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; a page that is none of this store; those of the backend.
    pub fn stage(&self, staged: Staged, mark: &Incoming) -> Result<(), StoreError> {
        self.check_open()?;
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        let pager = self.pager();
        let mut batch = Batch::new();
        let (key, birth) = (crate::tree::root_key(), self.last_seq());
        for (addr, bytes) in staged.pages {
            let sealed = pager.seal(&addr, birth, &bytes);
            let sealed = sealed.map_err(|e| StoreError::tree(&key, e))?;
            batch.put(page_key(&addr), sealed, Precondition::Any);
        }
        for (key, doc) in staged.records {
            let address = record::address_at(EPOCH, &record::address(&key));
            // Of a store that was read as it was left the sender had some in its journal only.
            let doc = doc.map(|doc| self.in_pages(&key, &doc, birth));
            let blob = record::seal_at(&address, &key, doc.transpose()?.as_ref(), pager)?;
            batch.put(address, blob, Precondition::Any);
        }
        batch.put(
            INCOMING.to_vec(),
            mark.seal(pager.codec())?,
            Precondition::Any,
        );
        self.apply(batch)
    }

    /// Whether nothing was ever written to it, or all of it is gone without a trace but garbage.
    ///
    /// # Errors
    /// A failure of the backend or the journal.
    pub fn is_blank(&self) -> Result<bool, StoreError> {
        self.settle()?;
        let pager = self.pager();
        let live = pager
            .backend()
            .list(record::LIVE, None, 1, pager.deadline())?;
        Ok(live.is_empty())
    }

    /// Makes a store in which nothing is one that is to receive the snapshots of another, once it
    /// is connected again; false if there is something.
    ///
    /// # Errors
    /// A failure of the backend or the journal.
    pub fn become_replica(&self, replica: &Replica) -> Result<bool, StoreError> {
        self.settle()?;
        let pager = self.pager();
        let backend = pager.backend();
        for prefix in [b"p", b"r", b"i"] {
            if !backend.list(prefix, None, 1, pager.deadline())?.is_empty() {
                return Ok(false);
            }
        }
        let found = Header::read(&**backend, self.location(), pager.deadline())?;
        let header = found.map(|header| Header {
            pages: replica.page_id,
            created: replica.created,
            ..header
        });
        if let Some(header) = header {
            let blob = header.seal()?;
            backend.put(HEADER, &blob, Precondition::Any, pager.deadline())?;
            backend.sync(pager.deadline())?;
        }
        Ok(true)
    }

    /// Up to `limit` staged records after an address; an empty answer is the end.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn staged_after(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Version)>, StoreError> {
        let pager = self.pager();
        let prefix = record::epoch_prefix(EPOCH);
        let listed = pager
            .backend()
            .list(&prefix, after, limit, pager.deadline())?;
        let mut found = Vec::new();
        for address in listed {
            found.extend(record::load_any(&address, pager)?.map(|version| (address, version)));
        }
        Ok(found)
    }

    /// Whether something is staged for a key.
    ///
    /// # Errors
    /// A failure of the backend.
    pub fn is_staged(&self, key: &Key) -> Result<bool, StoreError> {
        self.is_there(&record::address_at(EPOCH, &record::address(key)))
    }

    /// Puts what is staged in place, and lists the snapshot that the store is then. Nobody else may
    /// use the store meanwhile.
    ///
    /// # Errors
    /// Those of the backend and the journal. Once it has begun, whoever opens the store for writing
    /// goes on with it.
    pub fn place_incoming(&self, mark: &Incoming) -> Result<(), StoreError> {
        self.settle()?;
        let placing = Some(self.last_seq() + 1);
        let mark = Incoming {
            placing,
            ..mark.clone()
        };
        let pager = self.pager();
        // What is staged before what says that all of it is.
        pager.backend().sync(pager.deadline())?;
        self.stage(Staged::default(), &mark)?;
        pager.backend().sync(pager.deadline())?;
        self.finish_incoming()
    }

    /// Goes on with putting in place what is staged, if that has begun.
    pub(super) fn finish_incoming(&self) -> Result<(), StoreError> {
        let Some(mark) = self.incoming()? else {
            return Ok(());
        };
        let Some(seq) = mark.placing else {
            return Ok(());
        };
        if self.is_read_only() {
            let location = self.location().to_string();
            return Err(StoreError::HalfReceived { location });
        }
        self.settle()?;
        while self.place_some(seq)? {}
        let pager = self.pager();
        pager.backend().sync(pager.deadline())?;
        self.inner.clock.at_least(mark.clock);
        let links = self.doc(&crate::tree::links_key())?.is_some();
        self.inner.links.store(links, Ordering::Release);
        let is_listed = |listed: &Listed| listed.identity(self.id()) == Some(mark.to);
        if !self.snapshots()?.iter().any(is_listed) {
            self.enlist(&mark.name, &|_| snapshots::received(&mark.name, &mark.to))?;
        }
        self.settle()?;
        let backend = pager.backend();
        backend.delete(INCOMING, Precondition::Any, pager.deadline())?;
        Ok(backend.sync(pager.deadline())?)
    }

    /// Puts some of what is staged in place; false if nothing is left.
    fn place_some(&self, seq: u64) -> Result<bool, StoreError> {
        let pager = self.pager();
        let docs = &self.inner.docs;
        let epochs = docs.epochs();
        let _nothing_moves = docs.keeping.read();
        let staged = self.staged_after(None, LISTED)?;
        let more = !staged.is_empty();
        let mut batch = Batch::new();
        let mut placed = Vec::new();
        for (address, (key, doc)) in staged {
            let live = record::address(&key);
            if let Some(epoch) = epochs.before(seq)
                && let Some(blob) = self.to_keep(&key, &live, epoch, &epochs)?
            {
                let kept = record::address_at(epoch, &live);
                batch.put(kept, blob, Precondition::Any);
            }
            let doc = doc.map(|doc| Doc {
                seq,
                ..Doc::clone(&doc)
            });
            match &doc {
                Some(doc) => {
                    let blob = record::seal_at(&live, &key, Some(doc), pager)?;
                    batch.put(&*live, blob, Precondition::Any)
                }
                None => batch.delete(&*live, Precondition::Any),
            };
            batch.delete(address, Precondition::Any);
            placed.push((key, doc.map(std::sync::Arc::new)));
            if batch.size() > BATCH {
                self.apply(std::mem::take(&mut batch))?;
                docs.folded(std::mem::take(&mut placed));
            }
        }
        self.apply(batch)?;
        docs.folded(placed);
        Ok(more)
    }
}
