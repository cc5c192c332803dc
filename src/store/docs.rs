//! The documents in memory: versions that are in the journal only, and a cache of those that are
//! in the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::record::{self, Address, Doc, KeyedDoc};
use super::{StoreError, limits, show_key};
use crate::meter::Counter;
use crate::tree::{CacheUse, Pager, TreeError, snapshots, snapshots_key};
use crate::value::Key;

/// A version that no record holds yet.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The key.
    pub key: Key,
    /// The journal record that made the version.
    pub seq: u64,
    /// The document; `None` if the key was removed.
    pub doc: Option<Arc<Doc>>,
}

/// The versions of a key that no record holds yet.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The present one.
    pub last: Slot,
    /// Those before it that snapshots need, the oldest first.
    pub before: Vec<Slot>,
}

impl Versions {
    /// The version that a snapshot shows; `None` if it shows one from before all these.
    fn at(&self, epoch: u64) -> Option<&Slot> {
        let newest_first = std::iter::once(&self.last).chain(self.before.iter().rev());
        newest_first.into_iter().find(|slot| slot.seq <= epoch)
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.before.iter().chain(std::iter::once(&self.last))
    }
}

/// Versions by record address, so that a listing merges them with the backend's.
pub type Slots = BTreeMap<Address, Versions>;

/// The snapshots that there are.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    /// All under which records are kept, ascending.
    pub all: Vec<u64>,
    /// Those of them that were not dropped, ascending.
    pub taken: Vec<u64>,
}

impl Epochs {
    /// As the list of snapshots has them.
    pub fn of(listed: &[snapshots::Listed]) -> Self {
        let taken = listed.iter().filter(|snapshot| snapshot.taken.is_some());
        Self {
            all: listed.iter().map(|snapshot| snapshot.epoch).collect(),
            taken: taken.map(|snapshot| snapshot.epoch).collect(),
        }
    }

    /// The newest snapshot before a journal record, if it needs what `since` made.
    pub fn needing(&self, since: u64, before: u64) -> Option<u64> {
        let newest = self.before(before)?;
        (since <= newest).then_some(newest)
    }

    /// The newest snapshot before a journal record.
    pub fn before(&self, seq: u64) -> Option<u64> {
        let at = self.taken.partition_point(|epoch| *epoch < seq);
        self.taken.get(at.checked_sub(1)?).copied()
    }

    /// Under which epochs it is to be looked for what a snapshot shows, in this order.
    pub fn from(&self, epoch: u64) -> &[u64] {
        let at = self.all.partition_point(|other| *other < epoch);
        self.all.get(at..).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<Key, Arc<Doc>> for Weight {
    fn weight(&self, key: &Key, doc: &Arc<Doc>) -> u64 {
        key.bytes().len() as u64 + doc.weight()
    }
}

/// The documents of a store.
pub struct Docs {
    pager: Arc<Pager>,
    layers: RwLock<Layers>,
    clean: quick_cache::sync::Cache<Key, Arc<Doc>, Weight>,
    found: Counter,
    missed: Counter,
    /// Raised after new versions were published.
    published: AtomicU64,
    /// Raised whenever records were replaced, so that a reader does not cache what it read before.
    generation: AtomicU64,
    /// Held for writing while records are moved from one epoch to another: a reader that goes
    /// through the epochs would miss them.
    pub(super) keeping: RwLock<()>,
}

/// Unwritten versions: `dirty` over `folding` over the records.
#[derive(Default)]
struct Layers {
    dirty: Slots,
    folding: Arc<Slots>,
    epochs: Arc<Epochs>,
}

impl Layers {
    /// Adds a version of a document to those before it. A snapshot needs the version before if it
    /// was taken in between.
    fn add(slots: &mut Slots, slot: Slot, epochs: &Epochs) {
        use std::collections::btree_map::Entry;
        match slots.entry(record::address(&slot.key)) {
            Entry::Vacant(vacant) => {
                let before = Vec::new();
                vacant.insert(Versions { last: slot, before });
            }
            Entry::Occupied(mut found) => {
                let versions = found.get_mut();
                let seq = slot.seq;
                let old = std::mem::replace(&mut versions.last, slot);
                let kept = old.key != snapshots_key() && epochs.needing(old.seq, seq).is_some();
                if kept {
                    versions.before.push(old);
                }
            }
        }
    }
}

impl std::fmt::Debug for Docs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docs").finish_non_exhaustive()
    }
}

