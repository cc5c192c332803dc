//! Snapshots: what the store held at one instant, for reading.
//!
//! Taking one is a journal record that adds a line to a hidden document ([`snapshots`]), whatever the
//! size of the store; the number of that record is the snapshot's epoch. From then on a fold that
//! replaces a record first keeps it under the epoch of the newest snapshot, unless it was written
//! since. The versions that are in memory only are told apart by their own numbers, so that a
//! snapshot is one instant whatever is folded when.
//!
//! A dropped snapshot stays listed, without its name, until its records have been cleared away: those
//! that older snapshots need go to the newest of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::docs::{Epochs, Page, Slots};
use super::record::{self, Doc};
use super::{Store, StoreError, Tx, fork};
use crate::backend::{Batch, Precondition};
use crate::tree::snapshots::{self, Listed};
use crate::tree::{Entry, Op, Time, TreeError, snapshots_key};
use crate::value::Key;

/// Kept records go to the backend in batches of about that many bytes.
const BATCH: usize = 1 << 20;
/// Kept records cleared away at once. Who reads kept records waits meanwhile.
const CLEARED: usize = 64;

/// A document that is not in both of two states of the store what it is in one.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Its key.
    pub key: Key,
    /// What it was.
    pub old: Option<Arc<Doc>>,
    /// What it became.
    pub new: Option<Arc<Doc>>,
}

