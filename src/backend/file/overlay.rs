//! What is in the log and not yet in files.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::log::changes::Changes;
use crate::backend::log::record::Write;

/// What a write leaves at an address; `None` is no blob.
pub type Content = Option<Arc<[u8]>>;

/// Memory taken by an entry beside its address and its content, in bytes.
const BESIDE: u64 = 100;

/// Writes that go into files together.
#[derive(Debug, Default)]
pub struct Generation {
    writes: BTreeMap<Vec<u8>, Content>,
    /// About the memory it takes, in bytes.
    pub size: u64,
    /// The log's last record in it.
    pub last: u64,
    /// When the first write came.
    pub since: Option<Instant>,
}

impl Generation {
    /// The last write to each address, in the order of addresses.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes
            .iter()
            .map(|(address, content)| (address.as_slice(), content.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn write(&mut self, write: &Write<'_>) {
        let (address, content): (_, Content) = match *write {
            Write::Put { address, bytes } => (address, Some(bytes.into())),
            Write::Delete { address } => (address, None),
        };
        let length = |content: &Content| content.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.size += length(&content);
        match self.writes.insert(address.to_vec(), content) {
            Some(replaced) => self.size -= length(&replaced),
            None => self.size += address.len() as u64 + BESIDE,
        }
    }
}

/// Two generations: one that takes writes, and one that is being put into files.
#[derive(Debug, Default)]
pub struct Overlay {
    pub active: Generation,
    pub sealed: Option<Arc<Generation>>,
}

impl Overlay {
    /// What was written to an address last, if it is not in files only.
    pub fn get(&self, address: &[u8]) -> Option<&Content> {
        let sealed = || self.sealed.as_ref()?.writes.get(address);
        self.active.writes.get(address).or_else(sealed)
    }

    /// Does the writes of the log's record `seq`.
    pub fn write(&mut self, writes: &[Write<'_>], seq: u64) {
        for write in writes {
            self.active.write(write);
        }
        self.active.last = seq;
        self.active.since.get_or_insert_with(Instant::now);
    }

    /// Ends the active generation, if there is something in it and no other is sealed.
    pub fn seal(&mut self) {
        if self.sealed.is_none() && !self.active.is_empty() {
            self.sealed = Some(Arc::new(std::mem::take(&mut self.active)));
        }
    }

    /// The addresses from `start` on, before `end`, and whether there is a blob now: in order, up
    /// to the one that makes `blobs` of them.
    pub fn changes(&self, start: &[u8], end: Option<&[u8]>, blobs: usize) -> Changes {
        let range = (
            Bound::Included(start),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let newer = self.active.writes.range::<[u8], _>(range);
        let older = self
            .sealed
            .iter()
            .flat_map(|sealed| sealed.writes.range::<[u8], _>(range));
        let (mut newer, mut older) = (newer.peekable(), older.peekable());
        let mut changes = Changes::default();
        while changes.blobs() < blobs {
            let next = match (newer.peek(), older.peek()) {
                (Some((a, _)), Some((b, _))) if b < a => older.next(),
                (Some((a, _)), Some((b, _))) if a == b => {
                    older.next();
                    newer.next()
                }
                (Some(_), _) => newer.next(),
                (None, _) => older.next(),
            };
            let Some((address, content)) = next else {
                break;
            };
            changes.add(address, content.is_some());
        }
        changes
    }
}
