//! A file or directory that the kernel knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::types::Ino;
use super::work::Work;
use crate::tree::Time;
use crate::value::Key;

/// Stands for the directory of all linked files, which nobody sees. Numbers have 63 bits.
pub const LINKED: Ino = u64::MAX;

/// Where an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub parent: Ino,
    /// Its name there.
    pub key: Key,
}

/// A file or directory that the kernel knows. It is found through the [`Table`](super::table::Table)
/// until the kernel has forgotten it and nothing is open.
#[derive(Debug)]
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// Where it is, `None` once it has no name. Changed by the table only.
    pub(super) place: Mutex<Option<Place>>,
    /// The names that are known of a linked file, which is in [`LINKED`] itself. Changed by the table
    /// only.
    pub(super) names: Mutex<Vec<Place>>,
    /// The working copy.
    pub work: Mutex<Work>,
    /// References that the kernel holds.
    pub(super) lookups: AtomicU64,
    /// Open handles.
    pub(super) handles: AtomicU64,
    /// Open handles that can write.
    pub(super) writers: AtomicU64,
    /// The working copy has something to commit.
    pub(super) dirty: AtomicBool,
    /// The number that the tree gives the entry. It differs from `ino` where another inode still had
    /// that number.
    number: AtomicU64,
    /// Counts the writes through the API at, above or below its place.
    marks: AtomicU64,
    /// How many of them have been looked into.
    settled: AtomicU64,
}

impl Inode {
    pub(super) fn new(ino: Ino, place: Option<Place>, work: Work) -> Self {
        Self {
            ino,
            place: Mutex::new(place),
            names: Mutex::default(),
            work: Mutex::new(work),
            lookups: AtomicU64::new(0),
            handles: AtomicU64::new(0),
            writers: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            number: AtomicU64::new(ino),
            marks: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Whether there is something to commit, or may be any moment.
    pub(super) fn may_be_written(&self) -> bool {
        self.dirty.load(Ordering::Acquire) || self.writers.load(Ordering::Acquire) > 0
    }

    /// The number that the tree gives the entry: it tells whether what stands at the place is still
    /// the same.
    pub(super) fn number(&self) -> Ino {
        self.number.load(Ordering::Acquire)
    }

    pub(super) fn set_number(&self, number: Ino) {
        self.number.store(number, Ordering::Release);
    }

    /// The API wrote at, above or below the place: what is known of the entry may be out of date.
    pub(super) fn mark(&self) {
        self.marks.fetch_add(1, Ordering::AcqRel);
    }

    /// The mark that has not been looked into, if there is one.
    pub(super) fn marked(&self) -> Option<u64> {
        let marks = self.marks.load(Ordering::Acquire);
        (marks != self.settled.load(Ordering::Acquire)).then_some(marks)
    }

    /// What led to this mark has been looked into; later ones have not.
    pub(super) fn settle(&self, mark: u64) {
        self.settled.fetch_max(mark, Ordering::AcqRel);
    }

    /// Where it is.
    pub fn place(&self) -> Option<Place> {
        self.place.lock().clone()
    }

    /// Where the kernel may know it.
    pub fn names(&self) -> Vec<Place> {
        match self.place() {
            Some(place) if place.parent != LINKED => vec![place],
            _ => self.names.lock().clone(),
        }
    }

    /// Whether a name is one of those it is known by.
    pub fn is_at(&self, parent: Ino, key: &Key) -> bool {
        let names = self.names();
        names.iter().any(|n| n.parent == parent && n.key == *key)
    }

    /// Its number among the linked files, if it is one.
    pub fn link(&self) -> Option<u64> {
        let place = self.place.lock();
        let place = place.as_ref().filter(|place| place.parent == LINKED)?;
        place.key.as_index()
    }

    /// Whether anything is open.
    pub fn is_open(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }
}

/// The number of an entry that has none stored: 63 bits of a hash of its directory's number, its
/// key and its birth; never that of the root or 0.
pub fn derived_ino(parent: Ino, key: &Key, birth: Time) -> Ino {
    let mut h = xxhash_rust::xxh3::Xxh3::with_seed(parent);
    h.update(&birth.secs.to_le_bytes());
    h.update(&birth.nanos.to_le_bytes());
    h.update(key.bytes());
    fit(h.digest())
}

/// Another number for an entry whose own is still in use by what was there before.
pub fn other_ino(ino: Ino) -> Ino {
    fit(xxhash_rust::xxh3::xxh3_64_with_seed(&ino.to_le_bytes(), 1))
}

fn fit(hash: u64) -> Ino {
    (hash & (u64::MAX >> 1)).max(2)
}
