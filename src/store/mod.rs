//! The store: documents under keys, each operation atomic.
//!
//! [`Store::create`] and [`Store::connect`] give a handle; handles are cheap to clone and may be
//! used from many threads. A write is a transaction ([`Store::transact`]): it reads versions, makes
//! new ones, appends one record to the journal and publishes them; if another write came between, it
//! runs again. Readers never wait for writers. In the background folding (`fold`) writes the new
//! versions into pages and records.
//!
//! A write through the API is on disk when it returns, unless the handle is [`Store::unsynced`]: then
//! it survives the death of the process, and a power loss only after [`Store::sync`].
//!
#![doc = include_str!("konserve.md")]

mod api;
mod asynchronous;
mod binary;
mod check;
mod clock;
mod commit;
mod connect;
mod docs;
mod epochs;
mod error;
mod fold;
mod fork;
mod front;
mod header;
mod hooks;
mod incoming;
mod keys;
mod lifecycle;
mod limits;
mod links;
mod location;
mod log;
mod mark;
mod meters;
mod multi;
mod pages;
mod record;
mod records;
mod registry;
mod rewrite;
mod round;
mod storage;
#[cfg(test)]
mod tests;
mod tx;
mod unfinished;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use uuid::Uuid;

pub use api::{Change, Keys};
pub use asynchronous::{AsyncStore, Pieces, Stream};
pub use binary::{BlobReader, BlobWriter};
pub use check::{Finding, Repair, Report, Watcher, check, repair};
pub use connect::ConnectOptions;
pub use epochs::Changed;
pub use error::StoreError;
pub use fork::PREFIX as FORK_PREFIX;
pub use front::{Copied, Done, FrontOptions};
pub use header::FORMAT;
pub use hooks::{ApiOp, Write, WriteHook};
pub use incoming::Staged;
pub use keys::Encryption;
pub use lifecycle::{CreateOptions, Replica};
pub use location::{AtPath, Custom, Location};
pub use log::Log;
pub use mark::{Incoming, Position, read_identity, write_identity};
pub use meters::{FrontUse, Meters, OverlayUse, Phase, Rounds, Standing};
pub use multi::Condition;
pub use record::{Doc, KeyedDoc, Kind, Meta, Version, parts, read_parts};
pub use rewrite::Rewritten;
pub use round::Round;
pub use tx::Tx;

use crate::backend::encrypted::Encrypted;
use crate::backend::tiered::Tally;
use crate::codec::Settings;
use crate::crypt::Cipher;
use crate::journal::Journal;
use crate::tree::{Entry, Op, Pager, Time};
use crate::value::{Key, edn};

/// A connected store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
    /// Ends the folding thread with the last handle; the thread's own handle has none.
    _life: Option<Arc<lifecycle::Life>>,
    /// Whether API writes wait for the disk.
    synced: bool,
    /// The snapshot that it shows; `None`: the present.
    at: Option<u64>,
    /// The changes over the snapshot, of a private state.
    fork: Option<Arc<fork::Fork>>,
}

#[derive(Debug)]
struct Inner {
    location: Location,
    id: Uuid,
    /// Keys the addresses of pages.
    page_id: Uuid,
    created: Time,
    read_only: bool,
    pager: Arc<Pager>,
    /// What encrypts everything, if the store is encrypted.
    encrypted: Option<Arc<Encrypted>>,
    /// The journal's directory.
    journal_dir: Option<PathBuf>,
    docs: docs::Docs,
    clock: clock::Clock,
    journal: Option<Journal>,
    commit: Mutex<CommitState>,
    /// The last sequence number given, for those who do not hold the commit lock.
    last_seq: AtomicU64,
    pages: pages::PageWrites,
    folding: Mutex<fold::FoldState>,
    fold_wanted: Condvar,
    fold_done: Condvar,
    /// One fold at a time.
    fold_turn: Mutex<()>,
    /// One round of freeing at a time.
    round_turn: Mutex<()>,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
    hooks: hooks::Hooks,
    front: Option<front::Front>,
    overlay: Option<front::overlay::Layer>,
    meters: Meters,
    /// Whether there may be linked files. Set with the commit of the first one.
    links: AtomicBool,
    /// Set once, by the release of the store.
    released: AtomicBool,
    /// Keeps others out of a store in memory.
    guard: Mutex<Option<registry::Guard>>,
    folder: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct CommitState {
    next_seq: u64,
    /// What the records of the versions committed since the last fold began may take.
    records: u64,
    /// During a [`Round`]: what commits have put, taken away and put something else in the place
    /// of, as far as it may have pages.
    moves: Option<Vec<Entry>>,
}

/// Hears of every write in the order of the journal, when it is visible and before the next one.
/// It must be quick and not call the store.
pub trait Observer: Send + Sync {
    /// A record was committed.
    fn committed(&self, commit: &Committed<'_>);

    /// Whether someone has written to what is under a key without committing it, or may do so any
    /// moment. It must be quick and not call the store.
    fn is_in_use(&self, key: &Key) -> bool;
}

/// A record that was committed.
pub struct Committed<'a> {
    /// By whom: [`API`], [`SWEEP`], or who passed another number to [`Store::transact_as`].
    pub origin: u64,
    /// Its number.
    pub seq: u64,
    /// When, by the store's clock.
    pub time: Time,
    /// What it did.
    pub ops: &'a [Op],
    /// The documents as it left them.
    docs: &'a docs::Docs,
    /// The pages of the store.
    pub pager: &'a Pager,
}

/// The origin of what comes through the API.
pub const API: u64 = 0;
/// The origin of what a sweep evicts.
pub const SWEEP: u64 = u64::MAX;

impl Committed<'_> {
    /// The document that the record left under a key which it changed; `None` if it removed it.
    pub fn doc(&self, key: &Key) -> Option<Arc<Doc>> {
        self.docs.unwritten_doc(key)
    }
}