impl Store {
    /// The snapshots that there are, the oldest first.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn snapshots(&self) -> Result<Vec<Listed>, StoreError> {
        let shown = |(name, _): &(String, _)| !name.starts_with(fork::PREFIX);
        let shown = |s: &Listed| s.taken.as_ref().is_some_and(shown);
        Ok(self.listed()?.into_iter().filter(shown).collect())
    }

    /// All that is listed: also what was dropped, and the states that forks stand on.
    pub(super) fn listed(&self) -> Result<Vec<Listed>, StoreError> {
        self.check_open()?;
        let key = snapshots_key();
        let doc = self.inner.docs.get(&key)?;
        let listed = snapshots::list(doc.as_deref().map(|doc| &doc.entry), self.pager());
        listed.map_err(|e| StoreError::tree(&key, e))
    }

    /// Takes a snapshot, in a time that does not depend on the size of the store.
    ///
    /// # Errors
    /// [`StoreError::SnapshotExists`]; those of the journal.
    pub fn take_snapshot(&self, name: &str) -> Result<Listed, StoreError> {
        self.enlist(name, &|time| snapshots::taken(name, time))
    }

    /// Adds a line to the list of snapshots, which shows what there is then.
    pub(super) fn enlist(
        &self,
        name: &str,
        line: &dyn Fn(Time) -> Entry,
    ) -> Result<Listed, StoreError> {
        let number = Arc::new(AtomicU64::new(0));
        let entry = self.transact(|tx| {
            if tx.snapshot_named(name)?.is_some() {
                let name = name.to_owned();
                return Err(StoreError::SnapshotExists { name });
            }
            let list = vec![snapshots_key()].into();
            if tx.find_name(&[snapshots_key()])?.is_none() {
                tx.put(list, snapshots::empty(), None)?;
            } else {
                tx.push(Op::Touch { path: list })?;
                // The line is added with a lock held: what is read for that is read now.
                tx.find_name(&snapshots::place(u64::MAX))?;
            }
            let entry = line(tx.now);
            let (put, number) = (entry.clone(), Arc::clone(&number));
            tx.numbered = Some(Box::new(move |tx, epoch| {
                tx.put(snapshots::place(epoch), put, None)?;
                tx.on_commit_epochs(move |epochs| {
                    epochs.all.push(epoch);
                    epochs.taken.push(epoch);
                });
                number.store(epoch, Ordering::Release);
                Ok(())
            }));
            Ok(entry)
        })?;
        let epoch = number.load(Ordering::Acquire);
        let listed = snapshots::line(epoch, &entry, self.pager());
        listed.map_err(|e| StoreError::tree(&snapshots_key(), e))
    }

    /// Drops a snapshot. What it alone needs is freed by the next collection.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`]; those of the journal.
    pub fn drop_snapshot(&self, name: &str) -> Result<(), StoreError> {
        self.transact(|tx| {
            let found = tx.snapshot_named(name)?;
            let epoch = found.map(|snapshot| snapshot.epoch);
            tx.drop_epoch(epoch.ok_or_else(|| no_snapshot(name))?)
        })
    }

    /// The store as a snapshot shows it, for reading only.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`]; damage of the list.
    pub fn as_of(&self, name: &str) -> Result<Self, StoreError> {
        let listed = self.snapshots()?;
        let found = listed.into_iter().find(|s| s.is_named(name));
        let at = found.ok_or_else(|| no_snapshot(name))?.epoch;
        Ok(self.at(at))
    }

    /// The store as the snapshot of this epoch shows it.
    #[must_use]
    pub fn at(&self, epoch: u64) -> Self {
        Self {
            at: Some(epoch),
            fork: None,
            ..self.clone()
        }
    }

    /// The epoch of the snapshot that this handle shows; `None`: the present.
    pub fn epoch(&self) -> Option<u64> {
        self.at
    }

    pub(super) fn doc_at(&self, key: &Key, epoch: u64) -> Result<Option<Arc<Doc>>, StoreError> {
        let address = record::address(key);
        let found = self.inner.docs.version_at(&address, Some(key), epoch);
        self.check_taken(epoch)?;
        match found? {
            Some((found, _)) if found != *key => {
                let source = TreeError::malformed("a record", "it belongs to another key");
                Err(StoreError::tree(key, source))
            }
            found => Ok(found.map(|(_, doc)| doc)),
        }
    }

    pub(super) fn page_at(
        &self,
        epoch: u64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let page = self.inner.docs.page_at(epoch, after, limit);
        self.check_taken(epoch)?;
        page
    }

    /// What was read from a snapshot counts only if it was there until then.
    fn check_taken(&self, epoch: u64) -> Result<(), StoreError> {
        match self.inner.docs.epochs().taken.binary_search(&epoch) {
            Ok(_) => Ok(()),
            Err(_) => Err(no_snapshot(&format!("number {epoch}"))),
        }
    }

    /// Up to about `limit` documents that a snapshot shows otherwise than another state: a later
    /// snapshot, or the present; and where to go on. Takes time by what has changed, not by what
    /// there is. `after` is what the call before gave.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`] if one of them is dropped; damage; a failure of the backend.
    pub fn changes_after(
        &self,
        from: u64,
        to: Option<u64>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Changed>, Option<Vec<u8>>), StoreError> {
        self.check_open()?;
        let docs = &self.inner.docs;
        let epochs = docs.epochs();
        let between: Vec<u64> = epochs.from(from).to_vec();
        let between: Vec<u64> = between
            .into_iter()
            .take_while(|epoch| to.is_none_or(|to| *epoch < to))
            .collect();
        let (addresses, next) = docs.addresses_after(&between, after, limit)?;
        let mut changed = Vec::new();
        for address in addresses {
            let old = docs.version_at(&address, None, from)?;
            let new = match to {
                Some(to) => docs.version_at(&address, None, to)?,
                None => docs.live_at(&address)?,
            };
            let key = match old.as_ref().or(new.as_ref()) {
                Some((key, _)) if *key != snapshots_key() => key.clone(),
                _ => continue,
            };
            let (old, new) = (old.map(|(_, doc)| doc), new.map(|(_, doc)| doc));
            if old.as_ref().map(|doc| doc.seq) != new.as_ref().map(|doc| doc.seq) {
                changed.push(Changed { key, old, new });
            }
        }
        self.check_taken(from)?;
        to.map_or(Ok(()), |to| self.check_taken(to))?;
        Ok((changed, next))
    }

    /// Up to about `limit` documents that a snapshot shows, the hidden ones included, as what came
    /// since there was nothing; and where to go on, as [`Store::changes_after`].
    ///
    /// # Errors
    /// As [`Store::changes_after`].
    pub fn all_after(
        &self,
        epoch: u64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Changed>, Option<Vec<u8>>), StoreError> {
        self.check_open()?;
        let page = self.inner.docs.all_at(epoch, after, limit)?;
        self.check_taken(epoch)?;
        let came = page.docs.into_iter().map(|(key, doc)| Changed {
            key,
            old: None,
            new: Some(doc),
        });
        Ok((came.collect(), page.next))
    }

    /// Keeps what snapshots need of what is about to be replaced.
    pub(super) fn keep(
        &self,
        slots: &Slots,
        epochs: &Epochs,
        birth: u64,
    ) -> Result<(), StoreError> {
        if epochs.taken.is_empty() {
            return Ok(());
        }
        let _nothing_moves = self.inner.docs.keeping.read();
        let mut batch = Batch::new();
        for (address, versions) in slots {
            let key = &versions.last.key;
            if *key == snapshots_key() {
                continue;
            }
            let mut all = versions.iter().peekable();
            if let Some(first) = all.peek()
                && let Some(epoch) = epochs.before(first.seq)
                && let Some(blob) = self.to_keep(key, address, epoch, epochs)?
            {
                batch.put(record::address_at(epoch, address), blob, Precondition::Any);
            }
            while let (Some(slot), Some(next)) = (all.next(), all.peek()) {
                if let Some(epoch) = epochs.needing(slot.seq, next.seq) {
                    let doc = match &slot.doc {
                        Some(doc) => Some(self.in_pages(key, doc, birth)?),
                        None => None,
                    };
                    let at = record::address_at(epoch, address);
                    let blob = record::seal_at(&at, key, doc.as_ref(), self.pager())?;
                    batch.put(at, blob, Precondition::Any);
                }
            }
            if batch.size() > BATCH {
                self.apply(std::mem::take(&mut batch))?;
            }
        }
        self.apply(batch)
    }

    /// The blob of what stands in a live record, for an epoch; `None` if no snapshot needs it.
    pub(super) fn to_keep(
        &self,
        key: &Key,
        address: &[u8],
        epoch: u64,
        epochs: &Epochs,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let at = record::address_at(epoch, address);
        match self.inner.docs.stored(key, address) {
            Ok(Some(doc)) if doc.seq > epoch => Ok(None),
            Ok(Some(doc)) => record::seal_at(&at, key, Some(&doc), self.pager()).map(Some),
            // Where something was removed since, it is kept.
            Ok(None) if self.is_kept(address, epochs.from(epoch))? => Ok(None),
            Ok(None) => record::seal_at(&at, key, None, self.pager()).map(Some),
            // What is damaged stays so: under another address its checksum is wrong in any case.
            Err(StoreError::Damaged { .. } | StoreError::Tree { .. }) => {
                if self.is_kept(address, epochs.from(epoch))? {
                    return Ok(None);
                }
                let pager = self.pager();
                let blob = pager.backend().get(address, pager.deadline())?;
                Ok(blob.map(|blob| blob.bytes.to_vec()))
            }
            Err(error) => Err(error),
        }
    }

    fn is_kept(&self, address: &[u8], epochs: &[u64]) -> Result<bool, StoreError> {
        for epoch in epochs {
            if self.is_there(&record::address_at(*epoch, address))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn is_there(&self, address: &[u8]) -> Result<bool, StoreError> {
        let pager = self.pager();
        let found = pager.backend().get_range(address, 0..0, pager.deadline())?;
        Ok(found.is_some())
    }

    pub(super) fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        let pager = self.pager();
        if !batch.is_empty() {
            pager.backend().apply(batch, pager.deadline())?;
        }
        Ok(())
    }

    /// Whether records are kept that belong to snapshots which were dropped.
    pub fn has_dropped(&self) -> bool {
        let epochs = self.inner.docs.epochs();
        epochs.taken.len() < epochs.all.len()
    }

    /// Clears away what is kept for snapshots that were dropped, for as long as `goes_on` says so;
    /// what was not done is done by the next call.
    ///
    /// # Errors
    /// Those of the backend and the journal.
    pub fn clear_dropped(&self, goes_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
        self.check_open()?;
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        // Whoever marks what is reached goes through the records in their order.
        let _no_round = self.inner.round_turn.lock();
        loop {
            let epochs = self.inner.docs.epochs();
            // The oldest first: what goes to an older one does not go past another.
            let dropped = epochs.all.iter().find(|e| !epochs.taken.contains(e));
            let Some(&epoch) = dropped else {
                return Ok(());
            };
            while self.clear_some(epoch, &epochs)? {
                if !goes_on() {
                    return Ok(());
                }
            }
            self.transact_as(0, |tx| {
                tx.on_commit_epochs(move |epochs| epochs.all.retain(|other| *other != epoch));
                tx.remove(snapshots::place(epoch), None)
            })?;
        }
    }

    /// Clears away some of what is kept for a dropped snapshot; false if nothing is left.
    fn clear_some(&self, epoch: u64, epochs: &Epochs) -> Result<bool, StoreError> {
        let pager = self.pager();
        let backend = pager.backend();
        let prefix = record::epoch_prefix(epoch);
        let _moves = self.inner.docs.keeping.write();
        let listed = backend.list(&prefix, None, CLEARED, pager.deadline())?;
        let older = epochs.before(epoch);
        let mut batch = Batch::new();
        for address in &listed {
            if let Some(to) = older
                && let Some((_, live)) = record::split(address)
                && !self.is_there(&record::address_at(to, &live))?
                && let Some(blob) = backend.get(address, pager.deadline())?
            {
                let to = record::address_at(to, &live);
                let moved = match record::decode_any(address, &blob.bytes, pager.codec()) {
                    Ok((key, doc)) => record::seal_at(&to, &key, doc.as_deref(), pager)?,
                    Err(_damaged) => blob.bytes.to_vec(),
                };
                batch.put(to, moved, Precondition::Any);
            }
            batch.delete(address.clone(), Precondition::Any);
        }
        self.apply(batch)?;
        Ok(!listed.is_empty())
    }
}

