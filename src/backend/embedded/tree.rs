//! The engine: a log-structured merge tree without a log.
//!
//! ```text
//! address (1 to 512 bytes)      -> 0 | the blob
//!                               -> 1 | a pointer into the packs
//! 513 times FF                  -> the log's record up to which the tables have everything: u64
//! 513 times FF | pack: u64 BE   -> end of the pack: u64 | bytes of dead blobs in it: u64
//! ```
//!
//! Numbers are little-endian but for the pack's, which must be in order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::compaction::Leveled;
use lsm_tree::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard, SeqNo,
    SequenceNumberCounter,
};
use parking_lot::RwLock;
use tracing::debug;

use super::failure::guarded;
use super::leftovers::Before;
use super::manifest::{self, CURRENT};
use super::mirror::Mirror;
use super::pack::{POINTER, Pack, Pointer};
use super::record::Write;
use crate::backend::{
    Access, BackendError, Deadline, MAX_ADDRESS, Operation, Result, end_of_prefix,
};

const MIB: u64 = 1024 * 1024;

/// Blocks kept in memory.
const CACHE: u64 = 8 * MIB;

/// Table files kept open, but for those that are read just then.
const OPEN_FILES: usize = 128;

/// The size of a table below the first level.
const TABLE: u64 = 16 * MIB;

/// The entry that says how far the log is contained in the tables. Longer than any address, and
/// behind all of them.
const MARK: [u8; MAX_ADDRESS + 1] = [0xFF; MAX_ADDRESS + 1];

/// What a value begins with.
const WHOLE: u8 = 0;
const POINTS: u8 = 1;

/// Reads see everything that has been written. So no earlier version of the tree is ever asked for:
/// its tables can go as soon as the next one is durable, which is after the step that makes it. With
/// a lower bound the engine would keep them until a later step, which may never come.
const NOW: SeqNo = SeqNo::MAX;

/// An open tree. Writes must come one at a time; everything else may be called from any thread.
pub struct Tree {
    tree: AnyTree,
    dir: PathBuf,
    next: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    strategy: Arc<Leveled>,
    /// Held for writing while a batch goes into the memtable, so that no read sees a part of it.
    batch: RwLock<()>,
    /// Held for reading while tables are made.
    step: RwLock<()>,
    /// Where the engine looks for files that it has not open, if that is not `dir`.
    mirror: Option<Mirror>,
}

