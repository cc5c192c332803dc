//! A file or directory that the kernel knows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::types::Ino;
use super::work::Work;
use crate::tree::Time;
use crate::value::Key;

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
    /// The API replaced the value: what is in the working copy is out of date.
    pub(super) replaced: AtomicBool,
    /// The API replaced the value while it was open for reading: this inode keeps what it had.
    pub(super) detached: AtomicBool,
}

impl Inode {
    pub(super) fn new(ino: Ino, place: Option<Place>, work: Work) -> Self {
        Self {
            ino,
            place: Mutex::new(place),
            work: Mutex::new(work),
            lookups: AtomicU64::new(0),
            handles: AtomicU64::new(0),
            writers: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            detached: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub fn place(&self) -> Option<Place> {
        self.place.lock().clone()
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
