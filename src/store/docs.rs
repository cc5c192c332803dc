//! The documents in memory: versions that are in the journal only, and a cache of those that are
//! in the backend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::record::{self, Doc, KeyedDoc};
use super::{StoreError, limits, show_key};
use crate::tree::{Pager, TreeError};
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

/// Versions by record address, so that a listing merges them with the backend's.
pub type Slots = BTreeMap<Vec<u8>, Slot>;

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
    /// Raised after new versions were published.
    published: AtomicU64,
    /// Raised whenever records were replaced, so that a reader does not cache what it read before.
    generation: AtomicU64,
}

/// Unwritten versions: `dirty` over `folding` over the records.
#[derive(Default)]
struct Layers {
    dirty: Slots,
    folding: Arc<Slots>,
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
            published: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// Which state of the records readers see.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Which versions readers see: the same number before and after reading is the newest.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The version that is in memory only.
    fn unwritten(&self, address: &[u8]) -> Option<Slot> {
        let layers = self.layers.read();
        layers
            .dirty
            .get(address)
            .or_else(|| layers.folding.get(address))
            .cloned()
    }

    /// The sequence number of an unwritten version.
    pub fn unwritten_seq(&self, key: &Key) -> Option<u64> {
        self.unwritten(&record::address(key)).map(|s| s.seq)
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
        if let Some(slot) = self.unwritten(&address) {
            return Ok((slot.seq, slot.doc));
        }
        if let Some(doc) = self.clean.get(key) {
            return Ok((doc.seq, Some(doc)));
        }
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
        let mut layers = self.layers.write();
        for slot in slots {
            layers.dirty.insert(record::address(&slot.key), slot);
        }
        self.published.fetch_add(1, Ordering::AcqRel);
    }

    /// The documents of the versions that no record holds yet.
    pub fn unwritten_docs(&self) -> Vec<KeyedDoc> {
        let layers = self.layers.read();
        let slots = layers.folding.values().chain(layers.dirty.values());
        slots
            .filter_map(|slot| Some((slot.key.clone(), slot.doc.clone()?)))
            .collect()
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
            .map(|slot| limits::record(&slot.key, slot.doc.as_ref().map(|d| &d.entry)))
            .sum()
    }

    /// Sets the unwritten versions aside for folding; what a failed fold left stays among them.
    pub fn freeze(&self) -> Arc<Slots> {
        let mut layers = self.layers.write();
        let mut slots = Arc::unwrap_or_clone(std::mem::take(&mut layers.folding));
        slots.append(&mut layers.dirty);
        layers.folding = Arc::new(slots);
        Arc::clone(&layers.folding)
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
        let deadline = self.pager.deadline();
        // Unwritten versions are read first: a fold in between moves them into the records.
        let mut unwritten: Slots = {
            let layers = self.layers.read();
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let range = (from, std::ops::Bound::Unbounded);
            let folding = layers.folding.range::<[u8], _>(range).take(limit);
            let dirty = layers.dirty.range::<[u8], _>(range).take(limit);
            folding
                .chain(dirty)
                .map(|(a, s)| (a.clone(), s.clone()))
                .collect()
        };
        let after = after.unwrap_or(record::LIVE);
        let stored = self
            .pager
            .backend()
            .list(record::LIVE, Some(after), limit, deadline)?;
        // Each side was cut off at its limit; beyond the nearer end only one of them is known.
        let mut horizon: Option<Vec<u8>> = None;
        if stored.len() >= limit {
            horizon = stored.last().cloned();
        }
        if unwritten.len() >= limit {
            let end = unwritten.keys().nth(limit.saturating_sub(1)).cloned();
            horizon = match (horizon, end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        if let Some(h) = &horizon {
            unwritten.retain(|a, _| a <= h);
        }
        let wanted: Vec<&[u8]> = stored
            .iter()
            .map(Vec::as_slice)
            .filter(|a| horizon.as_deref().is_none_or(|h| *a <= h) && !unwritten.contains_key(*a))
            .collect();
        let mut found: BTreeMap<Vec<u8>, KeyedDoc> = BTreeMap::new();
        for address in wanted {
            // A record that went away since it was listed was deleted meanwhile.
            let Some(doc) = record::load(address, &self.pager)? else {
                continue;
            };
            found.insert(address.to_vec(), doc);
        }
        for (address, slot) in unwritten {
            if let Some(doc) = slot.doc {
                found.insert(address, (slot.key, doc));
            }
        }
        let docs = found
            .into_iter()
            .filter(|(_, (k, _))| !crate::tree::is_hidden(k))
            .collect();
        Ok(Page {
            docs,
            next: horizon,
        })
    }
}

/// A part of a listing.
#[derive(Debug)]
pub struct Page {
    /// Address, key and document.
    pub docs: Vec<(Vec<u8>, KeyedDoc)>,
    /// Where the listing goes on; `None` at its end.
    pub next: Option<Vec<u8>>,
}