/// What stands under an address.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// The blob.
    Whole(Vec<u8>),
    /// Where it is.
    Points(Pointer),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Tree {
    /// Makes an empty tree in `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        let tree = Self::start(Operation::Create, dir, dir, Some(OPEN_FILES))?;
        tree.let_others_read();
        Ok(tree)
    }

    /// Opens the tree in `dir`, after checking what the engine does not check itself.
    pub fn open(dir: &Path, access: Access) -> Result<Self> {
        match access {
            Access::Read => Self::open_to_read(dir, OPEN_FILES),
            Access::ReadWrite => {
                manifest::verify_all(dir)?;
                let tree = Self::start(Operation::Open, dir, dir, Some(OPEN_FILES))?;
                // Killed at the wrong moment, an earlier process may not have come to it.
                tree.let_others_read();
                Ok(tree)
            }
        }
    }

    /// Opens the tree in `dir` without changing anything there. Up to `open_files` tables are all
    /// kept open, so that nothing is left in the file system by a reader that is killed.
    pub fn open_to_read(dir: &Path, open_files: usize) -> Result<Self> {
        let mirror = Mirror::of(dir)?;
        let limit = (mirror.tables > open_files).then_some(open_files);
        let mut tree = Self::start(Operation::Open, dir, mirror.dir(), limit)?;
        tree.mirror = limit.map(|_| mirror);
        Ok(tree)
    }

    /// Starts the engine on the files in `place`, which are those of `dir`. It keeps no more than
    /// `open_files` tables open, or all.
    fn start(
        operation: Operation,
        dir: &Path,
        place: &Path,
        open_files: Option<usize>,
    ) -> Result<Self> {
        let (next, visible) = <(SequenceNumberCounter, SequenceNumberCounter)>::default();
        let open_files = open_files.map(|limit| Arc::new(DescriptorTable::new(limit)));
        let config = config(place, next.clone(), visible.clone()).use_descriptor_table(open_files);
        guarded(operation, dir.as_os_str().as_encoded_bytes(), || {
            let tree = config.open()?;
            let first = tree.get_highest_seqno().map_or(0, |seqno| seqno + 1);
            next.fetch_max(first);
            visible.fetch_max(first);
            let strategy = Arc::new(Leveled::default().with_table_target_size(TABLE));
            Ok(Self {
                tree,
                dir: dir.to_owned(),
                next,
                visible,
                strategy,
                batch: RwLock::default(),
                step: RwLock::default(),
                mirror: None,
            })
        })
    }

    pub fn get(&self, operation: Operation, address: &[u8]) -> Result<Option<Stored>> {
        let whole_batches = self.batch.read();
        let value = guarded(operation, address, || self.tree.get(address, NOW))?;
        drop(whole_batches);
        match value.map(|value| stored(&value)) {
            Some(None) => Err(BackendError::Damage {
                operation,
                address: address.into(),
                reason: "the engine has neither a blob nor a pointer".to_owned(),
            }),
            Some(stored) => Ok(stored),
            None => Ok(None),
        }
    }

    /// The pointer under an address, if there is one. Reads no blob.
    pub fn pointer(&self, operation: Operation, address: &[u8]) -> Result<Option<Pointer>> {
        let size = guarded(operation, address, || self.tree.size_of(address, NOW))?;
        if size.is_none_or(|size| size as usize != 1 + POINTER) {
            return Ok(None);
        }
        Ok(match self.get(operation, address)? {
            Some(Stored::Points(pointer)) => Some(pointer),
            _ => None,
        })
    }

    pub fn contains(&self, operation: Operation, address: &[u8]) -> Result<bool> {
        let _whole_batches = self.batch.read();
        guarded(operation, address, || self.tree.contains_key(address, NOW))
    }

    /// Up to `limit` addresses from `start` that begin with `prefix`.
    pub fn list(
        &self,
        prefix: &[u8],
        start: Bound<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let end = end_of_prefix(prefix);
        let end = end
            .as_deref()
            .map_or(Bound::Excluded(&MARK[..]), Bound::Excluded);
        let whole_batches = self.batch.read();
        let mut iter = guarded(Operation::List, prefix, || {
            Ok(self.tree.range::<&[u8], _>((start, end), NOW, None))
        })?;
        drop(whole_batches);
        let mut addresses = Vec::new();
        while addresses.len() < limit {
            let next = || iter.next().map(Guard::key).transpose();
            let Some(address) = guarded(Operation::List, prefix, next)? else {
                break;
            };
            addresses.push(address.to_vec());
            if addresses.len() % 256 == 0 {
                deadline.check(Operation::List, prefix)?;
            }
        }
        Ok(addresses)
    }

    /// Does these writes, for readers all at the same moment.
    pub fn write(&self, operation: Operation, writes: &[Write<'_>]) -> Result<()> {
        let _alone = (writes.len() > 1).then(|| self.batch.write());
        guarded(operation, b"", || {
            let seqno = self.next.next();
            // Where an address occurs twice, both entries would have the same number.
            for (at, write) in writes.iter().enumerate() {
                let seqno = if at == 0 { seqno } else { self.next.next() };
                match *write {
                    Write::Put { address, bytes } => {
                        self.tree.insert(address, value(WHOLE, bytes), seqno)
                    }
                    Write::Point { address, pointer } => {
                        self.tree
                            .insert(address, value(POINTS, &pointer.encode()), seqno)
                    }
                    Write::Delete { address } => self.tree.remove(address, seqno),
                };
                self.visible.fetch_max(seqno + 1);
            }
            Ok(())
        })
    }

    /// Whether as much as `size` has been written since the last [`Tree::seal`].
    pub fn is_full(&self, size: u64) -> Result<bool> {
        guarded(Operation::Put, b"", || {
            Ok(self.tree.active_memtable().size() >= size)
        })
    }

    /// Ends the memtable. Everything up to the log's record `logged` is in it or in earlier ones,
    /// and `packs` is what that has changed of them.
    pub fn seal(&self, logged: u64, packs: &[(u64, Option<Pack>)]) -> Result<()> {
        guarded(Operation::Sync, b"", || {
            let seqno = self.next.next();
            self.tree.insert(MARK, logged.to_le_bytes(), seqno);
            for (number, pack) in packs {
                match pack {
                    Some(pack) => self.tree.insert(pack_key(*number), pack_value(pack), seqno),
                    None => self.tree.remove(pack_key(*number), seqno),
                };
            }
            self.visible.fetch_max(seqno + 1);
            self.tree.rotate_memtable();
            Ok(())
        })
    }

    /// The log's record up to which everything is in the tables, so durable.
    pub fn flushed(&self) -> Result<u64> {
        let mark = guarded(Operation::Open, b"", || self.tree.get(MARK, NOW))?;
        let number = mark.as_deref().and_then(|mark| mark.first_chunk().copied());
        Ok(number.map_or(0, u64::from_le_bytes))
    }

    /// The packs as the tables know them.
    pub fn packs(&self) -> Result<BTreeMap<u64, Pack>> {
        guarded(Operation::Open, b"", || {
            let after = (Bound::Excluded(&MARK[..]), Bound::Unbounded);
            let entries = self.tree.range::<&[u8], _>(after, NOW, None);
            let mut packs = BTreeMap::new();
            for entry in entries {
                let (key, value) = entry.into_inner()?;
                let number = key.last_chunk().copied().map(u64::from_be_bytes);
                if let (Some(number), Some((end, dead))) = (number, value.split_first_chunk())
                    && let Some(dead) = dead.first_chunk()
                {
                    let pack = Pack::new(u64::from_le_bytes(*end), u64::from_le_bytes(*dead));
                    packs.insert(number, pack);
                }
            }
            Ok(packs)
        })
    }

    /// Writes all sealed memtables to tables, durably.
    pub fn flush(&self) -> Result<()> {
        self.step(|| {
            let lock = self.tree.get_flush_lock();
            self.tree.flush(&lock, NOW)?;
            Ok(())
        })
    }

    /// Does one step of merging tables, if one is due, and says whether it did.
    pub fn compact(&self) -> Result<bool> {
        self.step(|| {
            let before = self.tree.current_version().id();
            self.tree.compact(Arc::clone(&self.strategy) as _, NOW)?;
            Ok(self.tree.current_version().id() != before)
        })
    }

    /// Whether so much was deleted that merging everything gives back a good part of the space.
    pub fn is_littered(&self) -> Result<bool> {
        guarded(Operation::Sync, b"", || {
            let deleted = self.tree.tombstone_count();
            Ok(deleted > 0 && deleted * 5 >= self.tree.approximate_len() as u64)
        })
    }

    /// Merges all tables, so that nothing is left of what was deleted.
    pub fn compact_all(&self) -> Result<()> {
        self.step(|| self.tree.major_compact(TABLE, NOW))
    }

    /// Does something that makes tables, and removes what is left of it if it fails.
    fn step<T>(&self, step: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T> {
        let under_way = self.step.read();
        let before = Before::look(&self.dir);
        let outcome = guarded(Operation::Sync, b"", step);
        self.let_others_read();
        drop(under_way);
        if outcome.is_err() {
            let _no_other_step = self.step.write();
            drop(guarded(Operation::Sync, b"", || {
                before.remove_since(&self.dir, &self.tree);
                Ok(())
            }));
        }
        outcome
    }

    /// Gives the file that names the manifest the manifest's permissions. The engine makes the one
    /// as any file, but the other for its owner alone, so that nobody else could read the store.
    fn let_others_read(&self) {
        let adapt = || -> std::io::Result<()> {
            let manifest = format!("v{}", self.tree.current_version().id());
            let wanted = fs::metadata(self.dir.join(manifest))?.permissions();
            let current = self.dir.join(CURRENT);
            if fs::metadata(&current)?.permissions() != wanted {
                fs::set_permissions(&current, wanted)?;
            }
            Ok(())
        };
        let adapted = guarded(Operation::Sync, b"", || Ok(adapt()?));
        if let Err(error) = adapted {
            debug!("others may not be able to read the store: {error}");
        }
    }

    /// The memtables that wait to be flushed, and the tables not yet merged, each of which a read
    /// may have to look into.
    pub fn waiting(&self) -> Result<(usize, usize)> {
        guarded(Operation::Put, b"", || {
            Ok((self.tree.sealed_memtable_count(), self.tree.l0_run_count()))
        })
    }
}

/// A value as the engine has it.
fn value(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + bytes.len());
    value.push(kind);
    value.extend_from_slice(bytes);
    value
}