impl Docs {
    /// No documents in memory.
    pub fn new(pager: Arc<Pager>, cache: u64) -> Self {
        let items = usize::try_from(cache / 512).unwrap_or(1024).max(64);
        Self {
            pager,
            layers: RwLock::default(),
            clean: quick_cache::sync::Cache::with_weighter(items, cache, Weight),
            found: Counter::default(),
            missed: Counter::default(),
            published: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            keeping: RwLock::new(()),
        }
    }

    /// The snapshots that there are.
    pub fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.layers.read().epochs)
    }

    /// There are these snapshots now. With the commit lock held: what is published later is not in
    /// them.
    pub fn set_epochs(&self, epochs: Epochs) {
        self.layers.write().epochs = Arc::new(epochs);
    }

    /// Reads which snapshots there are.
    pub fn read_epochs(&self) -> Result<(), StoreError> {
        let key = snapshots_key();
        let doc = self.get(&key)?;
        let listed = snapshots::list(doc.as_deref().map(|doc| &doc.entry), &self.pager);
        let listed = listed.map_err(|e| StoreError::tree(&key, e))?;
        self.set_epochs(Epochs::of(&listed));
        Ok(())
    }

    /// Which state of the records readers see.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Which versions readers see: the same number before and after reading is the newest.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// What `look` finds in the version that is in memory only.
    fn unwritten<T>(&self, address: &[u8], look: impl FnOnce(&Slot) -> T) -> Option<T> {
        let layers = self.layers.read();
        let dirty = layers.dirty.get(address);
        let versions = dirty.or_else(|| layers.folding.get(address));
        versions.map(|versions| look(&versions.last))
    }

    /// The sequence number of an unwritten version.
    pub fn unwritten_seq(&self, key: &Key) -> Option<u64> {
        self.unwritten(&record::address(key), |slot| slot.seq)
    }

    /// The unwritten version of a document, if there is one and it is no removal.
    pub fn unwritten_doc(&self, key: &Key) -> Option<Arc<Doc>> {
        self.unwritten(&record::address(key), |slot| slot.doc.clone())?
    }

    /// The document under a key.
    pub fn get(&self, key: &Key) -> Result<Option<Arc<Doc>>, StoreError> {
        Ok(self.version(key)?.1)
    }

    /// The document under a key and the sequence number of its last change: that of the removal
    /// where that is remembered, else 0, for a key without document.
    pub fn version(&self, key: &Key) -> Result<(u64, Option<Arc<Doc>>), StoreError> {
        let generation = self.generation();
        let address = record::address(key);
        let here = |slot: &Slot| (slot.seq, slot.doc.clone());
        if let Some(version) = self.unwritten(&address, here) {
            self.found.add(1);
            return Ok(version);
        }
        if let Some(doc) = self.clean.get(key) {
            self.found.add(1);
            return Ok((doc.seq, Some(doc)));
        }
        self.missed.add(1);
        let Some((found, doc)) = record::load(&address, &self.pager)? else {
            return Ok((0, None));
        };
        if found != *key {
            let source = TreeError::malformed("a record", "it belongs to another key");
            return Err(StoreError::Tree {
                key: show_key(key),
                source,
            });
        }
        // A fold that finished meanwhile has put the newer version into the cache.
        let layers = self.layers.read();
        if self.generation() == generation {
            self.clean.insert(key.clone(), Arc::clone(&doc));
        }
        drop(layers);
        Ok((doc.seq, Some(doc)))
    }

    /// Publishes new versions.
    pub fn publish(&self, slots: impl IntoIterator<Item = Slot>) {
        let layers = &mut *self.layers.write();
        for slot in slots {
            Layers::add(&mut layers.dirty, slot, &layers.epochs);
        }
        self.published.fetch_add(1, Ordering::AcqRel);
    }

    /// The documents of the versions that no record holds yet.
    pub fn unwritten_docs(&self) -> Vec<KeyedDoc> {
        let layers = self.layers.read();
        let slots = layers.folding.values().chain(layers.dirty.values());
        slots
            .flat_map(Versions::iter)
            .filter_map(|slot| Some((slot.key.clone(), slot.doc.clone()?)))
            .collect()
    }

    /// How the cache of documents has done; versions that are in no record count as found.
    pub fn cache_use(&self) -> CacheUse {
        CacheUse {
            found: self.found.get(),
            missed: self.missed.get(),
            bytes: self.clean.weight(),
            capacity: self.clean.capacity(),
        }
    }

    /// How many documents have a version that is in no record.
    pub fn unwritten_count(&self) -> usize {
        let layers = self.layers.read();
        layers.dirty.len() + layers.folding.len()
    }

    /// Whether everything is in records.
    pub fn is_clean(&self) -> bool {
        let layers = self.layers.read();
        layers.dirty.is_empty() && layers.folding.is_empty()
    }

    /// What the records of all unwritten versions may take.
    pub fn unwritten_weight(&self) -> u64 {
        let layers = self.layers.read();
        let slots = layers.folding.values().chain(layers.dirty.values());
        slots
            .flat_map(Versions::iter)
            .map(|slot| limits::record(&slot.key, slot.doc.as_ref().map(|d| &d.entry)))
            .sum()
    }

    /// Sets the unwritten versions aside for folding, with the snapshots that there are; what a failed
    /// fold left stays among them.
    pub fn freeze(&self) -> (Arc<Slots>, Arc<Epochs>) {
        let layers = &mut *self.layers.write();
        let mut slots = Arc::unwrap_or_clone(std::mem::take(&mut layers.folding));
        if slots.is_empty() {
            slots = std::mem::take(&mut layers.dirty);
        }
        for (_, versions) in std::mem::take(&mut layers.dirty) {
            for slot in versions.before.into_iter().chain([versions.last]) {
                Layers::add(&mut slots, slot, &layers.epochs);
            }
        }
        layers.folding = Arc::new(slots);
        (Arc::clone(&layers.folding), Arc::clone(&layers.epochs))
    }

    /// The document in the live record, from the cache if it is there.
    pub fn stored(&self, key: &Key, address: &[u8]) -> Result<Option<Arc<Doc>>, StoreError> {
        if let Some(doc) = self.clean.get(key) {
            return Ok(Some(doc));
        }
        Ok(record::load(address, &self.pager)?.map(|(_, doc)| doc))
    }

    /// The frozen versions are in records now, in this form.
    pub fn folded(&self, docs: Vec<(Key, Option<Arc<Doc>>)>) {
        let mut layers = self.layers.write();
        self.generation.fetch_add(1, Ordering::AcqRel);
        for (key, doc) in docs {
            match doc {
                Some(doc) => self.clean.insert(key, doc),
                None => {
                    self.clean.remove(&key);
                }
            }
        }
        layers.folding = Arc::default();
    }

    /// Up to about `limit` live documents in the order of their addresses, after an address; an
    /// empty answer is the end. Hidden documents are left out.
    pub fn page_after(&self, after: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        let (addresses, next) = self.addresses_after(&[LIVE_EPOCH], after, limit)?;
        let mut docs = Vec::with_capacity(addresses.len());
        for address in addresses {
            // One that went away since it was listed was deleted meanwhile.
            let found = self.live_at(&address)?;
            docs.extend(found.filter(|(key, _)| !crate::tree::is_hidden(key)));
        }
        Ok(Page { docs, next })
    }

    /// What is live at an address.
    pub fn live_at(&self, address: &[u8]) -> Result<Option<KeyedDoc>, StoreError> {
        if let Some(slot) = self.unwritten(address, Slot::clone) {
            return Ok(slot.doc.map(|doc| (slot.key, doc)));
        }
        // Of a key that does not stand whole in its address nothing is found.
        let key = record::key_in(address);
        match key.and_then(|key| Some((self.clean.get(&key)?, key))) {
            Some((doc, key)) => Ok(Some((key, doc))),
            None => record::load(address, &self.pager),
        }
    }

    /// Like [`Docs::page_after`], as a snapshot shows it.
    pub fn page_at(
        &self,
        epoch: u64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let mut page = self.all_at(epoch, after, limit)?;
        page.docs.retain(|(key, _)| !crate::tree::is_hidden(key));
        Ok(page)
    }

    /// Like [`Docs::page_at`] with the hidden documents that a snapshot shows.
    pub fn all_at(
        &self,
        epoch: u64,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let epochs = self.epochs();
        let under: Vec<u64> = [&[LIVE_EPOCH], epochs.from(epoch)].concat();
        let (addresses, next) = self.addresses_after(&under, after, limit)?;
        let mut docs = Vec::with_capacity(addresses.len());
        for address in addresses {
            docs.extend(self.version_at(&address, None, epoch)?);
        }
        Ok(Page { docs, next })
    }

    /// What a snapshot shows under a live record's address.
    pub fn version_at(
        &self,
        address: &[u8],
        key: Option<&Key>,
        epoch: u64,
    ) -> Result<Option<KeyedDoc>, StoreError> {
        if *address == *record::address(&snapshots_key()) {
            // A snapshot does not show which there were.
            return Ok(None);
        }
        let keyed = |key: &Key, doc: Option<Arc<Doc>>| doc.map(|doc| (key.clone(), doc));
        {
            let layers = self.layers.read();
            let in_layer = |slots: &Slots| slots.get(address)?.at(epoch).cloned();
            let found = in_layer(&layers.dirty).or_else(|| in_layer(&layers.folding));
            if let Some(slot) = found {
                return Ok(keyed(&slot.key, slot.doc));
            }
        }
        // A fold keeps what it replaces before it does so: what is not live any more is kept already.
        let live = match key.and_then(|key| Some((key.clone(), self.clean.get(key)?))) {
            Some(live) => Some(live),
            None => record::load(address, &self.pager)?,
        };
        let changed = live.as_ref().is_some_and(|(_, doc)| doc.seq > epoch);
        if live.is_some() && !changed {
            return Ok(live);
        }
        let _nothing_moves = self.keeping.read();
        let epochs = self.epochs();
        for under in epochs.from(epoch) {
            let kept = record::address_at(*under, address);
            if let Some((key, doc)) = record::load_any(&kept, &self.pager)? {
                if doc.as_ref().is_some_and(|doc| doc.seq > epoch) {
                    return Err(lost(&key));
                }
                return Ok(keyed(&key, doc));
            }
        }
        match live {
            Some((key, _)) if epochs.taken.contains(&epoch) => Err(lost(&key)),
            _ => Ok(None),
        }
    }

    /// Up to about `limit` live addresses under which something is unwritten or has a record under
    /// one of these epochs, and where to go on.
    pub fn addresses_after(
        &self,
        epochs: &[u64],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Addresses, StoreError> {
        let mut found = BTreeSet::new();
        // Each source is cut off at the limit; beyond the nearest end not all are known.
        let mut horizon: Option<Vec<u8>> = None;
        let mut take = |listed: Vec<Vec<u8>>| {
            if listed.len() >= limit {
                let end = listed.last().cloned();
                horizon = match (horizon.take(), end) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            found.extend(listed);
        };
        // Unwritten versions are listed first: a fold in between moves them into the records.
        {
            let layers = self.layers.read();
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let range = (from, std::ops::Bound::Unbounded);
            for slots in [&*layers.folding, &layers.dirty] {
                let listed = slots.range::<[u8], _>(range).take(limit);
                take(listed.map(|(address, _)| address.to_vec()).collect());
            }
        }
        let after = after.unwrap_or(record::LIVE);
        let _nothing_moves = self.keeping.read();
        for epoch in epochs {
            let prefix = record::epoch_prefix(*epoch);
            let from = record::address_at(*epoch, after);
            let deadline = self.pager.deadline();
            let backend = self.pager.backend();
            let listed = backend.list(&prefix, Some(&from), limit, deadline)?;
            let live = listed.iter().filter_map(|address| record::split(address));
            take(live.map(|(_, live)| live).collect());
        }
        if let Some(end) = &horizon {
            found.retain(|address| address <= end);
        }
        Ok((found, horizon))
    }
}

/// Live addresses, and where their listing goes on.
type Addresses = (BTreeSet<Vec<u8>>, Option<Vec<u8>>);

/// Everything that is there is later than the snapshot.
fn lost(key: &Key) -> StoreError {
    let why = "what it was when the snapshot was taken is missing";
    StoreError::tree(key, TreeError::malformed("the record", why))
}

/// The epoch of the live records.
const LIVE_EPOCH: u64 = 0;

/// A part of a listing.
#[derive(Debug)]
pub struct Page {
    /// Keys and documents.
    pub docs: Vec<KeyedDoc>,
    /// Where the listing goes on; `None` at its end.
    pub next: Option<Vec<u8>>,
}