impl std::fmt::Debug for Committed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committed")
            .field("origin", &self.origin)
            .field("seq", &self.seq)
            .field("ops", &self.ops)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

impl Inner {
    fn cipher(&self) -> Option<&Cipher> {
        Some(&**self.encrypted.as_ref()?.cipher())
    }

    fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }
}

impl Store {
    /// The store's UUID.
    pub fn id(&self) -> Uuid {
        self.inner.id
    }

    /// The UUID that keys the addresses of its pages: its own, or that of the store from which it has
    /// received its first snapshot. Stores in which it is the same have the same pages.
    pub fn page_id(&self) -> Uuid {
        self.inner.page_id
    }

    /// Where the store is.
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// When the store was created.
    pub fn created(&self) -> Time {
        self.inner.created
    }

    /// Whether the store refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.inner.read_only || (self.at.is_some() && self.fork.is_none())
    }

    /// How new blobs are written.
    pub fn settings(&self) -> Settings {
        self.inner.pager.codec().settings()
    }

    /// The sequence number of the last write.
    pub fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }

    /// Moves with every write: while it has not moved since before something was read, that is
    /// still so.
    pub fn writes(&self) -> u64 {
        match (&self.fork, self.at) {
            (Some(fork), _) => fork.published(),
            // A snapshot does not change.
            (None, Some(_)) => 0,
            (None, None) => self.inner.docs.published(),
        }
    }

    /// A stamp of the store's clock, later than every one before.
    pub fn now(&self) -> Time {
        self.inner.clock.tick()
    }

    /// The pages of the store.
    pub fn pager(&self) -> &Pager {
        &self.inner.pager
    }

    /// A handle whose writes return before they are on disk (konserve's `sync_blob: false`).
    #[must_use]
    pub fn unsynced(&self) -> Self {
        Self {
            synced: false,
            ..self.clone()
        }
    }

    /// Registers someone who hears of every write from now on, and gives the number of the last one
    /// before.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> u64 {
        let state = self.inner.commit.lock();
        self.inner.observers.write().push(observer);
        state.next_seq - 1
    }

    /// Waits until all [`Observer`]s have heard of every write that can be seen now.
    pub fn wait_until_observed(&self) {
        drop(self.inner.commit.lock());
    }

    /// Whether an [`Observer`] is at work on what is under a key.
    pub fn is_in_use(&self, key: &Key) -> bool {
        let observers = self.inner.observers.read();
        observers.iter().any(|observer| observer.is_in_use(key))
    }

    /// Where a key stands in the order of [`Store::docs_after`].
    pub fn listing_order(key: &Key) -> Vec<u8> {
        record::address(key).into_vec()
    }

    /// What became of reads where the store has a front.
    pub fn front(&self) -> Option<&Tally> {
        self.inner.front.as_ref().map(front::Front::tally)
    }

    /// The directory of the front to which alone is written, if there is one.
    pub fn overlay(&self) -> Option<&Path> {
        Some(self.inner.overlay.as_ref()?.dir())
    }

    /// Free and total bytes of where it is written to; `None` where that has no meaning.
    pub fn space(&self) -> Option<(u64, u64)> {
        let dir = self.overlay().or(self.inner.location.directory())?;
        nix::sys::statvfs::statvfs(dir).ok().map(|v| {
            let unit = v.fragment_size();
            (v.blocks_available() * unit, v.blocks() * unit)
        })
    }

    /// Bytes that the files to which it is written take on disk; `None` where there are none. Looks at
    /// each of them.
    pub fn size_on_disk(&self) -> Option<u64> {
        let dir = self.overlay().or(self.inner.location.directory())?;
        Some(disk_use(dir))
    }

    /// The document under a key as it is now, or in the snapshot.
    pub fn doc(&self, key: &Key) -> Result<Option<Arc<Doc>>, StoreError> {
        Ok(self.version(key)?.1)
    }

    /// The document under a key and the sequence number of its last change, as far as it is known.
    fn version(&self, key: &Key) -> Result<(u64, Option<Arc<Doc>>), StoreError> {
        self.check_open()?;
        if let Some(fork) = &self.fork {
            return self.fork_version(fork, key);
        }
        match self.at {
            None => self.inner.docs.version(key),
            Some(epoch) => {
                let doc = self.doc_at(key, epoch)?;
                Ok((doc.as_ref().map_or(0, |doc| doc.seq), doc))
            }
        }
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.inner.released.load(Ordering::Acquire) {
            return Err(StoreError::Released);
        }
        Ok(())
    }
}

/// A key for messages.
pub(crate) fn show_key(key: &Key) -> String {
    if *key == crate::tree::root_key() {
        return "the root directory".to_owned();
    }
    if *key == crate::tree::links_key() {
        return "the linked files".to_owned();
    }
    if *key == crate::tree::snapshots_key() {
        return "the list of snapshots".to_owned();
    }
    edn::print(&key.value())
}

/// A path for messages.
pub(crate) fn show_path(path: &[Key]) -> String {
    let keys: Vec<String> = path.iter().map(show_key).collect();
    format!("[{}]", keys.join(" "))
}

/// What the files below a directory take. What goes while it is looked at counts nothing.
fn disk_use(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => disk_use(&entry.path()),
        // In units of 512 bytes, whatever the file system's own is.
        Ok(facts) => facts.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
