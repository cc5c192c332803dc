//! Which pages memory refers to: every [`PageRef`](super::PageRef) is counted here while it lives.
//!
//! So whoever can still read a page, an open file, a transaction, a cached run, keeps it from being
//! freed by the very reference that leads to it, and no holder can be forgotten. The registry is one
//! for the process: page addresses are keyed by the store, so those of different stores differ, unless
//! one has received the pages of the other. Then a page lives as long as either refers to it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::entry::PageAddr;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// A run of a map, which refers to further pages.
    Run,
    /// Bytes.
    Content,
}

type Shard = HashMap<(PageAddr, PageKind), u32, BuildHasherDefault<AddrHasher>>;

static SHARDS: [Mutex<Shard>; 64] =
    [const { Mutex::new(HashMap::with_hasher(BuildHasherDefault::new())) }; 64];

/// How often [`all`] has been called.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// Addresses are hashes already.
#[derive(Default)]
pub(super) struct AddrHasher(u64);

impl Hasher for AddrHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.as_chunks().0 {
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(*part);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_isize(&mut self, kind: isize) {
        self.0 = self.0.wrapping_add(kind.unsigned_abs() as u64);
    }
}

fn shard(addr: &PageAddr) -> &'static Mutex<Shard> {
    let [first, ..] = *addr;
    let [zero, ..] = &SHARDS;
    SHARDS.get(usize::from(first) % 64).unwrap_or(zero)
}

/// Counts one more reference.
pub(super) fn add(addr: PageAddr, kind: PageKind) {
    *shard(&addr).lock().entry((addr, kind)).or_insert(0) += 1;
}

/// Counts one reference less.
pub(super) fn remove(addr: PageAddr, kind: PageKind) {
    if let Entry::Occupied(mut count) = shard(&addr).lock().entry((addr, kind)) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// All pages that memory refers to at one moment. Making and dropping references waits meanwhile.
///
/// Whoever makes references later either copies such a one, or reads a page that such a one leads
/// to, or makes a new page; or reads a record, see [`looks`].
pub fn all() -> Vec<(PageAddr, PageKind)> {
    let shards: Vec<_> = SHARDS.iter().map(Mutex::lock).collect();
    LOOKS.fetch_add(1, Ordering::SeqCst);
    let pages = shards.iter().flat_map(|shard| shard.keys().copied());
    pages.collect()
}

/// A number that each call of [`all`] raises. References in bytes that are read but not decoded yet
/// are not counted: whoever decodes a record compares this number before reading the bytes and
/// after decoding them, and reads them again if it has moved.
pub fn looks() -> u64 {
    LOOKS.load(Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tree::PageRef;

    #[test]
    fn a_page_is_listed_as_long_as_a_reference_to_it_lives() {
        let addr = *blake3::hash(b"a page of this test").as_bytes();
        let listed = |kind| all().contains(&(addr, kind));
        let run = Arc::new(PageRef::new(addr, PageKind::Run, 1, 2, 3));
        assert!(listed(PageKind::Run) && !listed(PageKind::Content));
        let content = PageRef::new(addr, PageKind::Content, 1, 2, 0);
        let other = Arc::clone(&run);
        drop(run);
        assert!(listed(PageKind::Run) && listed(PageKind::Content));
        drop(other);
        assert!(!listed(PageKind::Run) && listed(PageKind::Content));
        drop(content);
        assert!(!listed(PageKind::Content));
    }
}