/// What a value of the engine says, if it is one that is written here.
pub fn stored(value: &[u8]) -> Option<Stored> {
    match value.split_first() {
        Some((&WHOLE, bytes)) => Some(Stored::Whole(bytes.to_vec())),
        Some((&POINTS, pointer)) => Pointer::decode(pointer).map(Stored::Points),
        _ => None,
    }
}

/// Whether a key of the engine says how far the log is in the tables.
pub fn is_mark(key: &[u8]) -> bool {
    key == MARK
}

/// Whether a key of the engine is no address.
pub fn is_own(key: &[u8]) -> bool {
    key.starts_with(&MARK)
}

fn pack_key(number: u64) -> Vec<u8> {
    [&MARK[..], &number.to_be_bytes()].concat()
}

fn pack_value(pack: &Pack) -> Vec<u8> {
    [pack.end.to_le_bytes(), pack.dead.to_le_bytes()].concat()
}

fn config(dir: &Path, next: SequenceNumberCounter, visible: SequenceNumberCounter) -> Config {
    let bloom = |policy| FilterPolicyEntry::Bloom(policy);
    Config::new(dir, next, visible)
        .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE)))
        // Blobs come compressed, or are not worth it.
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .index_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .filter_policy(FilterPolicy::new([
            bloom(BloomConstructionPolicy::FalsePositiveRate(0.0001)),
            bloom(BloomConstructionPolicy::BitsPerKey(10.0)),
        ]))
        // The engine can keep large blobs apart, but publishes a table before the name of the file
        // with its blobs is durable: after a power loss the whole tree may then be unreadable. What
        // is large stands in packs.
        .with_kv_separation(None)
}