pub(super) fn no_snapshot(name: &str) -> StoreError {
    StoreError::NoSnapshot {
        name: name.to_owned(),
    }
}

impl Tx<'_> {
    /// Puts a whole document back, also a hidden one. What names of linked files it brings and takes
    /// is not counted: see [`Tx::all_put_back`].
    ///
    /// # Errors
    /// Those of the backend.
    pub fn put_back(
        &mut self,
        key: &Key,
        entry: Option<Entry>,
        is_there: bool,
    ) -> Result<(), StoreError> {
        let path = vec![key.clone()].into();
        match entry {
            Some(entry) => self.put(path, entry, None),
            None if is_there => self.remove(path, None),
            None => Ok(()),
        }
    }

    /// Everything was put back that has changed since a snapshot, the hidden documents with their
    /// counts included: nothing is left to be counted.
    pub fn all_put_back(&mut self) {
        self.moved.clear();
    }

    fn snapshot_named(&mut self, name: &str) -> Result<Option<Listed>, StoreError> {
        let pager = self.pager();
        let key = snapshots_key();
        let list = snapshots::list(self.draft(&key)?.entry.as_ref(), pager);
        let list = list.map_err(|e| StoreError::tree(&key, e))?;
        Ok(list.into_iter().find(|snapshot| snapshot.is_named(name)))
    }
}

impl<'a> Tx<'a> {
    pub(super) fn drop_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.on_commit_epochs(move |epochs| epochs.taken.retain(|other| *other != epoch));
        self.put(snapshots::place(epoch), snapshots::dropped(), None)
    }

    fn on_commit_epochs(&mut self, change: impl FnOnce(&mut Epochs) + 'a) {
        let docs = &self.store.inner.docs;
        self.on_commit(move || {
            let mut epochs = Epochs::clone(&docs.epochs());
            change(&mut epochs);
            docs.set_epochs(epochs);
        });
    }
}
